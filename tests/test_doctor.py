"""`tradeoffs doctor` and `tradeoffs fetch`: what they say, what they write, and what the grader makes of it."""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tradeoffs import cli
from tradeoffs.grading import data as fetching
from tradeoffs.grading import doctor, sandbox
from tradeoffs.grading.environment import DATA_FILES, data_at_hand, data_folders

MADE_UP = {
    "exercise.csv": ",id,diet,pulse,time,kind\n0,1,none,80,1 min,rest\n",
    "penguins.csv": "species,island,bill_length_mm,sex\nTux,Rock,40.1,MALE\n",
    "planets.csv": "method,number,orbital_period\nGuess,1,365.2\n",
    "tips.csv": '"total_bill","tip","sex"\n10.5,1.5,"Male"\n',
}


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where nobody has named or fetched data."""
    for variable in DATA_FILES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TRADEOFFS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def housing() -> bytes:
    """An archive like the published one, with two rows made up."""
    table = b"-120.5,36.0,20,1000,200,500,180,3.5,150000\n-118.2,34.1,35,2000,400,900,390,4.25,250000\n"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("CaliforniaHousing/cal_housing.data")
        entry.size = len(table)
        archive.addfile(entry, io.BytesIO(table))
    return packed.getvalue()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; `short.csv` announces more than it sends."""

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        if "/short/" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(MADE_UP["exercise.csv"].encode())
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    for name, text in MADE_UP.items():
        (folder / name).write_text(text)
    (folder / "cal_housing.tgz").write_bytes(housing())
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def needs_sklearn(python: Path) -> None:
    if "scikit-learn" not in doctor._installed(python, ["scikit-learn"]):
        pytest.skip("the grading environment has no scikit-learn")


# ---------------------------------------------------------------- fetch


def test_fetched_data_are_found_and_graded_with(
    grading_python: Path, alone: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_sklearn(grading_python)
    tests = "def test_execution(solution):\n    env = {}\n    exec(solution, env)\n    assert env['x'] == 'Tux'\n"
    houses = tests.replace("'Tux'", "4.25")
    rows = [
        {"prompt": 'sns.load_dataset("penguins")', "code_context": tests},
        {"prompt": "from sklearn.datasets import fetch_california_housing", "code_context": houses},
    ]
    rows[1]["code_context"] += "# from sklearn.datasets import fetch_california_housing; fetch_california_housing()\n"
    codes = [
        "import seaborn\nx = seaborn.load_dataset('penguins').species[0]",
        "from sklearn.datasets import fetch_california_housing as f\nx = f().data[1, 0]",
    ]
    metadata = {"library": "Sklearn", "perturbation_type": "Origin", "perturbation_origin_id": 0}
    (alone / "p.jsonl").write_text(
        "".join(
            json.dumps(row | {"reference_code": "", "metadata": metadata | {"problem_id": n}}) + "\n"
            for n, row in enumerate(rows)
        )
    )
    (alone / "a.jsonl").write_text("".join(json.dumps({"id": n, "code": c}) + "\n" for n, c in enumerate(codes)))
    out = alone / "v.jsonl"
    grade = ["grade", str(alone / "a.jsonl"), "--problems", str(alone / "p.jsonl"), "--out", str(out)]

    def statuses() -> list[str]:
        found = [json.loads(line) for line in out.read_text().splitlines()]
        return [row["status"] for row in sorted(found, key=lambda row: row["problem_id"])]

    assert cli.main(grade) == 0
    assert statuses() == ["unavailable", "unavailable"]
    assert "tradeoffs fetch" in out.read_text()
    assert cli.main(["fetch", "--mirror", server]) == 0
    said = capsys.readouterr().out
    assert "penguins.csv" in said and "cal_housing_py3.pkz" in said and "bytes)" in said
    assert sorted(path.name for path in (alone / "cache" / "data").iterdir()) == sorted(
        [*MADE_UP, "cal_housing_py3.pkz"]
    )
    assert cli.main(grade) == 0  # the same command: what was unavailable is graded now, and stands in the file once
    assert statuses() == ["passed", "passed"]


def test_what_is_there_is_not_fetched_again(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = alone / "data"
    folder.mkdir()
    for source in fetching.SOURCES:
        (folder / source.kept).write_text("kept")
    monkeypatch.setattr(fetching.urllib.request, "urlopen", lambda *_: pytest.fail("the network was asked"))
    assert [path.read_text() for path in fetching.fetch(folder, progress=False)] == ["kept"] * len(fetching.SOURCES)


@pytest.mark.parametrize(
    ("path", "reason"), [("/short", "of 1000 bytes|IncompleteRead"), ("/nowhere", "not found"), ("", "begins with")]
)
def test_a_file_that_does_not_arrive_whole_is_refused_and_leaves_nothing(
    alone: Path, server: str, path: str, reason: str
) -> None:
    (alone / "served" / "exercise.csv").write_text("<html>Sign in</html>")
    with pytest.raises(
        OSError, match=rf"fetch: cannot get exercise\.csv from {server}{path}/exercise\.csv \(.*({reason})"
    ):
        fetching.fetch(alone / "data", mirror=server + path, progress=False)
    assert list((alone / "data").iterdir()) == []


def test_offline_the_error_is_one_line_with_address_and_remedy(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fetch", "--out", str(alone / "data"), "--mirror", "http://127.0.0.1:9"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: fetch: cannot get exercise.csv from http://127.0.0.1:9/exercise.csv (")
    assert "--mirror" in said and "Traceback" not in said


def test_a_broken_archive_is_told(grading_python: Path, alone: Path, server: str) -> None:
    needs_sklearn(grading_python)
    (alone / "served" / "cal_housing.tgz").write_bytes(housing()[:60])
    with pytest.raises(OSError, match="scikit-learn cannot read cal_housing.tgz"):
        fetching.fetch(alone / "data", mirror=server, progress=False)
    assert sorted(path.name for path in (alone / "data").iterdir()) == sorted(MADE_UP)


def test_the_folder_named_goes_first_then_the_variable_then_the_cache(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {name: alone / name for name in ("named", "variable", "cache/data")}
    assert data_folders() == {}
    for name in ("cache/data", "variable", "named"):
        folders[name].mkdir(parents=True)
        (folders[name] / "tips.csv").touch()
    assert data_folders()["SEABORN_DATA"] == str(folders["cache/data"])
    monkeypatch.setenv("SEABORN_DATA", str(folders["variable"]))
    assert data_folders()["SEABORN_DATA"] == str(folders["variable"])
    with data_at_hand(folders["named"]) as found:
        assert found == {"SEABORN_DATA": str(folders["named"])}
        assert os.environ["SEABORN_DATA"] == str(folders["named"])
    assert os.environ["SEABORN_DATA"] == str(folders["variable"])
    with pytest.raises(ValueError, match="data: got .*nowhere.*tradeoffs fetch"):
        data_folders(alone / "nowhere")


# ---------------------------------------------------------------- doctor


def test_a_healthy_machine_is_told_with_level_reasons_and_what_is_open(
    grading_python: Path, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = doctor.examine(grading_python)
    assert report.level in sandbox.LEVELS
    assert [level for level in sandbox.LEVELS if not report.reasons[level]][0] == report.level
    assert next(f for f in report.findings if f.what == "trial").state == "ok"
    text = doctor.render(report)
    assert f"isolation: {report.level}" in text and "cgroups" in text and "tradeoffs fetch" in text
    for level, reason in report.reasons.items():
        assert not reason or f"{level} is not reached: {reason}" in text


def test_a_machine_without_grading_environment_is_status_2_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADEOFFS_GRADING_PYTHON", "/nowhere/python")
    assert cli.main(["doctor"]) == 2
    said = capsys.readouterr()
    assert "error: grading python" in said.err and "make setup" in said.err
    assert "What each isolation level stops" in said.out


def test_missing_and_other_library_versions_are_told(grading_python: Path, tmp_path: Path) -> None:
    lock = tmp_path / "grading.txt"
    lock.write_text("pip==0.0.1  # comment\n")
    other = doctor._libraries(grading_python, lock)
    if doctor._installed(grading_python, ["pip"]):
        assert other.state == "absent" and "instead of 0.0.1" in other.text
    lock.write_text("no-such-package==1.0\n")
    missing = doctor._libraries(grading_python, lock)
    assert missing.state == "broken" and "no-such-package" in missing.text and "make setup" in missing.remedy


def test_weaker_levels_stop_no_more_than_stronger_ones() -> None:
    for threat in doctor.THREATS:
        stopped = [level in threat.stopped_by for level in sandbox.LEVELS]
        assert stopped == sorted(stopped, reverse=True), threat.what
    assert any(not threat.stopped_by for threat in doctor.THREATS)


@pytest.mark.parametrize("level", sandbox.LEVELS)
def test_the_report_lists_what_a_level_does_not_stop(level: sandbox.Level) -> None:
    text = doctor.render(doctor.Report(level, dict.fromkeys(sandbox.LEVELS, ""), []))
    section = text[text.index(f"What {level} does not stop:") :]
    for threat in doctor.THREATS:
        assert (f"{threat.what}: {threat.otherwise}" in section) == (level not in threat.stopped_by)


def test_an_isolation_that_cannot_be_had_is_one_line_and_status_2(
    grading_python: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sandbox, "_try", lambda *arguments: "not allowed here")
    (alone / "a.jsonl").write_text('{"problem_id": 600, "code": "x"}\n')
    out = alone / "v.jsonl"
    assert cli.main(["grade", str(alone / "a.jsonl"), "--out", str(out), "--require-isolation", "namespaces"]) == 2
    [said] = capsys.readouterr().err.strip().splitlines()
    assert said.startswith("error: require_isolation: namespaces is asked for, this machine reaches limits (")
    assert "not allowed here" in said and not out.exists()
