"""What the methods share: LoRA, trainer settings, the log of steps, checkpoints that survive a kill, and the finished adapter."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tradeoffs.models import Policy, load
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.reward_model import RewardModel, load_or_fit
from tradeoffs.preferences.sampling import Rated, rate, sample
from tradeoffs.progress import bar
from tradeoffs.records import TrainingStep, append_jsonl, read_rows
from tradeoffs.tasks.examples import Example, training_examples

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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


def start_policy(parameters: AlignParameters) -> Policy:
    """The policy that training starts from: the model with its start adapter merged, in the precision asked for."""
    return load(parameters.model, parameters.start, dtype=parameters.dtype, device=parameters.device)


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


def trainer_settings(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Settings that every trainer here gets."""
    import torch

    from tradeoffs.models import resolve_device, resolve_dtype

    on_gpu = resolve_device(parameters.device) == "cuda"
    return dict(
        output_dir=str(folder / "checkpoints"),
        max_steps=parameters.steps,
        per_device_train_batch_size=parameters.batch_size,
        learning_rate=parameters.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=parameters.steps // 20,
        logging_steps=1,
        save_steps=1,
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
    """Append one `TrainingStep` an optimizer step, show progress, and stop at a loss that is no number."""

    def __init__(self, path: Path, total: int, what: str, offset: int = 0) -> None:
        self.path, self.total, self.what, self.offset = path, total, what, offset
        self.tokens = 0
        self.logged = {row.step for row in read_rows(path, TrainingStep) if row.kind == "step"}
        self.began = time.perf_counter()
        self.bar: Any = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the bar where an interrupted run left it."""
        self.bar = bar(total=self.total, initial=state.global_step, what=self.what, unit="step")

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the step's clock."""
        self.began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop the step's clock before anything is logged or saved."""
        self.seconds = time.perf_counter() - self.began
        self.bar.update(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Keep the step's numbers; a step that was logged before a kill is not logged twice."""
        step = state.global_step + self.offset
        if not logs or "loss" not in logs or step in self.logged:
            return
        values: dict[str, Any] = {ours: float(logs[theirs]) for theirs, ours in LOGGED.items() if theirs in logs}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(
                f"step {step}: the loss is {values['loss']}; the last good checkpoint is kept; try a smaller learning_rate"
            )
        seen = int(logs.get("num_tokens", 0))
        tokens, self.tokens = (seen - self.tokens) or None, seen
        append_jsonl(self.path, [TrainingStep(step=step, tokens=tokens, seconds=round(self.seconds, 4), **values)])
        self.logged.add(step)
        self.bar.set_postfix_str(f"loss {values['loss']:.3f}")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the bar."""
        self.bar.close()


class Judges(NamedTuple):
    """What responses are rated with: the base model, and the reward model where there are general prompts."""

    base: Policy
    reward_model: RewardModel | None

    def summary(self) -> dict[str, Any]:
        """What a method's summary says of them."""
        model = self.reward_model
        return {"reward_model": {"accuracy": model.accuracy, "pairs": model.pairs} if model else None}


def judges(parameters: AlignParameters, policy: Policy, trained: bool = False) -> Judges:
    """Get the judges; a start policy that is the base model serves as that, unless training is going to change it meanwhile."""
    same = not parameters.start and not trained
    base = policy if same else load(parameters.model, dtype=parameters.dtype, device=parameters.device)
    return Judges(base, load_or_fit(base, parameters.model) if parameters.domain != "code" else None)


def own_samples(
    parameters: AlignParameters, folder: Path, policy: Policy
) -> tuple[dict[int, Example], list[Rated], dict[str, Any]]:
    """Sample from the start policy, once, and rate.

    Returns:
        The prompts by key, the rated responses, and what the summary says of them.
    """
    of = judges(parameters, policy)
    examples = training_examples(parameters.domain, parameters.prompts, parameters.seed + 1, parameters.code_share)
    responses = sample(
        policy,
        examples,
        [None] * len(examples),
        folder,
        samples=parameters.samples,
        temperature=parameters.temperature,
        max_new_tokens=parameters.max_new_tokens,
        seed=parameters.seed,
    )
    rated = rate(responses, examples, of.reward_model, of.base, folder, parameters.workers)
    summary = {
        "responses": len(rated),
        "mean_helpfulness": sum(row.helpfulness for row in rated) / len(rated),
        "mean_verbosity": sum(row.verbosity for row in rated) / len(rated),
    }
    return {example.key: example for example in examples}, rated, summary | of.summary()


def run_trainer(trainer: Trainer, folder: Path) -> PeftModel:
    """Train quietly, going on from the last checkpoint in `folder`; give the policy with its adapter."""
    from peft import PeftModel

    silence(trainer).train(resume_from_checkpoint=last_checkpoint(folder))
    assert isinstance(trainer.model, PeftModel)
    return trainer.model


def silence(trainer: Trainer) -> Trainer:
    """Take out the callback that prints every log as a dictionary; `StepLog` shows progress and keeps the numbers."""
    trainer.remove_callback(PrinterCallback)
    return trainer


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
    """Write an adapter in one move."""
    scratch = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    model.save_pretrained(str(scratch))
    (scratch / "README.md").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    return folder


def finish(parameters: AlignParameters, new: Path, folder: Path) -> None:
    """Write the policy's adapter, relative to the base model alone.

    A policy trained on top of a start adapter has two low-rank changes; stacking their factors makes one adapter of the summed rank
    that is their exact sum, so that a policy is always one base model and one adapter. Checkpoints are removed.
    """
    target = folder / "adapter"
    if parameters.start:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        from tradeoffs.models import weights_folder

        base = AutoModelForCausalLM.from_pretrained(weights_folder(parameters.model))
        both = PeftModel.from_pretrained(base, parameters.start, adapter_name="start")
        both.load_adapter(str(new), adapter_name="new")
        both.add_weighted_adapter(["start", "new"], [1.0, 1.0], adapter_name="default", combination_type="cat")
        scratch = folder / ".adapter.partial"
        shutil.rmtree(scratch, ignore_errors=True)
        both.save_pretrained(str(scratch), selected_adapters=["default"])
        (scratch / "README.md").unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    elif new != target:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(new, target)
    for checkpoints in (folder / "checkpoints", *folder.glob("round-*/checkpoints")):
        shutil.rmtree(checkpoints, ignore_errors=True)


def merged_copy(model: PeftModel) -> PreTrainedModel:
    """A copy of the policy with its adapter merged, for sampling at full speed while the trained one stays untouched."""
    import copy

    return copy.deepcopy(model).merge_and_unload().eval()  # type: ignore[no-any-return]


def fits(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], answers: list[str], max_length: int
) -> bool:
    """Whether a prompt with each of its answers stays within `max_length` tokens; nothing is ever cut silently."""
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return all(len(prompt) + len(tokenizer(answer)["input_ids"]) + 1 <= max_length for answer in answers)


__all__ = [
    "StepLog",
    "finish",
    "fits",
    "last_checkpoint",
    "judges",
    "lora",
    "merged_copy",
    "new_adapter",
    "own_samples",
    "run_trainer",
    "save_adapter",
    "scored_positions_only",
    "start_policy",
    "trainer_settings",
]
