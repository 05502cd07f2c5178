"""What the methods share: LoRA, trainer settings, budgets, the log of steps, checkpoints that survive a kill, and the finished adapter."""

from __future__ import annotations

import copy
import gc
import itertools
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from unittest import mock

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tradeoffs import processes
from tradeoffs.models import Policy, load
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.data import read_instructions
from tradeoffs.preferences.reward_model import RewardModel, load_or_fit
from tradeoffs.preferences.rewards import ATTRIBUTES
from tradeoffs.progress import bar
from tradeoffs.records import TrainingStep, append_jsonl, read_rows
from tradeoffs.tasks.examples import Example, training_examples
from tradeoffs.tasks.prompts import Question, answer_ids, general_messages

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")
STRETCH = 8  # batches within which rows of similar length find each other

# What a kill may cost, with a step. With one at every step a tenth of a training on a CPU, and nearly half on a GPU, lay between steps.
SECONDS_BETWEEN_CHECKPOINTS = 10.0

# TRL's names for what a step records -> ours
LOGGED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "rewards/margins": "reward",
    "reward": "reward",
    "kl": "kl",
    "completions/mean_length": "response_tokens",
    "rewards/helpfulness/mean": "helpfulness",
    "rewards/verbosity/mean": "verbosity",
    "rewards/accuracies": "accuracy",
    "mean_token_accuracy": "accuracy",
}


class Schedule(NamedTuple):
    """How long a trainer trains.

    Attributes:
        steps: optimizer steps at most.
        spent: tokens that had passed through the policy before its first step.
        limit: tokens at which it stops; 0 where the steps decide. Between the two its learning rate falls to 0 in a line.
    """

    steps: int
    spent: int = 0
    limit: int = 0


def schedule(parameters: AlignParameters, spent: int = 0, share: float = 1.0) -> Schedule:
    """The schedule of a trainer that may use a share of the budget.

    Args:
        spent: tokens spent so far.
        share: where the part of the budget that belongs to this trainer ends (method in rounds: its round).

    Raises:
        ValueError: nothing is left to train with.
    """
    if not parameters.token_budget:
        return Schedule(parameters.steps)
    limit = round(parameters.token_budget * share)
    if spent >= limit:
        raise ValueError(
            f"token_budget: got {parameters.token_budget}; sampling alone took {spent} of the {limit} that it may take by "
            "then; accepts more, or fewer prompts and samples"
        )
    return Schedule(math.ceil((limit - spent) / parameters.batch_size), spent, limit)


def start_policy(parameters: AlignParameters) -> Policy:
    """The policy that training starts from: the model with its start adapter merged, in the precision asked for.

    Raises:
        ValueError: examples may be longer than the model's context.
    """
    policy = load(parameters.model, parameters.start, dtype=parameters.dtype, device=parameters.device)
    context = getattr(policy.model.config, "max_position_embeddings", None)
    if context is not None and parameters.max_length > context:
        raise ValueError(
            f"max_length: got {parameters.max_length}; {parameters.model} has a context of {context} tokens; accepts up to that"
        )
    return policy


def lora(parameters: AlignParameters) -> LoraConfig:
    """LoRA on every linear layer, without dropout (arXiv 2106.09685), scaled so that alpha equals the rank."""
    from peft import LoraConfig

    return LoraConfig(
        r=parameters.lora_rank,
        lora_alpha=parameters.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def new_adapter(model: PreTrainedModel, parameters: AlignParameters) -> PeftModel:
    """Put an untrained LoRA adapter on a model; which one depends on the seed alone, not on what was drawn before."""
    from peft import PeftModel, get_peft_model
    from transformers import set_seed

    set_seed(parameters.seed)
    wrapped = get_peft_model(model, lora(parameters))
    assert isinstance(wrapped, PeftModel)
    return wrapped


def micro_batch(parameters: AlignParameters) -> tuple[int, int]:
    """How many sequences a process takes at once, and how many times in a step.

    Raises:
        ValueError: the batch cannot be divided by processes and micro-batches.
    """
    each, rest = divmod(parameters.batch_size, processes.count())
    size = parameters.micro_batch or each
    if rest or each % size:
        raise ValueError(
            f"batch_size: got {parameters.batch_size}; accepts multiples of {processes.count()} processes"
            + (f" times micro_batch = {size}" if parameters.micro_batch else "")
        )
    return size, each // size


def trainer_settings(parameters: AlignParameters, folder: Path, plan: Schedule) -> dict[str, Any]:
    """Settings that every trainer here gets."""
    import torch

    from tradeoffs.models import resolve_device, resolve_dtype

    on_gpu = resolve_device(parameters.device) == "cuda"
    return dict(
        output_dir=str(folder / "checkpoints"),
        max_steps=plan.steps,
        per_device_train_batch_size=micro_batch(parameters)[0],
        gradient_accumulation_steps=micro_batch(parameters)[1],
        learning_rate=parameters.learning_rate,
        lr_scheduler_type="constant" if plan.limit else "linear",  # with a limit `StepLog` lowers it
        warmup_steps=0 if plan.limit else plan.steps // 20,
        logging_steps=1,
        save_strategy="no",  # `StepLog` says when
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        seed=parameters.seed,
        data_seed=parameters.seed,
        bf16=on_gpu and resolve_dtype(parameters.dtype) is torch.bfloat16,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
    )


@contextmanager
def scored_positions_only() -> Iterator[None]:
    """Within this context TRL's fused LM head projects the scored positions alone, on every device.

    TRL does so on a GPU; elsewhere it projects masked prompt positions too and throws the result away, because some accelerators
    recompile where shapes change. A CPU does not, and with answers of 15 tokens after prompts of 150 that is half of a step. Loss and
    gradient are the same (there is a test).
    """
    from trl.trainer import utils

    with mock.patch.object(utils, "_use_triton", lambda device: True):
        yield


class StepLog(TrainerCallback):
    """Append one `TrainingStep` an optimizer step, show progress, keep to a budget, save now and then, stop at what is no number.

    Args:
        path: `steps.jsonl`.
        what: beside the progress bar.
        plan: how long is trained.
        peak: learning rate at the beginning.
        round: which round; its steps are counted on from those of the rounds before.
        passes: how often each token that the trainer counts passes through the policy: 2 where it samples what it trains on.
        monitor: called with the policy, step, share of this plan that is done and round before the first step and after each, outside
            of its time.
    """

    def __init__(
        self,
        path: Path,
        what: str,
        plan: Schedule,
        *,
        peak: float = 0.0,
        round: int = 1,
        passes: int = 1,
        monitor: Callable[[PeftModel, int, float, int], None] | None = None,
    ) -> None:
        self.monitor = monitor
        self.path, self.what, self.plan, self.peak, self.round, self.passes = path, what, plan, peak, round, passes
        steps = [row for row in read_rows(path, TrainingStep) if row.kind == "step"]
        self.rows = [row for row in steps if row.round == round]
        self.offset = sum(row.round < round for row in steps)
        self.spent, self.counted = plan.spent, 0
        self.began = self.saved = time.perf_counter()
        self.seconds = 0.0
        self.bar: Any = None

    def fulfilled(self, step: int) -> bool:
        """Whether the budget, if there is one, was spent when this many of the trainer's own steps were done."""
        done = sum(row.tokens or 0 for row in self.rows if row.step <= self.offset + step)
        return bool(self.plan.limit) and self.plan.spent + done >= self.plan.limit

    def left(self, step: int) -> float:
        """Which share of the plan is left after this many of the trainer's own steps."""
        if self.plan.limit:
            return max(0.0, (self.plan.limit - self.spent) / (self.plan.limit - self.plan.spent))
        return 1 - step / self.plan.steps

    def _look(self, model: PeftModel, step: int) -> None:
        if self.monitor:
            self.monitor(model, self.offset + step, 1 - self.left(step), self.round)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Take up the count and open the bar where an interrupted run left them."""
        done = [row for row in self.rows if row.step <= self.offset + state.global_step]
        self.spent = self.plan.spent + sum(row.tokens or 0 for row in done)
        self.counted = int(state.num_input_tokens_seen)
        if self.plan.limit:
            size, start, unit = self.plan.limit - self.plan.spent, self.spent - self.plan.spent, "token"
        else:
            size, start, unit = self.plan.steps, state.global_step, "step"
        self.bar = bar(total=size, initial=min(start, size), what=self.what, unit=unit)
        self._look(given["model"], state.global_step)
        self.saved = time.perf_counter()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Start the step's clock; with a budget, set its learning rate."""
        self.began = time.perf_counter()
        if self.plan.limit:
            for group in given["optimizer"].param_groups:
                group["lr"] = self.peak * self.left(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop the step's clock before anything is logged or saved, and say whether it is time to save."""
        now = time.perf_counter()
        self.seconds = now - self.began
        # of several processes all must save or none, and their clocks differ
        control.should_save = processes.count() > 1 or now - self.saved >= SECONDS_BETWEEN_CHECKPOINTS

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Count the time to the next checkpoint from here."""
        self.saved = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Keep the step's numbers; a step that was logged before a kill is not logged twice.

        Raises:
            FloatingPointError: loss or gradient is no number; raised before the step's checkpoint is written.
        """
        step = state.global_step + self.offset
        if not logs or "loss" not in logs:
            return
        values: dict[str, Any] = {ours: float(logs[theirs]) for theirs, ours in LOGGED.items() if theirs in logs}
        for name in ("loss", "grad_norm"):
            if not math.isfinite(values.get(name, 0.0)):
                raise FloatingPointError(
                    f"step {step}: the {name} is {values[name]}; the last good checkpoint is kept; try a smaller learning_rate"
                )
        seen = int(logs.get("num_tokens", 0))
        tokens, self.counted = (seen - self.counted) * self.passes, seen
        if self.plan.limit:
            values["learning_rate"] = self.peak * self.left(state.global_step)
        self.spent += tokens
        if step not in {row.step for row in self.rows}:
            seconds = round(self.seconds, 4)
            row = TrainingStep(step=step, round=self.round, tokens=tokens or None, seconds=seconds, **values)
            self.rows.append(row)  # in every process: what is left of a budget must be the same in all
            if processes.is_main():
                append_jsonl(self.path, [row])
        self.bar.set_postfix_str(f"loss {values['loss']:.3f}")
        self.bar.update(min(tokens, self.bar.total - self.bar.n) if self.plan.limit else 1)
        self._look(given["model"], state.global_step)
        if self.plan.limit and self.spent >= self.plan.limit:
            control.should_training_stop = True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the bar."""
        self.bar.close()


class Judges(NamedTuple):
    """What responses are rated with: the base model, and the reward model where there are general prompts."""

    base: Policy
    reward_model: RewardModel | None

    def summary(self) -> dict[str, Any]:
        """What a method's summary says of them."""
        return {"reward_model": self.reward_model.summary() if self.reward_model else None}


def judges(parameters: AlignParameters) -> Judges:
    """Get the judges: a base model of their own, since the one that is trained must not move what it is judged by."""
    base = load(parameters.model, dtype=parameters.dtype, device=parameters.device)
    if parameters.domain == "code":
        return Judges(base, None)
    fitted = processes.main_first(
        lambda: load_or_fit(
            base,
            parameters.model,
            kind=parameters.reward_model,
            data=parameters.reward_data,
            limit=parameters.data_limit or None,
        )
    )
    if fitted.kind == "attributes":
        try:
            fitted.check(ATTRIBUTES)
        except ValueError as error:
            raise ValueError(f"reward_data: got {parameters.reward_data!r}; {error}") from None
    return Judges(base, fitted)


def prompts(parameters: AlignParameters, tokenizer: PreTrainedTokenizerBase, number: int = 1) -> list[Example]:
    """The training prompts of a round, each with its reference answer."""
    return examples(parameters, tokenizer, parameters.prompts, parameters.seed + 100 * number)


def examples(parameters: AlignParameters, tokenizer: PreTrainedTokenizerBase, count: int, seed: int) -> list[Example]:
    """Training examples of the domain, its instructions from the file or data set that the parameters name.

    Of these, what would be longer than `max_length` is left out: SFT learns the answer, all others sample one of `max_new_tokens`.

    Raises:
        ValueError: no instruction is short enough.
    """
    rows: list[tuple[Question, str]] | None = None
    if parameters.instructions:
        found = read_instructions(parameters.instructions, parameters.data_limit or None)
        random.Random(f"instructions/{seed}").shuffle(found)
        learns = parameters.method == "sft"
        limit = parameters.max_length - (0 if learns else parameters.max_new_tokens)
        short = (row for row in found if fits(tokenizer, general_messages(row[0]), [row[1]] if learns else [], limit))
        rows = list(itertools.islice(short, count))  # no more than are wanted are looked at: there may be very many
        if not rows:
            raise ValueError(f"max_length: got {parameters.max_length}; all {len(found)} instructions are longer")
    return training_examples(parameters.domain, count, seed, parameters.code_share, rows)


def run_trainer(trainer: Trainer, folder: Path, attempt: Callable[[int], object] | None = None) -> PeftModel:
    """Train quietly, going on from the last checkpoint in `folder`; give the policy with its adapter.

    Args:
        attempt: as for `or_which_fits`; without it training steps on the longest of the stored rows.

    Raises:
        FloatingPointError: a loss is no number; the message names step and sample.
        MemoryError: a batch does not fit; the message says which would.
    """
    from peft import PeftModel

    trainer.remove_callback(PrinterCallback)  # `StepLog` shows progress and keeps the numbers
    guard(trainer)
    checkpoint = processes.main_first(lambda: last_checkpoint(folder))
    if checkpoint is not None and _is_last(trainer, checkpoint):
        # A kill between the last step and what follows it; transformers would do one more step.
        _restore(trainer, checkpoint)
    else:
        or_which_fits(
            lambda: trainer.train(resume_from_checkpoint=checkpoint),
            int(trainer.args.per_device_train_batch_size),
            attempt or _on_longest(trainer),
        )
    model = trainer.accelerator.unwrap_model(trainer.model)
    assert isinstance(model, PeftModel)
    plain(model)
    return model


def _is_last(trainer: Trainer, checkpoint: str) -> bool:
    """Whether nothing is left to train after a checkpoint."""
    step = int(json.loads((Path(checkpoint) / "trainer_state.json").read_text())["global_step"])
    logs = [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, StepLog)]
    return step >= trainer.args.max_steps or any(log.fulfilled(step) for log in logs)


def _restore(trainer: Trainer, checkpoint: str) -> None:
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    model = trainer.accelerator.unwrap_model(trainer.model)
    assert isinstance(model, PeftModel)
    set_peft_model_state_dict(model, load_file(Path(checkpoint) / "adapter_model.safetensors"))


def or_which_fits(train: Callable[[], T], size: int, attempt: Callable[[int], object]) -> T:
    """Train; where memory runs out say which micro-batch fits, by trying halves of the one that did not.

    Args:
        size: sequences that are trained on at once.
        attempt: trains on as many of the longest that there are.

    Raises:
        MemoryError: a micro-batch does not fit; the message says which does.
    """
    from accelerate.utils.memory import should_reduce_batch_size

    try:
        return train()
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        # Handled after this block: until then the traceback holds the step's tensors.
        reason = str(error).strip().splitlines()[0]
    text = f"micro_batch: {size} sequences at once do not fit into memory ({reason}); "
    while size > 1:
        size //= 2
        gc.collect()
        try:
            attempt(size)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        else:
            raise MemoryError(text + f"{size} of the longest do: micro_batch={size}; the last checkpoint is kept")
    raise MemoryError(
        text
        + "nor does one: accepts a smaller max_length or max_new_tokens, or a smaller model; the last checkpoint is kept"
    )


def _on_longest(trainer: Trainer) -> Callable[[int], object]:
    """Training steps on the longest rows of a trainer, for `or_which_fits`."""

    def attempt(size: int) -> object:
        rows: Any = list(trainer.train_dataset)  # type: ignore[arg-type]
        rows.sort(key=lambda row: -sum(len(value) for value in row.values() if isinstance(value, list)))
        model: Any = trainer.model
        return trainer.training_step(model, trainer.data_collator(rows[:size]))

    return attempt


@contextmanager
def during(when: str) -> Iterator[None]:
    """Say of a number that is none when it came up."""
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"{when}: {error}") from None


def guard(trainer: Trainer) -> None:
    """Stop a trainer at a loss that is no number, naming the step and the sample."""
    compute = trainer.compute_loss

    def checked(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        found = compute(model, inputs, *rest, **named)
        loss = found[0] if isinstance(found, tuple) else found
        if not bool(loss.isfinite()):
            raise FloatingPointError(
                f"step {trainer.state.global_step + 1}: the loss is {float(loss.detach())}; {_blame(trainer, model, inputs)}; "
                "the last good checkpoint is kept; try a smaller learning_rate"
            )
        return found

    trainer.compute_loss = checked  # type: ignore[method-assign]


def _blame(trainer: Trainer, model: Any, inputs: Mapping[str, Any]) -> str:
    """Name the sample of a batch that the policy cannot be evaluated on."""
    import torch

    ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    if ids is None and "prompt_ids" in inputs:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    if ids is None or mask is None:
        return "no sample could be looked at"
    backbone = trainer.accelerator.unwrap_model(model).get_base_model().base_model
    with torch.no_grad():
        bad = [
            not bool(
                backbone(input_ids=row[None], attention_mask=on[None]).last_hidden_state[0, on.bool()].isfinite().all()
            )
            for row, on in zip(ids, mask, strict=True)
        ]
    if all(bad):
        return "every sample of the batch gives such numbers, so the weights have gone astray"
    if not any(bad):
        return "no sample alone explains it: look at the rewards"
    place = bad.index(True)
    tokenizer: Any = trainer.processing_class
    text = str(tokenizer.decode(ids[place][mask[place].bool()])) if tokenizer else ""
    return f"sample {place + 1} of the batch gives such numbers; it begins {text[:160]!r}"


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written completely; a stump that a kill left is removed."""
    found = []
    for path in (folder / "checkpoints").glob("checkpoint-*"):
        try:
            state = json.loads((path / "trainer_state.json").read_text())
            found.append((int(state["global_step"]), str(path)))
        except (OSError, ValueError, KeyError):
            shutil.rmtree(path, ignore_errors=True)
    return max(found)[1] if found else None


def save_adapter(model: PeftModel, folder: Path) -> Path:
    """Write an adapter in one move; of several processes the main one writes, and all wait."""

    def write() -> None:
        scratch = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(scratch, ignore_errors=True)
        model.save_pretrained(str(scratch), selected_adapters=["default"])
        (scratch / "README.md").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)

    if processes.is_main():
        write()
    processes.wait()
    return folder


def finish(parameters: AlignParameters, model: PeftModel, folder: Path) -> None:
    """Write the policy's adapter, relative to the base model alone.

    A policy trained on top of a start adapter has two low-rank changes; stacking their factors makes one adapter of the summed rank
    that is their exact sum, so that a policy is always one base model and one adapter.
    """
    new = save_adapter(model, folder / "new")
    if processes.is_main():
        _stack(parameters, new, folder)
    processes.wait()


def _stack(parameters: AlignParameters, new: Path, folder: Path) -> None:
    target = folder / "adapter"
    if not parameters.start:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(new, target)
        return
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tradeoffs.models import weights

    source, revision = weights(parameters.model)
    base = AutoModelForCausalLM.from_pretrained(source, revision=revision)
    both = PeftModel.from_pretrained(base, parameters.start, adapter_name="start")
    both.load_adapter(str(new), adapter_name="new")
    both.add_weighted_adapter(["start", "new"], [1.0, 1.0], adapter_name="default", combination_type="cat")
    scratch = folder / ".adapter.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    both.save_pretrained(str(scratch), selected_adapters=["default"])
    (scratch / "README.md").unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)


def plain(model: PeftModel) -> PeftModel:
    """Take out the forward function that TRL puts into a model; a copy of it would still run the model that it was put into."""
    model.get_base_model().__dict__.pop("forward", None)
    return model


def merged_copy(model: PeftModel) -> PreTrainedModel:
    """A copy of the policy with its adapter merged, for sampling at full speed while the trained one stays untouched."""
    return plain(copy.deepcopy(model)).merge_and_unload().eval()  # type: ignore[no-any-return]


def whole_batches(rows: Sequence[T], size: int) -> list[T]:
    """Let the first rows come again until the last batch is whole, so that batches are the same however many processes share them."""
    return [rows[n % len(rows)] for n in range(math.ceil(len(rows) / size) * size)]


def alike(rows: Sequence[T], lengths: Sequence[int], size: int, seed: int) -> list[T]:
    """Arrange rows so that a batch holds rows of similar length, which saves a fifth of the computing, and batches come in random order.

    Within stretches of some batches rows are sorted, cut into batches, and those shuffled. The library's own grouping by length begins
    with the longest, so that a budget would end before the short ones; and it makes other batches where several processes share them.
    """
    rng = random.Random(f"alike/{seed}")
    order = whole_batches(rng.sample(range(len(rows)), len(rows)), size)
    batches: list[list[int]] = []
    for first in range(0, len(order), STRETCH * size):
        part = sorted(order[first : first + STRETCH * size], key=lambda n: lengths[n])
        cut = [part[n : n + size] for n in range(0, len(part), size)]
        batches += rng.sample(cut, len(cut))
    return [rows[n] for batch in batches for n in batch]


def together(rows: Sequence[T], groups: Sequence[Hashable], size: int, seed: int) -> list[T]:
    """Arrange rows so that those of a group stand side by side, and groups in random order."""
    places: dict[Hashable, list[int]] = {}
    for n, group in enumerate(groups):
        places.setdefault(group, []).append(n)
    order = random.Random(f"together/{seed}").sample(list(places), len(places))
    return whole_batches([rows[n] for group in order for n in places[group]], size)


def fits(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], answers: list[str], max_length: int
) -> bool:
    """Whether a prompt with each of its answers stays within `max_length` tokens; nothing is ever cut silently."""
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    longest = max((len(answer_ids(tokenizer, answer)) + 1 for answer in answers), default=0)
    return len(prompt) + longest <= max_length
