"""The plan: what is left, how long it takes by what earlier jobs took, and how far off that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradeoffs import cli, content, planning
from tradeoffs.planning import Past, keys, paces, past, plan, predict, size, table, typical_error
from tradeoffs.profiles import Job, jobs, load_profile
from tradeoffs.records import Record, provenance, write_record
from tradeoffs.tasks import load_problems

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def record(stage: str, parameters: dict, seconds: float, planned: int = 64) -> Record:
    return Record(
        stage=stage,  # type: ignore[arg-type]
        parameters=parameters,
        seeds=[0],
        counts={"planned": planned, "completed": planned, "failed": 0},
        seconds=seconds,
        provenance=provenance(),
    )


def finish(root: Path, job: Job, given: dict, seconds: float) -> None:
    """Leave a folder as a job leaves it that ran with these parameters."""
    folder = root / job.folder
    for name in content.OUTPUTS[job.stage]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("rows\n")
    write_record(folder, record(job.stage, given, seconds))
    content.keep(folder, content.content(job._replace(parameters=given), root))


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A project's folder: the code is that of this project."""
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    return tmp_path


def test_sizes_follow_what_a_job_has_to_do() -> None:
    assert size("align", {"token_budget": 1000}) == 6000
    assert size("align", {"steps": 5, "batch_size": 2}) == 6 * 10 * planning.TRAINED_TOKENS
    one = size("generate", {"limit": 10, "max_new_tokens": 50})
    assert size("generate", {"limit": 20, "max_new_tokens": 50}) == 2 * one
    assert size("generate", {"limit": 10, "max_new_tokens": 50, "best_of": 4, "temperature": 1.0}) == 4 * one
    whole = size("generate", {"problems": "bundled", "max_new_tokens": 50})
    assert whole == len(load_problems("bundled")) / 10 * one
    assert size("grade", {"problems": "some/ds1000.jsonl.gz"}) == 1000
    both = {"policies": {"a": "", "b": ""}, "blocks": 3, "batch_sizes": [1, 8], "prompt_tokens": 60, "new_tokens": 4}
    assert size("throughput", both) == 2 * 3 * 2 * 9 * 64


def test_the_most_similar_earlier_jobs_decide() -> None:
    told = [("dpo", "dpo", 60.0), ("other", "dpo", 90.0), ("ppo", "ppo", 200.0)]
    same = {"model": "embedded", "token_budget": 1000}
    known = paces(past([(name, record("align", same | {"method": method}, s)) for name, method, s in told]))

    def guess(name: str, method: str, budget: int, model: str = "embedded") -> float | None:
        given = {"method": method, "model": model, "token_budget": budget}
        return predict(keys("align", name, given), size("align", given), known)

    assert guess("dpo", "dpo", 2000) == pytest.approx(120)
    assert guess("dpo-s2", "dpo", 2000) == pytest.approx(120)  # another seed of it
    assert guess("new", "dpo", 1000) == pytest.approx(75)  # the method's median
    assert guess("new", "rloo", 1000) == pytest.approx(90)  # the stage's
    assert guess("new", "rloo", 1000, "elsewhere/model") is None  # nothing is known of its pace
    assert predict(keys("grade", "x", {}), 10.0, known) is None


def test_the_error_is_that_of_each_from_the_others() -> None:
    def made(seconds: float) -> Past:
        return Past(keys("grade", "x", {}), 10.0, seconds)

    assert typical_error([made(10.0)]) is None
    # predicted 20 for 10, 10 for 20
    assert typical_error([made(10.0), made(20.0)]) == pytest.approx(2.0)
    # 30 for 10, 25 for 20, 15 for 40
    assert typical_error([made(40.0), made(10.0), made(20.0)]) == pytest.approx(40 / 15)


def test_what_is_done_changed_begun_and_left_is_told_apart(tmp_path: Path) -> None:
    profile = load_profile("smoke")
    planned = jobs(profile)
    for job, state in zip(planned, ("done", "changed", "begun"), strict=False):
        folder = tmp_path / job.folder
        folder.mkdir(parents=True)
        if state != "begun":
            given = job.parameters | ({"steps": 10**6} if state == "changed" else {})
            finish(tmp_path, job, given, 12.0)
    steps = plan(profile, planning.earlier(tmp_path), tmp_path)
    assert [step.state for step in steps[:4]] == ["done", "changed", "begun", "to do"]
    assert steps[0].seconds == 12.0 and steps[2].seconds is not None
    text = table(steps, 1.5, each=True)
    assert f"{planned[0].stage} {planned[0].name} " not in text and "changed" in text and "unknown" in text
    assert "off by a factor of 1.50" in text
    assert text.splitlines()[-2].split()[:3] == ["together", str(len(planned)), "1"]


def test_what_follows_from_a_changed_job_runs_again(tmp_path: Path) -> None:
    profile = load_profile("smoke")
    planned = jobs(profile)
    for job in planned:
        finish(tmp_path, job, job.parameters, 1.0)
    assert {step.state for step in plan(profile, [], tmp_path)} == {"done"}
    first = planned[0]
    finish(tmp_path, first, first.parameters | {"seed": 99}, 1.0)
    states = {f"{step.job.stage} {step.job.name}": step.state for step in plan(profile, [], tmp_path)}
    after = {f"{first.folder}/record.json"}
    for job in planned:
        if after & set(job.needs) or job is first:
            after.add(f"{job.folder}/record.json")
            assert states[f"{job.stage} {job.name}"] == "changed", job
    assert states["generate base"] == "done" and states["analyse all"] == "changed"


def test_a_kept_result_and_the_run_that_it_copies_are_one(tmp_path: Path) -> None:
    made = record("align", {"method": "sft", "token_budget": 10, "out": "runs/x/align/sft"}, 5.0)
    write_record(tmp_path / "runs/x/align/sft", made)
    (tmp_path / "results/x/stages").mkdir(parents=True)
    (tmp_path / "results/x/stages/align-sft.json").write_text(made.model_dump_json())
    assert len(planning.earlier(tmp_path)) == 1


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "laptop", "--seeds", "0,1"]) == 0
    assert "together" in capsys.readouterr().out
    assert cli.main(["plan", "nowhere"]) == 2
    assert "profile: got 'nowhere'" in capsys.readouterr().err


def test_a_hub_model_without_a_commit_is_the_one_that_the_cache_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    job = Job("generate", "base", str(tmp_path / "runs/some/generate/base"), {"model": "owner/name"}, ())
    assert "owner/name" not in content.content(job).inputs  # nothing is fetched
    ref = tmp_path / "hub/models--owner--name/refs/main"
    ref.parent.mkdir(parents=True)
    ref.write_text("a" * 40)
    before = content.content(job)
    assert before.inputs["owner/name"] == "a" * 40
    begun = before._replace(inputs={})  # by a job that fetched it itself
    assert content.fetched_meanwhile(job, begun) == before and content.fetched_meanwhile(job, before) == before
    ref.write_text("b" * 40)
    assert content.content(job).inputs["owner/name"] == "b" * 40 and content.changes(before, content.content(job))
    pinned = job._replace(parameters={"model": f"owner/name@{'a' * 40}"})
    assert not content.content(pinned).inputs  # the name says it
    assert content.hub_commit("embedded") is None and content.hub_commit(str(tmp_path / "hub")) is None
