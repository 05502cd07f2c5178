"""Profiles: a wrong file stops the study with one line; a right one becomes jobs in an order that works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tradeoffs.parameters import MODELS, ParameterError
from tradeoffs.profiles import jobs, load_profile, resources, seeds_of

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "config").glob("*.yaml"))

RIGHT = """
name: trial
policies:
  sft: {method: sft, steps: 2}
  dpo: {method: dpo, start: sft, prompts: 8}
arms:
  base: {policy: base}
  dpo: {policy: dpo}
  dpo-45: {policy: dpo, angle: 45.0}
generate: {max_new_tokens: 8}
"""

REFUSED = [
    ("policies:", "polices: {}\npolicies:", "polices: .*; accepts name, model, problems, seed, seeds, policies, arms"),
    ("generate:", "generates:", "generates: .*; accepts name, model"),
    (
        "{policy: dpo}",
        "{policy: dpo, angel: 3}",
        r"arms\.dpo\.angel: .*; accepts policy, angle, best_of, temperature, generate$",
    ),
    ("{policy: dpo}", "{policy: dpa}", r"arms\.dpo\.policy: got 'dpa'; accepts base, sft, dpo$"),
    ("{policy: dpo}", "{angle: 3}", r"arms\.dpo\.policy: Field required"),
    ("start: sft", "start: sfd", "policies: dpo start from unknown policies or from each other"),
    ("steps: 2", "steps: 2, start: dpo", "policies: sft, dpo start from unknown policies or from each other"),
    ("steps: 2", "steps: 0", "align sft: steps: got 0; accepts integer >= 1"),
    ("steps: 2", "stepz: 2", "align sft: stepz: no such parameter; did you mean 'steps'"),
    ("max_new_tokens: 8", "max_new_tokens: many", "generate base: max_new_tokens: got 'many'; accepts integer >= 1"),
    ("angle: 45.0", "angle: 145.0", "generate dpo-45: angle: got 145.0; accepts number >= -90 and <= 90"),
    ("angle: 45.0", "angle: left", r"arms\.dpo-45\.angle: Input should be a valid number"),
    ("generate:", "analyse: {draws: 3}\ngenerate:", "analyse all: draws: got 3; accepts integer >= 100"),
    ("generate:", "throughput: {blocks: 1}\ngenerate:", "throughput all: blocks: got 1; accepts integer >= 2"),
    ("generate:", "grade: {workers: 0}\ngenerate:", "grade base: workers: got 0; accepts integer >= 1"),
    ("generate:", "model: embeded\ngenerate:", "align sft: model: got 'embeded'; unknown model; accepts"),
    ("  sft: {", "  sft/../x: {", "policies: got 'sft/../x'; accepts names of letters, digits and hyphens"),
    ("name: trial", "name: Trial One", "name: String should match pattern"),
    ("name: trial", "name: [", "not YAML"),
    ("{method: sft, steps: 2}", "sft", r"policies\.sft: Input should be a valid dictionary"),
]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def written(folder: Path, text: str) -> str:
    path = folder / "trial.yaml"
    path.write_text(text)
    return str(path)


def test_there_are_profiles() -> None:
    assert {"laptop", "smoke"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_profile_loads_by_its_name_and_bears_it(path: Path) -> None:
    assert load_profile(path.stem).name == path.stem
    assert load_profile(str(path)) == load_profile(path.stem)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_profile_has_the_untrained_model_among_its_arms(path: Path) -> None:
    assert "base" in {arm.policy for arm in load_profile(path.stem).arms.values()}


def test_laptop_compares_aligned_policies_with_the_one_they_start_from() -> None:
    profile = load_profile("laptop")
    baseline = next(iter(profile.arms.values())).policy
    aligned = [p for p in profile.policies.values() if p["method"] != "sft"]
    assert aligned and all(p["start"] == baseline for p in aligned)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_jobs_come_after_what_they_need(path: Path) -> None:
    made: set[str] = set()
    planned = jobs(load_profile(path.stem))
    for job in planned:
        assert set(job.needs) <= made, f"{job.stage} {job.name}"
        made.add(f"{job.folder}/record.json")
    assert len(made) == len(planned), "two jobs write one folder"


def test_jobs_are_ordered_whatever_the_files_order(tmp_path: Path) -> None:
    data = yaml.safe_load(RIGHT)
    data["policies"] = dict(reversed(data["policies"].items()))
    planned = jobs(load_profile(written(tmp_path, yaml.safe_dump(data, sort_keys=False))))
    assert [(job.stage, job.name) for job in planned] == [
        ("align", "sft"),
        ("align", "dpo"),
        *((stage, arm) for arm in ("base", "dpo", "dpo-45") for stage in ("generate", "grade")),
        ("throughput", "all"),
        ("speculate", "all"),
        ("analyse", "all"),
    ]


def test_the_fuller_profiles_differ_from_those_below_them_in_what_they_say() -> None:
    small, full, benchmark = (load_profile(name) for name in ("laptop", "laptop-full", "ds1000-full"))
    control = {"unrewarded": small.policies["rsft"] | {"shuffle_rewards": True}}
    assert full.policies == small.policies | control
    left_out = ("sampled", "best-of-4", "dpa-90m", "dpa-90p")
    assert list(benchmark.arms) == [name for name in full.arms if name not in left_out]
    assert benchmark.policies == full.policies and benchmark.trained == "laptop-full"


def test_jobs_hand_each_other_what_they_write(tmp_path: Path) -> None:
    planned = {(job.stage, job.name): job for job in jobs(load_profile(written(tmp_path, RIGHT)))}
    adapter = "runs/trial/align/dpo/adapter"
    assert planned["align", "dpo"].parameters["start"] == "runs/trial/align/sft/adapter"
    assert planned["generate", "dpo-45"].parameters["adapter"] == adapter
    assert planned["generate", "dpo-45"].parameters["angle"] == 45.0
    assert planned["generate", "dpo-45"].parameters["max_new_tokens"] == 8
    assert planned["generate", "base"].parameters["adapter"] == ""
    assert planned["grade", "dpo"].parameters["answers"] == "runs/trial/generate/dpo/answers.jsonl"
    assert planned["throughput", "all"].parameters["policies"] == {
        "base": "",
        "sft": "runs/trial/align/sft/adapter",
        "dpo": adapter,
    }
    assert planned["analyse", "all"].parameters["policies"] == ["base", "dpo", "dpo-45"]


def test_a_profile_that_extends_another_uses_its_training_unless_it_changes_what_decides_it(tmp_path: Path) -> None:
    text = "{extends: laptop, name: trial, problems: bundled, generate: {limit: 3}}"
    planned = jobs(load_profile(written(tmp_path, text)))
    laptop = jobs(load_profile("laptop"))
    assert [job for job in planned if job.stage == "align"] == [job for job in laptop if job.stage == "align"]
    assert {job.folder.split("/")[1] for job in planned if job.stage != "align"} == {"trial"}
    made: set[str] = set()
    for job in planned:
        assert set(job.needs) <= made
        made.add(f"{job.folder}/record.json")
    dpo = next(job for job in planned if job.stage == "generate" and job.name == "dpo")
    assert dpo.parameters["adapter"] == "runs/laptop/align/dpo/adapter" and dpo.parameters["limit"] == 3
    for changed in (load_profile(written(tmp_path, text), seed=1), load_profile(written(tmp_path, text), model="x/y")):
        assert all(job.folder.startswith("runs/trial/") for job in jobs(changed))


@pytest.mark.parametrize(
    "wrong", ["{extends: nowhere, name: trial}", "{extends: trial, name: trial}", "{trained: laptop, name: trial}"]
)
def test_a_profile_extends_one_that_is_there_and_whole(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(
        ParameterError, match="trial\\.yaml: (extends: got .*accepts a profile in config/|trained: follows)"
    ):
        load_profile(written(tmp_path, wrong))


def test_a_profile_without_a_name_is_named_as_its_file_and_not_as_the_one_that_it_extends(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path, "extends: laptop\nalign: {token_budget: 30000}"))
    assert profile.name == "trial" and all(job.folder.startswith("runs/trial/") for job in jobs(profile))
    (page,) = re.findall(r"```yaml\n(# config/mine\.yaml.*?)```", (ROOT / "book/rerun.md").read_text(), re.DOTALL)
    mine = load_profile(written(tmp_path, page))
    assert mine.name == "trial" and mine.trained == "laptop" and mine.generate["max_new_tokens"] == 96


def test_servers_answer_for_the_arms_that_name_what_they_have_loaded(tmp_path: Path) -> None:
    served = 'servers: ["http://127.0.0.1:8000"]'
    with pytest.raises(
        ParameterError, match="generate dpo: adapter: got a folder; accepts '' with servers, .* served_model"
    ):
        load_profile(written(tmp_path, RIGHT.replace("max_new_tokens: 8", f"max_new_tokens: 8, {served}")))
    own = f'dpo: {{policy: dpo, generate: {{{served}, served_model: dpo, adapter: ""}}}}'
    profile = load_profile(written(tmp_path, RIGHT.replace("dpo: {policy: dpo}", own)))
    (job,) = (job for job in jobs(profile) if job.stage == "generate" and job.name == "dpo")
    assert job.parameters["adapter"] == "" and job.parameters["served_model"] == "dpo"


def test_overrides_reach_every_stage_and_none_leaves_the_files(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path, RIGHT), seed=7, model="owner/name", problems=None)
    planned = jobs(profile)
    assert {job.parameters["seed"] for job in planned if job.stage != "grade"} == {7}
    assert {job.parameters["model"] for job in planned if "model" in job.parameters} == {"owner/name"}
    assert {job.parameters["problems"] for job in planned if "problems" in job.parameters} == {"bundled"}


@pytest.mark.parametrize(("old", "new", "line"), REFUSED, ids=[new.strip() for _, new, _ in REFUSED])
def test_a_wrong_profile_is_one_line_of_file_place_and_reason(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert RIGHT.count(old) == 1
    with pytest.raises(ParameterError, match=rf"trial\.yaml: {line}") as caught:
        load_profile(written(tmp_path, RIGHT.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_a_profile_that_is_no_mapping_says_what_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"trial\.yaml: accepts a mapping with the keys name, model"):
        load_profile(written(tmp_path, "- name\n"))


def test_an_unknown_profile_says_which_there_are() -> None:
    with pytest.raises(
        ParameterError, match="^profile: got 'desktop'; accepts .*laptop.*smoke.* or the path of a YAML"
    ):
        load_profile("desktop")


def test_every_seed_trains_and_answers_and_the_first_is_timed(tmp_path: Path) -> None:
    planned = {(job.stage, job.name): job for job in jobs(load_profile(written(tmp_path, f"{RIGHT}\nseeds: [3, 7]")))}
    assert [name for stage, name in planned if stage == "align"] == ["sft", "dpo", "sft-s7", "dpo-s7"]
    # greedy answers of the untrained model are the same every time
    assert [name for stage, name in planned if stage == "generate"] == ["base", "dpo", "dpo-45", "dpo-s7", "dpo-45-s7"]
    second = planned["align", "dpo-s7"]
    assert second.parameters["seed"] == 7 and planned["align", "dpo"].parameters["seed"] == 3
    assert second.parameters["start"] == "runs/trial/align/sft-s7/adapter"
    assert second.needs == ("runs/trial/align/sft-s7/record.json",)
    assert planned["generate", "dpo-45-s7"].parameters["adapter"] == "runs/trial/align/dpo-s7/adapter"
    assert planned["generate", "dpo-45-s7"].parameters["policy"] == "dpo-45"
    assert planned["grade", "dpo-s7"].parameters["answers"] == "runs/trial/generate/dpo-s7/answers.jsonl"
    assert planned["throughput", "all"].parameters["policies"]["dpo"] == "runs/trial/align/dpo/adapter"
    assert planned["analyse", "all"].parameters["seeds"] == [7]
    assert planned["analyse", "all"].parameters["policies"] == ["base", "dpo", "dpo-45"]


def test_one_seed_takes_the_place_of_several(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path, f"{RIGHT}\nseeds: [3, 7]"), seed=9)
    assert (profile.seed, profile.seeds) == (9, [])


def test_sampled_answers_of_the_untrained_model_are_repeated(tmp_path: Path) -> None:
    text = RIGHT.replace("generate: {", "generate: {temperature: 0.7, ") + "seeds: [0, 1]\n"
    planned = [job.name for job in jobs(load_profile(written(tmp_path, text))) if job.stage == "generate"]
    assert planned == ["base", "dpo", "dpo-45", "base-s1", "dpo-s1", "dpo-45-s1"]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (
            RIGHT.replace("  dpo: {method", "  dpo-s1: {method").replace("policy: dpo", "policy: dpo-s1"),
            "do not end like a seed's",
        ),
        (RIGHT.replace("  dpo-45: {policy", "  dpo-s1: {policy"), "do not end like a seed's"),
        (RIGHT.replace("steps: 2", "steps: 2, seed: 1") + "seeds: [0, 1]\n", "sft: got a seed of its own"),
    ],
)
def test_names_and_seeds_that_would_be_mixed_up_are_refused(tmp_path: Path, wrong: str, why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        load_profile(written(tmp_path, wrong))


def test_seeds_are_numbers_with_commas() -> None:
    assert seeds_of("0,1,2") == [0, 1, 2]
    for wrong in ("a", "0,1,", ""):
        with pytest.raises(ParameterError, match="seeds: got .*; accepts numbers with commas"):
            seeds_of(wrong)


def test_a_seed_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"seeds: got \[1, 1\]; accepts each seed once"):
        load_profile(written(tmp_path, f"{RIGHT}\nseeds: [1, 1]"))


def test_a_profile_may_extend_one_that_extends_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    for name, text in {
        "one": RIGHT.replace("name: trial", "name: one"),
        "two": "extends: one\nname: two\nseeds: [0, 1]\n",
        "three": "extends: two\nname: three\ngenerate: {limit: 5}\n",
        "four": "extends: five\nname: four\n",
        "five": "extends: four\nname: five\n",
    }.items():
        (tmp_path / "config" / f"{name}.yaml").write_text(text)
    assert [load_profile(name).trained for name in ("one", "two", "three")] == ["", "", "two"]
    assert load_profile("three").seeds == [0, 1]
    assert load_profile("three", seeds=[0, 1]).trained == "two"  # what it has anyway
    assert load_profile("three", seeds=[0, 2]).trained == ""
    with pytest.raises(ParameterError, match="extends: got 'f[a-z]+'; accepts a profile in config/"):
        load_profile("four")


def test_an_arm_may_have_an_engine_of_its_own(tmp_path: Path) -> None:
    text = (ROOT / "config/smoke.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(
        text.replace("dpo: {policy: dpo}", "dpo: {policy: dpo}\n  compiled: {policy: dpo, generate: {cache: static}}")
    )
    asked = {job.name: job.parameters for job in jobs(load_profile(str(path))) if job.stage == "generate"}
    assert asked["compiled"]["cache"] == "static" and "cache" not in asked["dpo"]
    assert asked["compiled"]["adapter"] == asked["dpo"]["adapter"]
    path.write_text(text.replace("dpo: {policy: dpo}", "dpo: {policy: dpo, generate: {cash: static}}"))
    with pytest.raises(ParameterError, match="generate dpo: cash"):
        load_profile(str(path))


@pytest.mark.parametrize("name", [path.parent.name for path in sorted((ROOT / "results").glob("*/record.json"))])
def test_a_clone_may_begin_every_study_whose_results_are_published(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published, with the rows that it was analysed from again, is the profile's own."""
    monkeypatch.syspath_prepend(ROOT / "workflow")
    import run

    profile = load_profile(name)
    assert run._refusal("", profile, [job for job in jobs(profile) if job.parameters.get("device") != "cuda"]) == ""


def test_a_profile_for_a_gpu_is_refused_before_its_first_job_where_there_is_none() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    told = subprocess.run([sys.executable, "workflow/run.py", "gpu"], capture_output=True, text=True, timeout=120)
    assert told.returncode == 2
    assert "profile gpu: device: got 'cuda', but this machine has no usable GPU" in told.stderr
    assert "profiles without a GPU: laptop" in told.stderr and not (ROOT / "runs/gpu").exists()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "place", ["align", "generate", "throughput", "speculate", "policies", "arms"], ids=lambda place: f"on {place}"
)
def test_a_stage_asks_for_a_gpu_where_one_of_its_jobs_runs_on_one(path: Path, place: str) -> None:
    profile = load_profile(path.stem)
    if place == "policies":
        next(reversed(profile.policies.values()))["device"] = "cuda"
    elif place == "arms":
        next(reversed(profile.arms.values())).generate["device"] = "cuda"
    else:
        getattr(profile, place)["device"] = "cuda"
    on_cuda = {job.stage for job in jobs(profile) if job.parameters.get("device") == "cuda"}
    assert on_cuda
    for stage in MODELS:
        asked = profile.resources.get(stage, {}).get("gpu", int(stage in on_cuda))
        assert resources(profile, stage)["gpu"] == asked, stage
