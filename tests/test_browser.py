"""The published book in a real browser: every page, at a desk and on a phone, light and dark."""

from __future__ import annotations

import functools
import html
import http.server
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urldefrag

import pytest
from test_book import ROOT, build, toc_pages

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGE_LIMIT = 2_000_000  # bytes of a page with everything that it loads
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
# One executed notebook of each stage and one page from docstrings are looked at as closely as the chapters: the others are made alike.
CLOSELY = ("align-dpo", "generate-base", "grade-base", "throughput-all", "speculate-all", "analyse-all", "parameters")


LOOKED_AT = (("desktop", "light"), ("phone", "dark"))


class Links(HTMLParser):
    """Where a page leads to, and where others may lead in it."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {str(found[name]) for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.targets.append(str(found["href"]))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book of the committed results, as `make book` builds it."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "results").symlink_to(ROOT / "results")
    build(folder)
    return folder / "_build/html"


@pytest.fixture(scope="module")
def pages(published: Path) -> list[str]:
    found = sorted(path.relative_to(published).as_posix() for path in published.rglob("*.html"))
    return [name for name in found if not name.startswith("_") and name != "index.html"]  # which leads on at once


@pytest.fixture(scope="module")
def address(published: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(published)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if BROWSER is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without its sandbox, which containers refuse: it shows nothing but this book.
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def test_every_link_and_anchor_leads_somewhere(published: Path, pages: list[str]) -> None:
    parsed = {}
    for name in pages:
        parsed[name] = Links()
        parsed[name].feed((published / name).read_text(encoding="utf-8"))
    broken = []
    for name, page in parsed.items():
        for target in page.targets:
            if re.match(r"[a-z]+:", target):
                continue
            file, anchor = urldefrag(unquote(target))
            path = (published / name).parent / file if file else published / name
            if not path.exists():
                broken.append((name, target))
            elif anchor and path.suffix == ".html":
                other = path.resolve().relative_to(published.resolve()).as_posix()
                if other in parsed and anchor not in parsed[other].anchors:
                    broken.append((name, target))
    assert broken == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_loads_cleanly_fits_and_can_be_read_by_everybody(
    browser: object, address: str, pages: list[str], width: str, scheme: str
) -> None:
    """No message, no failed request, no other host, nothing wider than the window, nothing serious from axe-core, no heavy page."""
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
    context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[attr-defined]
    page = context.new_page()
    found: list[tuple[str, object]] = []
    page.on("console", lambda m: found.append((m.type, m.text)) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(("error", str(error))))
    # aborted: what the next page did not wait for, such as an icon
    page.on("requestfailed", lambda r: None if "ABORTED" in str(r.failure) else found.append(("failed", r.url)))
    page.on(
        "request", lambda r: found.append(("other host", r.url)) if not r.url.startswith((address, "data:")) else None
    )
    page.on("response", lambda r: found.append((str(r.status), r.url)) if r.status >= 400 else None)
    wrong: dict[str, list[tuple[str, object]]] = {}
    for name in pages:
        if name.startswith("lab/seeds/") and (width, scheme) not in LOOKED_AT:
            continue  # the same notebooks as those of the first seed
        page.goto(f"{address}/{name}", wait_until="load")
        if (theme := page.evaluate("document.documentElement.dataset.theme")) != scheme:
            found.append(("theme", theme))
        if (beyond := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
            found.append(("pixels wider than the window", beyond))
        weight = page.evaluate("performance.getEntries().reduce((sum, entry) => sum + (entry.encodedBodySize || 0), 0)")
        if not 10_000 < weight < PAGE_LIMIT:
            found.append(("bytes", weight))
        # both widths and both schemes once each are enough for what axe-core looks at
        if (width, scheme) in LOOKED_AT and (not name.startswith(("lab/", "api/")) or Path(name).stem in CLOSELY):
            told = axe.run(page, options={"preload": False, "resultTypes": ["violations"]}).response["violations"]
            found += [
                (rule["id"], [node["target"] for node in rule["nodes"]])
                for rule in told
                if rule["impact"] in ("serious", "critical")
            ]
        if found:
            wrong[name] = found.copy()
            found.clear()
    context.close()
    assert wrong == {}


def test_search_finds_every_chapter_by_its_title_and_by_a_word_of_its_text(
    browser: object, address: str, published: Path
) -> None:
    words: dict[str, set[str]] = {}
    titles = {}
    for name in toc_pages():
        text = (published / name).read_text(encoding="utf-8")
        title = re.search(r'<h1>([^<]*)<a class="headerlink"', text)
        assert title, name
        titles[name] = html.unescape(title[1])
        body = re.sub(
            r"<(script|style|pre|svg|nav)\b.*?</\1>",
            " ",
            text[text.index("<article") : text.index("</article>")],
            flags=re.DOTALL,
        )
        plain = html.unescape(re.sub(r"<[^>]+>", " ", body))
        words[name] = {
            word for word in re.findall(r"(?<!\S)[a-z]{6,14}(?=[\s.,;:])", plain) if word not in titles[name].lower()
        }
    page = browser.new_page()  # type: ignore[attr-defined]
    for name, title in titles.items():
        # the word that the fewest chapters share
        word = min(sorted(words[name]), key=lambda w: sum(w in own for own in words.values()))
        for asked in (title, word):
            page.goto(f"{address}/search.html?q={quote(asked)}")
            page.locator(f"#search-results a[href^='{name}']").first.wait_for(state="attached", timeout=20_000)
    page.close()


def test_a_hidden_solution_opens_and_shows_its_code(browser: object, address: str) -> None:
    page = browser.new_page()  # type: ignore[attr-defined]
    page.goto(f"{address}/teach.html")
    hidden = page.locator("details.sd-dropdown", has_text="Solution")
    assert hidden.count() >= 8
    for place in range(hidden.count()):
        code = hidden.nth(place).locator("pre").first
        assert not code.is_visible()
        hidden.nth(place).locator("summary").click()
        assert code.is_visible() and len(code.inner_text()) > 20
    page.close()


def test_hidden_input_of_an_executed_notebook_opens(browser: object, address: str) -> None:
    page = browser.new_page()  # type: ignore[attr-defined]
    page.goto(f"{address}/lab/align-dpo.html")
    hidden = page.locator("details.hide").first
    assert not hidden.locator("pre").first.is_visible()
    hidden.locator("summary").click()
    assert hidden.locator("pre").first.is_visible()
    page.close()


def test_formulas_take_up_space(browser: object, address: str) -> None:
    page = browser.new_page()  # type: ignore[attr-defined]
    for name in ("background", "method"):
        page.goto(f"{address}/{name}.html")
        boxes = [formula.bounding_box() for formula in page.locator("article math").all()]
        assert len(boxes) > 5 and all(box and box["width"] > 3 and box["height"] > 3 for box in boxes), name
    page.close()


def test_the_main_chapters_and_the_poster_print(browser: object, published: Path) -> None:
    """The poster is one page; the chapters are many."""
    folder = published.parents[1]
    told = subprocess.run(
        [sys.executable, ROOT / "workflow/printed.py"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert told.returncode == 0, told.stderr[-2000:]
    counts = {}
    for name in ("poster", "book"):
        content = (folder / f"_build/{name}.pdf").read_bytes()
        assert content.startswith(b"%PDF")
        counts[name] = len(re.findall(rb"/Type\s*/Page\b", content))
    assert counts["poster"] == 1 and counts["book"] > 30
