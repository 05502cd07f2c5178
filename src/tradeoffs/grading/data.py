"""Fetches the data that some problems would download while they run, which behind walls they cannot.

DS-1000's plotting problems load four of seaborn's sets, and one scikit-learn problem the California housing data. They
are kept in one folder in the form in which the two libraries look for them: `<name>.csv`, and the pickled table that
scikit-learn makes of its archive. Scikit-learn itself makes it, in the grading environment, so that reading it there is
as good as having downloaded it.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tradeoffs.grading.environment import data_cache, find_python

SEABORN_HOME = "https://raw.githubusercontent.com/mwaskom/seaborn-data/master"
TIMEOUT_S = 30.0
MOST_BYTES = 64 << 20


class Source(NamedTuple):
    """A data set's public home.

    Attributes:
        name: file at the address, and its name below a mirror.
        address: where it is published.
        kept: file that the libraries look for.
        starts: first bytes of the file.
        sha256: checksum that scikit-learn itself asks for; None where the publisher names none.
    """

    name: str
    address: str
    kept: str
    starts: bytes
    sha256: str | None = None


def _table(name: str, columns: str) -> Source:
    return Source(f"{name}.csv", f"{SEABORN_HOME}/{name}.csv", f"{name}.csv", columns.encode())


SOURCES = (
    _table("exercise", ",id,diet,pulse,time,kind"),
    _table("penguins", "species,island,bill_length_mm"),
    _table("planets", "method,number,orbital_period"),
    _table("tips", '"total_bill","tip","sex"'),
    Source(
        "cal_housing.tgz", "https://ndownloader.figshare.com/files/5976036", "cal_housing_py3.pkz", b"\x1f\x8b",
        "aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681",
    ),
)  # fmt: skip

# Scikit-learn's own function does the work; only its download is replaced by the archive that is already here.
_CONVERT = """
import shutil, sys
from sklearn.datasets import _california_housing as housing
archive, folder = sys.argv[1:]
housing._fetch_remote = lambda remote, dirname=None, **options: shutil.copy(archive, dirname + "/archive.tgz")
housing.fetch_california_housing(data_home=folder)
"""


def _complaint(source: Source, address: str, reason: object, out: Path) -> OSError:
    return OSError(
        f"fetch: cannot get {source.name} from {address} ({reason}); try again with a network, name a copy of the files "
        f"with --mirror, or put {source.kept} into {out} yourself; what was fetched before is kept"
    )


def _download(source: Source, address: str, out: Path) -> bytes:
    """Get a file whole: as long as the server says, and beginning as it must."""
    request = urllib.request.Request(address, headers={"User-Agent": "tradeoffs"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            announced = response.headers.get("Content-Length")
            data: bytes = response.read(MOST_BYTES + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _complaint(source, address, getattr(error, "reason", None) or error, out) from None
    if len(data) > MOST_BYTES:
        raise _complaint(source, address, f"more than {MOST_BYTES >> 20} MiB", out)
    if announced is not None and len(data) != int(announced):
        raise _complaint(source, address, f"{len(data)} of {announced} bytes arrived", out)
    if not data.startswith(source.starts):
        raise _complaint(source, address, f"begins with {data[:40]!r} instead of {source.starts!r}", out)
    return data


def _convert(archive: Path, folder: Path, python: Path) -> Path:
    """Have scikit-learn make of its archive what it reads later."""
    environment = {"PATH": os.defpath, "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, "-I", "-c", _CONVERT, archive, folder], env=environment, capture_output=True, text=True, timeout=300
    )
    made = sorted(folder.glob("cal_housing*.pkz"))
    if done.returncode or not made:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise OSError(f"fetch: scikit-learn cannot read {archive.name} ({said}); fetch it again")
    return made[0]


def _keep(source: Source, data: bytes, out: Path, python: str | Path | None) -> Path:
    """Put a file into the folder in one move."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetching-") as name:
        made = Path(name) / source.name
        made.write_bytes(data)
        if made.suffix == ".tgz":
            made = _convert(made, Path(name), find_python(python))
        made.chmod(0o644)
        kept = out / source.kept
        return made.replace(kept)


def fetch(
    out: str | Path | None = None, mirror: str | None = None, python: str | Path | None = None, progress: bool = True
) -> list[Path]:
    """Fetch what is not there yet.

    Args:
        out: folder to fill; default `environment.data_cache()`, where the grader looks by itself.
        mirror: address below which files of the same names lie; default each set's public home.
        python: interpreter of the grading environment, whose scikit-learn prepares the housing data.
        progress: whether to show a progress bar.

    Returns:
        The files, those that were there included.

    Raises:
        OSError: a file cannot be had or does not arrive whole; the message names the address and the remedy.
        ValueError: there is no grading environment.
    """
    from tqdm import tqdm

    folder = Path(out) if out else data_cache()
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for source in tqdm(SOURCES, desc="fetch", unit="file", disable=not progress):
        kept = folder / source.kept
        if not kept.is_file():
            address = f"{mirror.rstrip('/')}/{source.name}" if mirror else source.address
            data = _download(source, address, folder)
            if source.sha256 and not mirror and hashlib.sha256(data).hexdigest() != source.sha256:
                raise _complaint(source, address, "its checksum differs from scikit-learn's", folder)
            kept = _keep(source, data, folder, python)
        files.append(kept)
    return files
