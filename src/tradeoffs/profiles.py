"""Profiles: which policies are trained, which arms answer, and with what budgets; every stage's parameters follow from one file.

A profile is a YAML file in `config/`. It is read and checked as a whole before anything runs: an unknown key or a value out of range
stops the study with one line that names the file, the place and what is accepted there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tradeoffs.parameters import MODELS, ParameterError, check
from tradeoffs.records import seed_folder, without_seed

DECIDES_TRAINING = {"model", "seed", "seeds", "align", "policies"}


# What a job asks a scheduler for: cores, MB, minutes and GPUs. Enough for the embedded model.
RESOURCES = {"threads": 2, "mem_mb": 8000, "runtime": 240, "gpu": 0}


class Arm(BaseModel):
    """One way of answering: a policy (or `base`), with a direction where the policy takes one, or the best of n answers."""

    model_config = ConfigDict(extra="forbid")
    policy: str
    angle: float | None = None
    best_of: int = 1
    temperature: float | None = None  # None: as in the profile's `generate`
    generate: dict[str, Any] = {}  # what else is its own, such as its engine: {cache: static} or {servers: [...]}


class Profile(BaseModel):
    """A profile file.

    Attributes:
        name: names the folders `runs/<name>` and `results/<name>`.
        model, problems, seed: as in the stages' parameters.
        seeds: every policy is trained, and answers, once with each; the first is the one that is timed. Empty: `seed` alone.
        policies: policy -> parameters of its `align` stage; `start` names another policy.
        arms: arm -> which policy answers; the first is the baseline.
        align: parameters that all policies share, such as their token budget; a policy's own outrank them.
        generate, throughput, speculate, grade, analyse: parameters of those stages that differ from their defaults.
        resources: stage -> what one of its jobs asks a scheduler for, where it is not `RESOURCES`.
        trained: the profile whose training this one uses; "" for its own. Follows from `extends`, see `load_profile`.
    """

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    model: str = "embedded"
    problems: str = "bundled"
    seed: int = 0
    seeds: list[int] = []
    policies: dict[str, dict[str, Any]] = Field(min_length=1)
    arms: dict[str, Arm] = Field(min_length=1)
    align: dict[str, Any] = {}
    generate: dict[str, Any] = {}
    throughput: dict[str, Any] = {}
    speculate: dict[str, Any] = {}
    grade: dict[str, Any] = {}
    analyse: dict[str, Any] = {}
    resources: dict[str, dict[str, int]] = {}
    trained: str = ""

    @field_validator("resources")
    @classmethod
    def _known_resources(cls, value: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        for stage, asked in value.items():
            if stage not in MODELS:
                raise ValueError(f"got {stage!r}; accepts {', '.join(MODELS)}")
            for name, amount in asked.items():
                if name not in RESOURCES or amount < 0:
                    raise ValueError(f"{stage}: got {name!r}: {amount}; accepts {', '.join(RESOURCES)}, at least 0")
        return value

    @field_validator("policies", "arms")
    @classmethod
    def _plain_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not name.replace("-", "").isalnum() or without_seed(name) != name:
                raise ValueError(
                    f"got {name!r}; accepts names of letters, digits and hyphens that do not end like a seed's, -s1"
                )
        return value

    @model_validator(mode="after")
    def _first_seed(self) -> Profile:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: got {self.seeds}; accepts each seed once")
        if len(self.seeds) > 1 and (
            own := [n for n, p in (self.policies | {"align": self.align}).items() if "seed" in p]
        ):
            raise ValueError(
                f"{own[0]}: got a seed of its own; accepts none beside several seeds, with each of which it is trained"
            )
        self.seed = self.seeds[0] if self.seeds else self.seed
        return self

    @model_validator(mode="after")
    def _no_clash(self) -> Profile:
        if "base" in self.policies:
            raise ValueError("policies: got 'base', the name of the untrained model; accepts any other name")
        sections = {
            "align": self.align,
            "generate": self.generate,
            "throughput": self.throughput,
            "speculate": self.speculate,
            "grade": self.grade,
            "analyse": self.analyse,
        }
        own = {f"arms.{name}.generate": arm.generate for name, arm in self.arms.items()}
        for where, section in (sections | self.policies | own).items():
            if "out" in section:
                raise ValueError(
                    f"{where}: got 'out'; the workflow decides where stages write; accepts the other parameters"
                )
        return self


class Job(NamedTuple):
    """One stage to run: its notebook, the folder it writes, its parameters, and the records that it needs first."""

    stage: str
    name: str
    folder: str
    parameters: dict[str, Any]
    needs: tuple[str, ...]


def seeds_of(text: str) -> list[int]:
    """Training seeds from `0,1,2`.

    Raises:
        ParameterError: not numbers with commas between them.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise ParameterError(f"seeds: got {text!r}; accepts numbers with commas between them, such as 0,1,2") from None


def load_profile(source: str, **overrides: Any) -> Profile:
    """Read a profile.

    A file with `extends: NAME` takes every key that it does not give from `config/NAME.yaml`, and the trained policies with them unless it
    or an override changes what decides training; but never its name, which is the file's own where it does not say.

    Args:
        source: a name in `config/` or the path of a YAML file.
        **overrides: values that replace the file's (`model`, `problems`, `seed`, `seeds`); None leaves the file's.

    Raises:
        ParameterError: no such file, not YAML, an unknown key, or a value that a stage does not accept.
    """
    path = Path(source) if source.endswith((".yaml", ".yml")) else Path("config") / f"{source}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in Path("config").glob("*.yaml")))
        raise ParameterError(f"profile: got {source!r}; accepts {known} or the path of a YAML file")
    changed = {key: value for key, value in overrides.items() if value is not None}
    if "seed" in changed:
        changed.setdefault("seeds", [])  # one seed alone, whatever the file has
    data = {"name": path.stem} | _read(path) | changed
    if "trained" in data:
        raise ParameterError(f"{path}: trained: follows from extends; accepts extends: NAME")
    data = _whole(data, path, [path.resolve()])
    try:
        profile = Profile.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        fields = (Profile if len(first["loc"]) == 1 else Arm).model_fields
        accepted = f"; accepts {', '.join(fields)}" if first["type"] == "extra_forbidden" else ""
        raise ParameterError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}{accepted}") from None
    try:
        planned = jobs(profile)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    for job in planned:
        _check_job(job, path)
    return profile


def _whole(data: dict[str, Any], path: Path, seen: list[Path]) -> dict[str, Any]:
    """Fill in what a profile takes from the one that it extends, which may extend another."""
    other = data.pop("extends", None)
    if other is None:
        return data
    whole = Path("config") / f"{other}.yaml"
    if whole.resolve() in seen or not whole.is_file():
        raise ParameterError(
            f"{path}: extends: got {other!r}; accepts a profile in config/ that does not extend this one"
        )
    below = _whole(_read(whole), whole, [*seen, whole.resolve()])
    same = all(data[key] == below.get(key, Profile.model_fields[key].default) for key in DECIDES_TRAINING & set(data))
    trained = (below.get("trained") or other) if same else ""
    return below | data | {"trained": trained}


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ParameterError(f"{path}: not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(data, dict):
        raise ParameterError(f"{path}: accepts a mapping with the keys {', '.join(Profile.model_fields)}")
    return data


def _check_job(job: Job, path: Path) -> None:
    """Validate a job's parameters, except for paths that earlier stages will make."""
    made = {
        "align": ("start",),
        "generate": ("adapter",),
        "throughput": ("policies", "baseline", "unmerged"),
        "speculate": ("policies", "draft"),
        "grade": ("answers",),
        "analyse": ("runs",),
    }
    values = {k: v for k, v in job.parameters.items() if k not in made[job.stage]}
    if job.stage in ("grade", "analyse"):
        values |= {"answers": __file__} if job.stage == "grade" else {"runs": "."}
    if job.stage == "generate" and job.parameters["adapter"]:
        values |= {"adapter": "."}  # a folder that is there, for what does not go with one
    try:
        check(MODELS[job.stage], values)
    except ParameterError as error:
        raise ParameterError(f"{path}: {job.stage} {job.name}: {error}") from None


def jobs(profile: Profile) -> list[Job]:
    """Every stage of a profile, each after those that it needs.

    Raises:
        ParameterError: an arm or a start names an unknown policy, or policies start from each other in a circle.
    """
    runs, trained = f"runs/{profile.name}", f"runs/{profile.trained or profile.name}/align"
    done, order = [], _in_order(profile)
    for seed in profile.seeds or [profile.seed]:
        done += [_align(profile, name, trained, seed) for name in order]
    for seed in profile.seeds or [profile.seed]:
        for name, arm in profile.arms.items():
            hot = profile.generate.get("temperature") if arm.temperature is None else arm.temperature
            if (
                seed == profile.seed or arm.policy != "base" or hot
            ):  # the untrained model's greedy answers are always the same
                done += _answer_and_grade(profile, name, arm, runs, trained, seed)
    adapters = {"base": ""} | {name: f"{trained}/{name}/adapter" for name in profile.policies}
    first = next(iter(profile.arms.values())).policy
    timing = {"model": profile.model, "seed": profile.seed, "policies": adapters, "out": f"{runs}/throughput"}
    timing["baseline"] = first
    ready = tuple(f"{trained}/{name}/record.json" for name in profile.policies)
    done.append(Job("throughput", "all", f"{runs}/throughput", timing | profile.throughput, ready))
    guess = {"model": profile.model, "seed": profile.seed, "problems": profile.problems, "out": f"{runs}/speculate"}
    guess |= {"policies": adapters, "draft": first}
    done.append(Job("speculate", "all", f"{runs}/speculate", guess | profile.speculate, ready))
    analysis = {
        "runs": runs,
        "policies": list(profile.arms),
        "problems": profile.problems,
        "out": f"{runs}/analyse",
        "seed": profile.seed,
        "seeds": profile.seeds[1:],
    }
    every = tuple(f"{job.folder}/record.json" for job in done)
    done.append(Job("analyse", "all", f"{runs}/analyse", analysis | profile.analyse, every))
    return done


def resources(profile: Profile, stage: str) -> dict[str, int]:
    """What one job of a stage asks a scheduler for; a stage on CUDA asks for one GPU where the profile does not say."""
    own: list[dict[str, Any]] = [{}]
    if stage == "align":
        own = list(profile.policies.values())
    elif stage == "generate":
        own = [arm.generate for arm in profile.arms.values()]
    on_gpu = any((getattr(profile, stage) | given).get("device") == "cuda" for given in own)
    return RESOURCES | {"gpu": int(on_gpu)} | profile.resources.get(stage, {})


def _in_order(profile: Profile) -> list[str]:
    order: list[str] = []
    left, ready = dict(profile.policies), {""}
    while left:
        found = [name for name, given in left.items() if str(given.get("start", "")) in ready]
        if not found:
            raise ParameterError(f"policies: {', '.join(left)} start from unknown policies or from each other")
        order += found
        ready |= set(found)
        for name in found:
            del left[name]
    return order


def _suffix(profile: Profile, seed: int) -> str:
    """What the folders of a seed end with: nothing for the first."""
    return "" if seed == profile.seed else seed_folder("", seed)


def _align(profile: Profile, name: str, trained: str, seed: int) -> Job:
    end = _suffix(profile, seed)
    folder = f"{trained}/{name}{end}"
    given = dict(profile.policies[name])
    start = given.pop("start", "")
    parameters = {"model": profile.model, "seed": seed, "out": folder} | profile.align | given
    if end:
        parameters["seed"] = seed
    parameters["start"] = f"{trained}/{start}{end}/adapter" if start else ""
    return Job("align", f"{name}{end}", folder, parameters, (f"{trained}/{start}{end}/record.json",) if start else ())


def _answer_and_grade(profile: Profile, name: str, arm: Arm, runs: str, folder: str, seed: int) -> list[Job]:
    if arm.policy != "base" and arm.policy not in profile.policies:
        raise ParameterError(f"arms.{name}.policy: got {arm.policy!r}; accepts base, {', '.join(profile.policies)}")
    trained, end = arm.policy != "base", _suffix(profile, seed)
    answered, graded = f"{runs}/generate/{name}{end}", f"{runs}/grade/{name}{end}"
    asking = {
        "policy": name,
        "model": profile.model,
        "adapter": f"{folder}/{arm.policy}{end}/adapter" if trained else "",
        "angle": arm.angle,
        "problems": profile.problems,
        "seed": seed,
        "out": answered,
    }
    asking |= profile.generate
    if arm.best_of > 1:
        asking["best_of"] = arm.best_of
    if arm.temperature is not None:
        asking["temperature"] = arm.temperature
    asking |= arm.generate
    grading = {"answers": f"{answered}/answers.jsonl", "problems": profile.problems, "out": graded}
    needs = (f"{folder}/{arm.policy}{end}/record.json",) if trained else ()
    return [
        Job("generate", f"{name}{end}", answered, asking, needs),
        Job("grade", f"{name}{end}", graded, grading | profile.grade, (f"{answered}/record.json",)),
    ]
