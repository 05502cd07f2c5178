"""One model a notebook: every parameter's name, type, range, unit and default.

Each notebook's first code cell after its parameters calls `validate(Model, globals())`. A wrong name, type or value stops the
notebook there, within seconds and before a model is loaded, with one line that names the parameter, what it got and what it accepts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tradeoffs.methods import METHODS

Model = TypeVar("Model", bound="Parameters")

EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")
REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*")


class ParameterError(ValueError):
    """A parameter is wrong; shown in a notebook as its one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"ParameterError: {self}"]


def _existing(kind: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, str) and value:
            path = Path(value)
            if kind == "file" and not path.is_file():
                raise ValueError("no such file; accepts the path of an existing file")
            if kind == "folder" and not path.is_dir():
                raise ValueError("no such folder; accepts the path of an existing folder")
        return value

    return BeforeValidator(check)


def _known_model(value: Any) -> Any:
    if not isinstance(value, str) or not value:
        raise ValueError("accepts 'embedded', a hub id such as 'owner/name', or a local folder")
    if value == "embedded" or Path(value).is_dir():
        return value
    repo, _ = split_model(value)
    parts = repo.split("/")
    if len(parts) != 2 or not all(parts) or repo.startswith((".", "/", "~")):
        raise ValueError(
            "unknown model; accepts 'embedded', a hub id such as 'owner/name', or an existing local folder"
        )
    return value


def split_model(name: str) -> tuple[str, str | None]:
    """A model's hub id and its revision, which `owner/name@revision` names; None where the name has none, or is no hub id.

    Raises:
        ValueError: what stands after the @ cannot be a revision.
    """
    if Path(name).is_dir():
        return name, None
    repo, sign, revision = name.partition("@")
    if sign and not REVISION.fullmatch(revision):
        raise ValueError(f"unknown revision {revision!r}; accepts a commit, tag or branch after the @, or no @")
    return repo, revision or None


# Data sets of the hub that have a name here, by what they hold; `tradeoffs.preferences.hub` knows where they lie.
DATA_SETS = {
    "pairs": ("hh-rlhf", "ultrafeedback"),
    "ratings": ("helpsteer2", "ultrafeedback-ratings"),
    "instructions": ("ultrachat", "code-alpaca", "magicoder"),
}


def _known_data(*kinds: str) -> BeforeValidator:
    names = [name for kind in kinds for name in DATA_SETS[kind]]

    def check(value: Any) -> Any:
        if isinstance(value, str) and value and value not in names and not Path(value).is_file():
            raise ValueError(
                f"no such data; accepts the path of an existing .jsonl or .jsonl.gz file, or {', '.join(names)}"
            )
        return value

    return BeforeValidator(check)


def _known_problems(value: Any) -> Any:
    if not isinstance(value, str) or not value:
        raise ValueError("accepts 'bundled', 'ds1000' (the hub) or the path of a .jsonl or .jsonl.gz file")
    if value in ("bundled", "ds1000") or Path(value).is_file():
        return value
    raise ValueError(
        "unknown problem set; accepts 'bundled', 'ds1000' (the hub) or the path of an existing .jsonl or .jsonl.gz file"
    )


ModelName = Annotated[str, BeforeValidator(_known_model), Field(description="'embedded', a hub id, or a local folder")]
ProblemSet = Annotated[
    str,
    BeforeValidator(_known_problems),
    Field(description="'bundled', 'ds1000' (from the hub), or a .jsonl[.gz] file"),
]
Adapter = Annotated[
    str, _existing("folder"), Field(description="folder of a LoRA adapter on top of `model`; '' for none")
]
OutFolder = Annotated[
    str, Field(min_length=1, description="folder that the stage writes; an interrupted run there goes on")
]
DType = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    Field(description="'auto' takes bfloat16 where the hardware is known to multiply it at least as fast as float32"),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], Field(description="'auto' takes a GPU where there is one")]
Seed = Annotated[int, Field(ge=0, lt=2**31, description="random seed")]
Weight = Annotated[float, Field(ge=-1000, le=1000)]
BatchSize = Annotated[int, Field(ge=1)]
Angle = Annotated[float, Field(ge=-90, le=90)]
OptionalAngle = Annotated[
    float | None,
    Field(ge=-90, le=90, description="degrees; DPA's direction in the system prompt; None for no direction"),
]


def _known_method(value: str) -> str:
    if value not in METHODS:
        raise ValueError("accepts one of " + ", ".join(map(repr, METHODS)) + ", alignment methods")
    return value


def _known_policy(value: str, info: ValidationInfo) -> str:
    policies = info.data.get("policies", {})
    if value and value not in policies:
        raise ValueError(f"accepts '' or one of {', '.join(policies)}")
    return value


PolicyName = Annotated[str, AfterValidator(_known_policy)]


class Parameters(BaseModel):
    """Shared behaviour of the notebooks' parameters: strict types, no unknown names."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _yaml_floats(cls, value: Any, info: ValidationInfo) -> Any:
        """Take `1e-3` for a number: YAML 1.1, which Papermill and profiles are read by, sees text where the point is missing."""
        number = cls.model_fields[str(info.field_name)].annotation is float
        return float(value) if number and isinstance(value, str) and EXPONENT.fullmatch(value) else value


# How a stage's work is divided, and how often it is looked at: nothing that decides its numbers.
ASIDE = {"workers", "micro_batch", "processes", "accelerate", "evaluations", "evaluation_prompts"}


class AlignParameters(Parameters):
    """`notebooks/align.ipynb`: train one policy."""

    method: Annotated[str, AfterValidator(_known_method)] = Field(
        "sft", description="alignment method, a key of tradeoffs.alignment.METHODS"
    )
    model: ModelName = "embedded"
    start: Adapter = ""
    out: OutFolder = "runs/align/sft-code"
    domain: Literal["code", "general", "mixed"] = Field(
        "code", description="training prompts: verifiable tasks, instructions, both"
    )
    instructions: Annotated[
        str,
        _known_data("instructions"),
        Field(
            description="what to learn from, or to sample answers to: .jsonl[.gz] file or name of instructions; '' for the project's own"
        ),
    ] = ""
    preferences: Annotated[
        str,
        _known_data("pairs"),
        Field(description="DPO: .jsonl[.gz] file or name of a set of pairs to learn from; '' for its own samples"),
    ] = ""
    reward_model: Literal["bradley-terry", "attributes"] = Field(
        "bradley-terry", description="rates general text: helpfulness from pairs, or every attribute from ratings"
    )
    reward_data: Annotated[
        str,
        _known_data("pairs", "ratings"),
        Field(description="what the reward model is fitted on, file or name; '' for the project's own"),
    ] = ""
    data_limit: int = Field(0, ge=0, description="rows read of instructions, preferences and reward_data; 0 for all")
    shuffle_rewards: bool = Field(
        False, description="control: rewards (SFT: answers) change places at random, so that nothing can be learned"
    )
    code_share: float = Field(0.5, ge=0, le=1, description="share of code among the prompts of domain 'mixed'")
    steps: int = Field(20, ge=1, description="optimizer steps (methods in rounds: in each); unused with token_budget")
    token_budget: int = Field(
        0, ge=0, description="tokens that may pass through the policy, sampled and trained on; 0: `steps` decide"
    )
    batch_size: int = Field(8, ge=1, description="sequences (DPO: pairs, RRHF: queries) an optimizer step")
    micro_batch: int = Field(
        0, ge=0, description="of these, how many at once in each process; gradients add up; 0 for all"
    )
    learning_rate: float = Field(5e-4, gt=0, le=1, description="peak learning rate, linear decay to 0")
    lora_rank: int = Field(16, ge=1, le=512, description="rank of the LoRA adapter")
    max_length: int = Field(512, ge=16, description="tokens; longer training examples are left out")
    prompts: int = Field(32, ge=1, description="prompts sampled from (methods in rounds: in each)")
    samples: int = Field(4, ge=1, description="responses a prompt")
    temperature: float = Field(1.0, gt=0, le=5, description="sampling temperature")
    max_new_tokens: int = Field(96, ge=1, description="tokens; cap on a sampled response")
    beta: float = Field(
        0.1, gt=0, description="weight of the divergence from the reference model (DPO, PPO, RLOO, RLVR)"
    )
    rounds: int = Field(
        1, ge=1, description="iterations of sampling and training (RSFT, DPA, scalarisation by RSFT, DPO, RRHF)"
    )
    weights: list[Weight] = Field(
        [1.0, 0.0], min_length=2, max_length=2, description="v in the reward v . (helpfulness, verbosity)"
    )
    optimizer: Literal["rsft", "rloo"] = Field("rsft", description="what trains linear scalarisation")
    angles: list[Angle] = Field(
        [-45.0, -22.5, 0.0, 22.5, 45.0], min_length=1, description="degrees; directions DPA trains on"
    )
    angles_per_prompt: int = Field(
        1,
        ge=1,
        description="different directions that DPA asks each prompt for; all choose among all responses to the prompt",
    )
    evaluations: int = Field(
        0,
        ge=0,
        description="how often, evenly over training, the policy is measured by samples on held-out prompts, with up to three copies of "
        "the model in memory and other processes waiting; 0 for never",
    )
    evaluation_prompts: int = Field(16, ge=2, description="held-out prompts, each answered once in an evaluation")
    seed: Seed = 0
    dtype: DType = "auto"
    device: Device = "auto"
    workers: int = Field(2, ge=1, description="grading processes for rewards from execution")
    processes: int = Field(
        1, ge=1, description="training processes, started by accelerate; each takes its share of a batch"
    )
    accelerate: str = Field(
        "", description="configuration file for accelerate, such as config/accelerate/fsdp2.yaml; '' for none"
    )

    @property
    def in_rounds(self) -> bool:
        """Whether the method samples and fine-tunes in turn."""
        own = not self.preferences and self.method in {"dpo", "rrhf"}
        return own or self.method in {"rsft", "dpa"} or (self.method == "scalarization" and self.optimizer == "rsft")

    @model_validator(mode="after")
    def _fits_the_method(self) -> AlignParameters:
        on_line = self.method in {"rloo", "rlvr"} or (self.method == "scalarization" and self.optimizer == "rloo")
        if self.method in {"dpo", "rrhf"} and not self.preferences and self.batch_size > self.prompts:
            raise ValueError(f"batch_size: got {self.batch_size}; accepts at most prompts = {self.prompts}")
        pooled = self.method == "dpa" and self.angles_per_prompt > 1  # they choose among each other's responses
        if (on_line or self.method in {"dpo", "rrhf", "dpa"}) and self.samples < 2 and not pooled:
            raise ValueError(f"samples: got {self.samples}; accepts at least 2 with {self.method}, which compares them")
        if on_line and self.batch_size % self.samples:
            raise ValueError(f"batch_size: got {self.batch_size}; accepts multiples of samples = {self.samples}")
        if on_line and self.prompts * self.samples < self.batch_size:
            raise ValueError(
                f"prompts: got {self.prompts}; accepts at least the {self.batch_size // self.samples} whose {self.samples} samples make a "
                f"batch of {self.batch_size}"
            )
        asked = self.prompts * (self.angles_per_prompt if self.method == "dpa" else 1)
        least = asked * self.samples * self.max_new_tokens
        if self.in_rounds and self.token_budget and least * self.rounds >= self.token_budget:
            raise ValueError(
                f"token_budget: got {self.token_budget}; {self.samples} samples of each of {asked} prompts may take {least} tokens and "
                f"more in each of {self.rounds} rounds; accepts more, or fewer prompts, samples, angles_per_prompt or rounds"
            )
        if self.angles_per_prompt > len(set(self.angles)):
            raise ValueError(
                f"angles_per_prompt: got {self.angles_per_prompt}; accepts at most the {len(set(self.angles))} different angles"
            )
        if not any(self.weights):
            raise ValueError(f"weights: got {self.weights}; accepts weights of which at least one is not 0")
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch: got {self.micro_batch}; accepts divisors of batch_size = {self.batch_size}")
        if self.reward_data in DATA_SETS["pairs"] and self.reward_model == "attributes":
            raise ValueError(f"reward_data: got {self.reward_data!r}; accepts ratings with reward_model 'attributes'")
        if self.reward_data in DATA_SETS["ratings"] and self.reward_model == "bradley-terry":
            raise ValueError(f"reward_data: got {self.reward_data!r}; accepts pairs with reward_model 'bradley-terry'")
        if self.preferences and self.method != "dpo":
            raise ValueError(f"preferences: got a file; accepts '' with {self.method}: only dpo learns from one")
        if self.instructions and self.preferences:
            raise ValueError("instructions: got a file; accepts '' with preferences, which bring their own prompts")
        for name, needed in (("instructions", ""), ("domain", "code")):
            if self.method == "rlvr" and (got := getattr(self, name)) != needed:
                raise ValueError(f"{name}: got {got!r}; accepts {needed!r} with rlvr, which needs a verdict")
        if self.instructions and self.domain == "code":
            raise ValueError("domain: got 'code'; accepts 'general' or 'mixed' with instructions")
        if self.evaluations and self.accelerate:
            raise ValueError(
                f"evaluations: got {self.evaluations}; accepts 0 with accelerate, under whose sharding no process may hold the whole policy"
            )
        return self


class GenerateParameters(Parameters):
    """`notebooks/generate.ipynb`: let one policy answer a problem set."""

    policy: str = Field("base", min_length=1, description="name of the policy in tables and figures")
    model: ModelName = "embedded"
    adapter: Adapter = ""
    angle: OptionalAngle = None
    problems: ProblemSet = "bundled"
    limit: int = Field(0, ge=0, description="answer a fixed stratified choice of this many problems; 0 for all")
    out: OutFolder = "runs/generate/base"
    samples: int = Field(1, ge=1, description="answers a problem")
    best_of: int = Field(1, ge=1, description="draw so many and keep the one that the reward model rates highest")
    temperature: float = Field(0.0, ge=0, le=5, description="0 for greedy decoding")
    top_p: float = Field(0.95, gt=0, le=1, description="nucleus sampling; unused when greedy")
    max_new_tokens: int = Field(256, ge=1, description="tokens; cap on an answer")
    batch_size: int = Field(16, ge=1, description="prompts decoded together, sorted by length; of no use with servers")
    servers: list[str] = Field(
        [], description="addresses of OpenAI-compatible servers to ask instead of decoding here; [] for none"
    )
    served_model: str = Field("", description="name under which the servers know the policy; '' for `model`")
    send: Literal["ids", "text"] = Field(
        "ids", description="prompts to servers as token ids, which are exact, or as text where they take no ids"
    )
    concurrency: int = Field(16, ge=1, description="requests to servers under way at once")
    arrivals_per_s: float = Field(
        0.0, ge=0, description="requests sent per second (Poisson), whatever the servers do; 0: the next when one ends"
    )
    timeout_s: float = Field(600.0, gt=0, description="seconds that a request may take, from sending to its end")
    retries: int = Field(3, ge=0, description="further attempts where a request fails, before it is recorded as failed")
    cache: Literal["dynamic", "static"] = Field("dynamic", description="keys and values: grown, or of fixed size")
    compiled: bool = Field(False, description="compile the decoding step (with cache 'static')")
    seed: Seed = 0
    dtype: DType = "auto"
    device: Device = "auto"

    @model_validator(mode="after")
    def _fits_the_engine(self) -> GenerateParameters:
        for url in self.servers:
            if not re.match(r"https?://[^/\s]+", url):
                raise ValueError(f"servers: got {url!r}; accepts addresses such as http://127.0.0.1:8000")
        if self.servers and self.adapter:
            raise ValueError(
                "adapter: got a folder; accepts '' with servers, which load their own: name it in served_model"
            )
        if self.served_model and not self.servers:
            raise ValueError("served_model: got a name; accepts '' without servers")
        if self.compiled and self.cache != "static":
            raise ValueError("compiled: got True; accepts it with cache 'static', whose shapes stay the same")
        if self.best_of > 1 and (self.samples > 1 or not self.temperature):
            raise ValueError("best_of: got more than 1; accepts it with samples = 1 and a temperature above 0")
        return self


class ThroughputParameters(Parameters):
    """`notebooks/throughput.ipynb`: time all policies at forced lengths in randomised interleaved blocks."""

    model: ModelName = "embedded"
    policies: dict[str, Adapter] = Field(
        {"base": ""}, min_length=1, description="policy name -> adapter folder ('' for none)"
    )
    out: OutFolder = "runs/throughput"
    baseline: PolicyName = Field(
        "", description="the policy that is compared with and checked against itself; '' for the first"
    )
    unmerged: list[str] = Field([], description="of these, which are also timed with the adapter beside the weights")
    blocks: int = Field(12, ge=2, description="blocks; each times every policy once at every size, in random order")
    pilot_blocks: int = Field(
        4, ge=2, description="blocks of the baseline twice, from which the run's power is foretold"
    )
    self_check: int = Field(
        20,
        ge=0,
        description="small studies of the baseline against itself, and two controls that must be found; 0 for none",
    )
    minutes: float = Field(0.0, ge=0, description="no block begins after this many minutes; 0 for no limit")
    batch_sizes: list[BatchSize] = Field([8], min_length=1, description="rows decoded together")
    prompt_tokens: int = Field(128, ge=1, description="tokens of each prompt")
    new_tokens: int = Field(20, ge=2, description="tokens decoded for each row, stopping ignored")
    turn_tokens: int = Field(
        0, ge=0, description="tokens a row that a policy decodes before the next one's turn; 0 for all of them"
    )
    cache: Literal["dynamic", "static"] = Field("dynamic", description="keys and values: grown, or of fixed size")
    margin: float = Field(0.02, gt=0, lt=1, description="equivalence margin of the ratio of tokens/s (TOST)")
    foreign_cpu_limit: float = Field(
        0.1, gt=0, le=1, description="share of CPU time used by others above which a block is flagged"
    )
    seed: Seed = 0
    dtype: DType = "auto"
    device: Device = "auto"

    @field_validator("unmerged")
    @classmethod
    def _has_an_adapter(cls, value: list[str], info: ValidationInfo) -> list[str]:
        adapters = info.data.get("policies", {})
        for name in value:
            if not adapters.get(name):
                raise ValueError(f"{name!r} has no adapter among the policies; accepts names of policies that have one")
        return value


class SpeculateParameters(Parameters):
    """`notebooks/speculate.ipynb`: how often policies would accept the tokens of a draft."""

    model: ModelName = "embedded"
    policies: dict[str, Adapter] = Field(
        {"base": ""}, min_length=1, description="policy name -> adapter folder ('' for none)"
    )
    draft: PolicyName = Field("", description="the policy that proposes tokens; '' for the first")
    problems: ProblemSet = "bundled"
    limit: int = Field(12, ge=0, description="answer a fixed stratified choice of this many problems; 0 for all")
    out: OutFolder = "runs/speculate"
    temperature: float = Field(
        1.0, ge=0, le=5, description="of answers and distributions; 0: greedy answers, distributions at 1"
    )
    max_new_tokens: int = Field(48, ge=1, description="tokens; cap on an answer")
    drafted: int = Field(4, ge=1, le=64, description="tokens that the draft proposes at once")
    live: int = Field(0, ge=0, description="problems that each policy also decodes with the draft for real, greedily")
    batch_size: int = Field(12, ge=1, description="prompts decoded together")
    seed: Seed = 0
    dtype: DType = "auto"
    device: Device = "auto"


class GradeParameters(Parameters):
    """`notebooks/grade.ipynb`: execute answers and say which pass."""

    answers: Annotated[str, _existing("file"), Field(min_length=1, description="answers, .jsonl or .jsonl.gz")] = (
        "answers.jsonl"
    )
    problems: ProblemSet = "bundled"
    out: OutFolder = "runs/grade/base"
    workers: int = Field(2, ge=1, description="answers graded at the same time")
    time_limit: float = Field(120.0, gt=0, description="seconds an answer may run")
    require_isolation: Literal["limits", "namespaces", "bubblewrap"] = Field(
        "namespaces", description="refuse to run model-written code with weaker isolation than this"
    )
    data: Annotated[
        str, _existing("folder"), Field(description="folder with data sets that problems load; '' finds fetched ones")
    ] = ""


class AnalyseParameters(Parameters):
    """`notebooks/analyse.ipynb`: turn the other stages' rows into the tables and figures that the book reads."""

    runs: Annotated[str, _existing("folder"), Field(min_length=1, description="folder of the stages' outputs")] = "runs"
    policies: list[str] = Field(
        ["base"], min_length=1, description="policies in the order of tables and figures; the first is the baseline"
    )
    problems: ProblemSet = "bundled"
    out: OutFolder = "runs/analyse"
    learning: str = Field(
        "results/learning", description="results of benchmarks/learning.py, which the claims ledger reads; '' for none"
    )
    draws: int = Field(2000, ge=100, description="bootstrap draws")
    goodput_limits: dict[Literal["ttft_s", "tpot_s", "e2e_s"], float] = Field(
        {},
        description="seconds that an answer must keep to count for goodput: 'ttft_s', 'tpot_s', 'e2e_s'; {} for none",
    )
    seed: Seed = 0
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(
        [], description="further training seeds, whose folders end with -s<seed>; their answers are pooled"
    )


MODELS: dict[str, type[Parameters]] = {
    "align": AlignParameters,
    "generate": GenerateParameters,
    "throughput": ThroughputParameters,
    "speculate": SpeculateParameters,
    "grade": GradeParameters,
    "analyse": AnalyseParameters,
}


BOUNDS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
    "minLength": "of length >=",
    "minItems": "of length >=",
    "minProperties": "of length >=",
}


def accepts(model: type[Parameters], name: str) -> str:
    """Say in a few words what a parameter accepts."""
    schema = model.model_json_schema()["properties"][name]
    meaning = schema.get("description", "")
    return _accepted(schema) + (f" ({meaning})" if meaning else "")


def _accepted(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(map(_accepted, schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(map(repr, schema["enum"]))
    kind = {"null": "None", "array": "list", "object": "mapping"}.get(schema["type"], schema["type"])
    bounds = [f"{sign} {schema[key]}" for key, sign in BOUNDS.items() if key in schema]
    words = " ".join([kind, " and ".join(bounds)]).strip()
    inner = schema.get("items") or schema.get("additionalProperties")
    return f"{words} of {_accepted(inner)}" if inner else words


def filled(stage: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's parameters with defaults filled in, without looking whether they are right."""
    fields = MODELS[stage].model_fields
    return {name: field.get_default(call_default_factory=True) for name, field in fields.items()} | dict(given)


def check(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Validate parameters.

    Raises:
        ParameterError: the message is one line that names the parameter, what it got and what it accepts.
    """
    fields = model.model_fields
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ParameterError(f"{name}: no such parameter; {hint}accepts {', '.join(fields)}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise ParameterError(first["msg"].removeprefix("Value error, ")) from None
        name = str(first["loc"][0])
        if first["type"] == "value_error":
            reason = first["msg"].removeprefix("Value error, ")
        else:
            reason = "accepts " + accepts(model, name)
        raise ParameterError(f"{name}: got {first['input']!r}; {reason}") from None


def validate(model: type[Model], namespace: Mapping[str, Any]) -> Model:
    """Validate a notebook's parameters from its global names; call it before anything else is defined.

    Args:
        model: the notebook's parameter model.
        namespace: `globals()`. Whatever is there and is neither IPython's own, an import, nor a known parameter was injected
            under a wrong name: Papermill itself only warns of it.

    Raises:
        ParameterError: see `check`.
    """
    ours = {"In", "Out", "exit", "quit", "get_ipython", "open"}
    values = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in ours and not callable(value) and type(value).__name__ != "module"
    }
    return check(model, values)
