"""Measure a few updates and answers on this machine: run the real loop and keep only its speed."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.console import say, warn
from bench.errors import TrialError, UsageError
from bench.prepare.price.draft import Draft
from bench.prepare.price.rates import ProbeResult
from bench.store.run_folder import Store
from bench.values.job import Job
from bench.values.resources import Resources
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial

if TYPE_CHECKING:
    from bench.trial.runner import TrialRunner

UPDATES, ANSWERS = 20, 64
_WARM_UPDATES, _WARM_ANSWERS = 4, 8  # not counted, because libraries start and kernels are chosen


def probe(found: Draft, resources: Resources, store: Store) -> Path:
    """Measure each training method, and answers to the first source; write probe.json to the run folder.

    Raises:
        UsageError: the base model or data is missing on this machine.
        TrialError: nothing could be measured.
    """
    if found.missing or found.folder is None:
        raise UsageError(f"--probe cannot run, because this machine lacks {'; '.join(found.missing)}.")
    with store.locked(), TemporaryDirectory() as scratch:
        measured = _measured(found, found.folder, resources, Path(scratch))
        return measured.save(store.root)


def _measured(found: Draft, folder: Path, resources: Resources, scratch: Path) -> ProbeResult:
    import torch

    from bench.trial.runner import TrialRunner

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tasks = found.plan.request.tasks
    runner = TrialRunner(Store(scratch), folder, tasks, device, resources)
    train: dict[str, float] = {}
    for trial in _trials(found):
        if (rate := _updates(runner, trial)) is not None:
            train[trial.method] = rate
            say(f"{trial.method}: {rate:.2f} examples/s in training")
    if not train:
        raise TrialError("No method could be probed; the lines above say why. Try --micro-batch 1.")
    answer, answers = _answers(runner, found)
    say(f"{answer:.2f} answers/s")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    recipe = found.plan.request.recipe
    micro_batch = resources.micro_batch_size or recipe.micro_batch_size or recipe.batch_size
    return ProbeResult(name, found.model, UPDATES, micro_batch, train, answer, answers)


def _trials(found: Draft) -> list[Trial]:
    """Return one short trial of each training method, at its largest rank in the request.

    Controls with another recipe or a rank of their own do not stand for their method.
    """
    chosen: dict[str, Trial] = {}
    asked = found.plan.request
    own = [job.trial for job in found.plan.trainings if job.trial.recipe == asked.recipe]
    for trial in sorted(own, key=lambda trial: -(trial.rank or 0)):
        if trial.rank in asked.ranks:
            chosen.setdefault(trial.method, trial)
    updates = UPDATES + _WARM_UPDATES
    return [replace(trial, recipe=replace(trial.recipe, updates=updates)) for trial in chosen.values()]


def _updates(runner: TrialRunner, trial: Trial) -> float | None:
    """Return the examples per second of a short training, or None if it fails."""
    times: list[float] = []

    def tick(stage: str, *_: object) -> None:
        if stage == "train":
            times.append(time.monotonic())

    record = runner.run(Job(trial, ()), tick)
    if record.status != "done":
        warn(f"{trial.method}: not probed: {record.error}")
        return None
    seconds = times[-1] - times[_WARM_UPDATES - 1]
    return (len(times) - _WARM_UPDATES) * trial.recipe.batch_size / seconds


def _answers(runner: TrialRunner, found: Draft) -> tuple[float, int]:
    """Return the untouched model's answers per second on the first source, and how many were counted."""
    zero_shot = found.plan.zero_shot
    whole = next(job for job in found.plan.jobs if job.trial == zero_shot).asked[0]
    seconds = [0.0]
    counts = (min(_WARM_ANSWERS, whole.count), min(ANSWERS, whole.count))
    asked: tuple[ScoreSpec, ...] = ()
    for name, count in zip(("warm", "counted"), counts, strict=True):
        asked = (*asked, replace(whole, count=count, examples=name))
        record = runner.run(Job(zero_shot, asked))
        if record.status != "done":
            raise TrialError(f"The base model could not be probed: {record.error}.")
        seconds.append(record.cost.evaluate_seconds)
    return counts[1] / (seconds[2] - seconds[1]), counts[1]
