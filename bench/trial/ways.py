"""Generate the same answers in several ways, and count the differences between them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from bench.console import say
from bench.model.change import Change
from bench.model.resident import Base
from bench.plugins.tasks import Tasks
from bench.trial.evaluate import Answer
from bench.trial.parity import Difference, Parity
from bench.trial.scoring import Hold, Scorer
from bench.values.recipe import Dtype
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial

Answers = list[Answer]

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")


def compare_ways(scorer: Scorer, trial: Trial, change: Change, asked: Sequence[ScoreSpec], batch: int) -> Parity:
    """Return how a trial's answers change with batch size (1 or ``batch``), shared prefixes, merging and dtype.

    Answers in other dtypes are compared with those in the ``eval_dtype`` of the trial's recipe.
    """
    found: list[Difference] = []
    usual: dict[Dtype, list[Answers]] = {}
    loads = change.peft_loads
    for dtype in DTYPES:
        say(f"{dtype}: {sum(item.count for item in asked)} answers at batch {batch} and at batch 1")
        same = replace(trial, recipe=replace(trial.recipe, eval_dtype=dtype))
        many, one = (_answers(scorer, same, change, asked, size) for size in (batch, 1))
        found += _differences(scorer.tasks, f"batch 1 against {batch}, {dtype}", asked, one, many)
        if not change.live:  # such a change reads whole prompts anyway
            whole = _answers(scorer, same, change, asked, batch, whole=True)
            found += _differences(scorer.tasks, f"whole prompts against shared prefixes, {dtype}", asked, whole, many)
        if loads:
            live = _answers(scorer, same, change, asked, batch, unmerged)
            found += _differences(scorer.tasks, f"adapter against merged, {dtype}", asked, live, many)
        usual[dtype] = many
    reference = trial.recipe.eval_dtype
    for dtype in DTYPES:
        if dtype != reference:
            found += _differences(scorer.tasks, f"{dtype} against {reference}", asked, usual[dtype], usual[reference])
    environment = {**scorer.generated_with(trial), "eval_batch": str(batch)}
    environment |= {"change": "held live"} if change.live else {}
    note = f"peft cannot load the change of {trial.label}. Only the merged form is compared."
    if change.live:
        note = f"The change of {trial.label} is routed by example and cannot be merged. Only the live form is compared."
    return Parity(trial.label, environment, tuple(found), () if loads or not change else (note,))


def _answers(  # noqa: PLR0913  what is asked, and the ways to generate
    scorer: Scorer,
    trial: Trial,
    change: Change,
    asked: Sequence[ScoreSpec],
    batch: int,
    hold: Hold = Base.holding,
    *,
    whole: bool = False,
) -> list[Answers]:
    """Return the answers to each task, generated ``batch`` at a time."""
    scorer.resources = replace(scorer.resources, eval_batch_size=batch)
    return [scorer.answers(trial, item, change, hold, whole=whole) for item in asked]


def _differences(
    tasks: Tasks, comparison: str, asked: Sequence[ScoreSpec], ones: Sequence[Answers], others: Sequence[Answers]
) -> Iterator[Difference]:
    """Yield the difference between two ways to generate, once per task."""
    for item, one, other in zip(asked, ones, others, strict=True):
        metric = tasks.load(item.task).metric
        pairs = list(zip(one, other, strict=True))
        differ = sum(a.prediction != b.prediction for a, b in pairs)
        move = sum(a.scores[metric] - b.scores[metric] for a, b in pairs) / len(pairs)
        yield Difference(comparison, item.task, len(pairs), differ, move)


@contextmanager
def unmerged(base: Base, change: Change) -> Iterator[nn.Module]:
    """Yield a peft model with a change as live adapters; it shares the base model's tensors."""
    from peft import PeftModel

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # peft 0.21 reads an attribute that transformers 5.20 has renamed
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        adapter = Path(folder) / "adapter"
        change.save(adapter)
        model: nn.Module = PeftModel.from_pretrained(base.tree(), adapter, torch_device=str(base.device))
    yield model.eval()
