"""``bench check eval``: generate the same answers in several ways, and count the differences."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from bench.cli.check import CheckOptions
from bench.cli.options import Cells, Output
from bench.cli.request import start_request
from bench.console import say, tell
from bench.errors import UsageError
from bench.model.change import Change
from bench.plan import plan
from bench.plan.request import Request
from bench.plugins.tasks import Tasks
from bench.spec import Dtype, ScoreSpec, Trial
from bench.store.run_folder import Store
from bench.trial import parity
from bench.trial.parity import Difference, Parity
from bench.trial.runner import Hold, TrialRunner, as_merged

if TYPE_CHECKING:
    from torch import nn

    from bench.model.resident import Base
    from bench.trial.evaluate import Answer

    Answers = list[Answer]

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Subject:
    """A trial's change on its base model, and the tasks that the result is evaluated on."""

    trial: Trial
    change: Change
    tasks: tuple[ScoreSpec, ...]


def check_eval(options: CheckOptions) -> int:
    """Compare the ways to generate answers, print the differences, and store them if ``--output`` is set."""
    if options.batch < 2:
        raise UsageError(f"--batch is {options.batch}; give at least 2, because it is compared with batch size 1.")
    if options.trial is not None and options.output is None:
        raise UsageError("--trial needs the run folder of the trial. Name it with --output.")
    with TemporaryDirectory() as nowhere:
        asked = start_request(_cells(options), Path(nowhere))
        store = Store(Path(nowhere)) if options.output is None else Output(output=options.output).existing()
        subject = _subject(asked, store, options.trial)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        found = compare(subject, TrialRunner(store, asked.suite.folder, asked.tasks, device), options.batch)
    tell(parity.lines(found))
    if options.output is not None:
        say(f"wrote {parity.write(store, parity.subject(subject.trial), found)}")
    return 0


def compare(subject: Subject, bench: TrialRunner, batch: int) -> Parity:
    """Return how a subject's answers change with batch size (1 or ``batch``), merging and dtype."""
    found: list[Difference] = []
    usual: dict[Dtype, list[Answers]] = {}
    loads = subject.change.peft_loads
    for dtype in DTYPES:
        say(f"{dtype}: {sum(asked.count for asked in subject.tasks)} answers at batch {batch} and at batch 1")
        trial = replace(subject.trial, recipe=replace(subject.trial.recipe, eval_dtype=dtype))
        many, one = (_answers(bench, subject, trial, size) for size in (batch, 1))
        found += _differences(bench.tasks, f"batch 1 against {batch}, {dtype}", subject, one, many)
        if loads:
            live = _answers(bench, subject, trial, batch, unmerged)
            found += _differences(bench.tasks, f"adapter against merged, {dtype}", subject, live, many)
        usual[dtype] = many
    reference = subject.trial.recipe.eval_dtype
    for dtype in DTYPES:
        if dtype != reference:
            found += _differences(bench.tasks, f"{dtype} against {reference}", subject, usual[dtype], usual[reference])
    environment = {**bench.generated_with(subject.trial), "eval_batch": str(batch)}
    note = f"peft cannot load the change of {subject.trial.label}. Only the merged form is compared."
    return Parity(subject.trial.label, environment, tuple(found), () if loads or not subject.change else (note,))


def _answers(bench: TrialRunner, subject: Subject, trial: Trial, batch: int, hold: Hold = as_merged) -> list[Answers]:
    """Return a subject's answers to each task, generated ``batch`` at a time."""
    bench.execution = replace(bench.execution, eval_batch_size=batch)
    return [bench.answers(trial, asked, subject.change, hold) for asked in subject.tasks]


def _differences(
    tasks: Tasks, comparison: str, subject: Subject, ones: Sequence[Answers], others: Sequence[Answers]
) -> Iterator[Difference]:
    """Yield the difference between two ways to generate, once per task."""
    for asked, one, other in zip(subject.tasks, ones, others, strict=True):
        metric = tasks.load(asked.task).primary
        pairs = list(zip(one, other, strict=True))
        differ = sum(a.prediction != b.prediction for a, b in pairs)
        move = sum(a.scores[metric] - b.scores[metric] for a, b in pairs) / len(pairs)
        yield Difference(comparison, asked.task, len(pairs), differ, move)


def _cells(options: CheckOptions) -> Cells:
    """Return the cells of a run that evaluates the same tasks with the same model."""
    return Cells(
        suite=options.suite,
        model=options.model,
        data=options.data,
        limit=options.limit,
        set=options.set,
        ranks="1",  # every model allows rank 1, and nothing is trained
    )


def _subject(asked: Request, store: Store, name: str | None) -> Subject:
    """Return the base model, or a trial of the run folder that was trained on it."""
    if name is None:
        trial = plan.assemble(asked, (), store).zero_shot
        return Subject(trial, Change({}), plan.asked(asked, asked.targets))
    trial = store.find(name).trial
    if trial.model != asked.suite.revision():
        raise UsageError(
            f"{trial.label} was run with another base model, not {asked.suite.model}. "
            "Name its own with --suite or --model."
        )
    if trial.rank is None:
        return Subject(trial, Change({}), plan.asked(asked, asked.targets))
    if store.change_of(trial).facts() is None:
        raise UsageError(f"{trial.label} has learnt nothing yet. Repeat the command that started it.")
    return Subject(trial, store.change_of(trial).read(), plan.asked(asked, (str(trial.target),)))


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
