"""Print the book's main chapters and its poster to PDF with Chromium, from the results as they are; needs no network.

python workflow/printed.py        # _build/book.pdf (A4), _build/poster.pdf (A3)
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FOOTER = '<div style="font-size:8px;width:100%;text-align:center"><span class="pageNumber"></span></div>'
BUILD = Path("_build")
SMALLEST = 0.55  # scale of the poster below which nobody could read it


def chapters() -> dict[str, Any]:
    """The table of contents of the printed book: the study, without executed notebooks, log and package pages."""
    toc: dict[str, Any] = yaml.safe_load(Path("book/_toc.yml").read_text(encoding="utf-8"))
    return toc | {"parts": [toc["parts"][0], {"caption": "Sources", "chapters": [{"file": "references"}]}]}


def render(toc: Path, builder: str) -> Path:
    """Build with Jupyter Book; give the folder of the result.

    Raises:
        subprocess.CalledProcessError: the book does not build; what is wrong was printed.
    """
    settings: dict[str, Any] = yaml.safe_load(Path("_config.yml").read_text(encoding="utf-8")) | {
        "only_build_toc_files": True
    }
    own = settings["sphinx"]["local_extensions"]  # relative to the file of settings
    settings["sphinx"]["local_extensions"] = {name: str(Path(folder).resolve()) for name, folder in own.items()}
    config = BUILD / "printed-config.yml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = ["-c", "from jupyter_book.cli.main import main; main()", "build", "book", "--config", str(config)]
    out = BUILD / "printed"
    command += ["--toc", str(toc.resolve()), "--path-output", str(out), "--builder", builder, "--quiet"]
    subprocess.run([sys.executable, *command], check=True)
    return out / "_build" / builder


def pages(path: Path) -> int:
    """How many pages a PDF has."""
    return len(re.findall(rb"/Type\s*/Page\b", path.read_bytes()))


def main() -> int:
    """Render both and print them."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("error: no Chromium to print with; on Debian: apt-get install chromium", file=sys.stderr)
        return 1
    from playwright.sync_api import sync_playwright

    BUILD.mkdir(exist_ok=True)
    toc = BUILD / "printed-toc.yml"
    toc.write_text(yaml.safe_dump(chapters()), encoding="utf-8")
    whole = render(toc, "singlehtml") / "intro.html"
    poster = BUILD / "html" / "poster.html"
    margin = dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page(color_scheme="light")
        for path, target, options in (
            (whole, BUILD / "book.pdf", {"format": "A4", "scale": 0.8, "outline": True, "footer_template": FOOTER}),
            (poster, BUILD / "poster.pdf", {"format": "A3", "scale": 1.0}),
        ):
            page.goto(path.resolve().as_uri())
            page.emulate_media(media="print")
            page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
            numbered = "footer_template" in options
            header = {"display_header_footer": numbered, "header_template": "<span></span>"}
            page.pdf(path=target, print_background=True, tagged=True, margin=margin, **header, **options)
            # the poster is one page, however many policies its figures have
            while target.stem == "poster" and pages(target) > 1 and options["scale"] > SMALLEST:
                options["scale"] -= 0.05
                page.pdf(path=target, print_background=True, tagged=True, margin=margin, **header, **options)
            print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
