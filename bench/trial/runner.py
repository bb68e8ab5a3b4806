"""Run a trial inside a lane: train or edit, evaluate, record. The base models stay unchanged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from bench.environment import (
    environment,
    evaluation_environment,
    peak_memory_bytes,
    reset_peak_memory,
    together,
    training_environment,
)
from bench.errors import StoreError, TrialError, WriteError
from bench.model.change import Change
from bench.model.finite import broken_delta
from bench.model.resident import Base, Form
from bench.plugins.guard import guarded
from bench.plugins.method import EditMethod, TrainMethod
from bench.plugins.tasks import Tasks
from bench.spec import Job, Record, Resources, Score, ScoreSpec, Trial, split_mean
from bench.store.changes import CHECKPOINT
from bench.store.run_folder import Store
from bench.store.unfinished import Partial
from bench.trial.corpus import Corpus
from bench.trial.edit import edit
from bench.trial.evaluate import Answer, evaluate, means
from bench.trial.fit import Fitted, fit
from bench.trial.mixture import Lessons, Mixture
from bench.trial.resume import Snapshots
from bench.trial.updates import MicroBatchSize
from bench.trial.warm import Warm
from bench.trial.workers import ALONE, Failure, Group

log = logging.getLogger(__name__)

OnTrialProgress = Callable[[str, int, int, float], None]  # stage, done, total, loss
Hold = Callable[[Base, Change], AbstractContextManager[nn.Module]]  # a context in which a base model has a change
Judge = Callable[[int, float, float], bool]  # step, Source and Target at a rung -> whether to continue


class _Stopped(Exception):  # noqa: N818  stopping a training early is not an error
    """Raised inside a training that a search stops."""


def silent(stage: str, done: int, total: int, loss: float) -> None:
    """Ignore progress."""


@dataclass(eq=False)
class TrialRunner:
    """Run the trials of a lane one after another, and keep base models and data warm between them."""

    store: Store
    model: Path
    tasks: Tasks
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    resources: Resources = field(default_factory=Resources)
    group: Group = ALONE
    warm: Warm = field(init=False)
    _micro_batch: MicroBatchSize = field(init=False)

    def __post_init__(self) -> None:
        self.warm = Warm(self.model, self.tasks, self.device, self.resources.feature_cache_bytes)
        self._micro_batch = MicroBatchSize(self.resources.micro_batch_size)
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # results with one and with two threads differ in bits

    def run(self, job: Job, progress: OnTrialProgress = silent, judge: Judge = lambda *_: True) -> Record:
        """Run a job, commit its record and return it; an error becomes a failed record with its traceback.

        Every worker of a group makes the same call and returns the same record; only the first writes, reports and
        judges. If ``judge`` stops a training, only its checkpoint is committed; running the job again resumes the
        training.

        Raises:
            WriteError: a disk takes no more files; no record is written, and running the job again resumes it.
        """
        failure = None
        record = Record(job.trial, "stopped")
        try:
            with guarded():
                record = self._run(job, progress if self.group.rank == 0 else silent, judge)
        except _Stopped:
            self.warm.heal()
        except Exception as error:  # noqa: BLE001  a plugin may raise anything, and the other trials must run
            failure = Failure.of(error, self.store.root)
            self.warm.heal()
        if (failure := self.group.settle(failure)) is None:
            return record
        if failure.stops:
            raise WriteError(failure.reason)
        return self.group.first(lambda: self._failed(job.trial, failure))

    def _failed(self, trial: Trial, failure: Failure) -> Record:
        """Commit the traceback and a failed record, which keeps the scores that the trial already has."""
        known = self.store.read(trial) or Record(trial, "failed", environment=environment(self.device))
        record = replace(known, status="failed", error=failure.reason)
        try:
            self.store.write_error(trial, failure.traceback)
            self.store.write(record)
        except WriteError:
            raise
        except (OSError, StoreError) as error:  # a run folder at a URL may not answer for a while
            log.warning("The record of %s cannot be written: %s", trial.label, error)
        return record

    def _run(self, job: Job, progress: OnTrialProgress, judge: Judge) -> Record:
        trial, first = job.trial, self.group.first
        first(lambda: self.store.begin(trial))
        known = first(lambda: self.store.read(trial)) or Record(trial, "done", environment=environment(self.device))
        reset_peak_memory(self.device)
        change = self._change(job, progress, judge)
        facts = first(lambda: self.store.change_of(trial).facts()) or {}
        cost = replace(
            known.cost,
            train_seconds=facts.get("seconds", 0.0),
            trainable_parameters=int(facts.get("trainable_parameters", 0)),
            change_bytes=change.bytes,
        )
        with_what = facts.get("environment", known.environment)  # the change may be older than the record
        record = replace(known, status="done", error=None, cost=cost, environment=with_what)
        record = self._evaluated(record, record.lacks(job.asked), change, progress)
        memory = max(record.cost.peak_memory_bytes, *self.group.gather(peak_memory_bytes(self.device)))
        record = replace(record, cost=replace(record.cost, peak_memory_bytes=memory))
        first(lambda: self._finish(record))
        return record

    def _finish(self, record: Record) -> None:
        self.store.write_error(record.trial, "")
        self.store.write(record)

    def _change(self, job: Job, progress: OnTrialProgress, judge: Judge) -> Change:
        """Return the trial's change: stored, trained now, or edited from its parent's change."""
        trial = job.trial
        method = self.tasks.registry.method(trial.method)(**trial.hyper)
        if not isinstance(method, TrainMethod | EditMethod):
            return Change({})
        if not self.group.first(lambda: self._complete(job)):
            if isinstance(method, TrainMethod):
                fitted = self._fit(method, trial, progress, self._snapshots(job, judge))
                self.group.first(lambda: self._keep(trial, fitted))
            else:
                self.group.first(lambda: self._keep(trial, self._edit(method, trial, progress)))
        return self.store.change_of(trial).read()

    def _complete(self, job: Job) -> bool:
        """Return whether the store holds the trial's whole change and all its snapshots."""
        stored = self.store.change_of(job.trial)
        return all(stored.snapshot(step).is_whole() for step in job.snapshots) and stored.is_whole()

    def _keep(self, trial: Trial, fitted: Fitted) -> None:
        """Commit the trial's change if the trial has left the base model unchanged."""
        if touched := self.warm.heal():
            raise TrialError(
                f"{trial.method} changes the base model's own {touched[0]}. "
                "Train adapters, or copies that adapt() makes."
            )
        with_what = dict(fitted.environment) or self._environment(trial)
        if fitted.micro_batch_size is not None:
            with_what["micro_batch"] = str(fitted.micro_batch_size)
        facts = {
            "seconds": fitted.seconds,
            "trainable_parameters": fitted.trainable_parameters,
            "environment": with_what,
        }
        self.store.change_of(trial).write(_finite(fitted.change, trial), fitted.losses, facts)

    def _environment(self, trial: Trial) -> dict[str, str]:
        """Return the environment in which a trial's change is learnt."""
        return training_environment(self.device, trial.recipe, self.resources, self.warm.model)

    def _snapshots(self, job: Job, judge: Judge) -> Snapshots:
        """Return the actions at a training's snapshots: keep the change and, if the job has rungs, judge it."""
        stored, first = self.store.change_of(job.trial), self.group.first

        def verdict(step: int) -> None:
            if not job.rungs:
                return
            source, target = self._rung(job, step)
            if not first(lambda: judge(step, source, target)):
                raise _Stopped

        return Snapshots(
            job.snapshots,
            keep=lambda step, change: first(lambda: stored.snapshot(step).write(_finite(change, job.trial))),
            judge=verdict,
            has=lambda step: first(lambda: stored.snapshot(step).is_whole()),
        )

    def _rung(self, job: Job, step: int) -> tuple[float, float]:
        """Return Source and Target of a snapshot; scores that the store lacks are computed and stored."""
        trial, stored = job.trial, self.store.change_of(job.trial)
        values = self.group.first(stored.snapshot(step).scores)
        if missing := [asked for asked in job.rungs if asked.key not in values]:
            change = stored.read(step)
            for asked in missing:
                values[asked.key] = means(self.answers(trial, asked, change))[self.tasks.load(asked.task).metric]
            self.group.first(lambda: stored.snapshot(step).write_scores(values))
            self.warm.base(Form.training(trial.recipe))  # the training continues on it
        return split_mean(job.rungs, values, trial.target)

    def _fit(self, method: TrainMethod, trial: Trial, progress: OnTrialProgress, snapshots: Snapshots) -> Fitted:
        lessons = self._lessons(trial)
        assert trial.rank is not None
        return fit(
            method,
            trial.rank,
            trial.seed,
            trial.recipe,
            lessons,
            checkpoint=self.store.folder(trial) / CHECKPOINT,
            snapshots=snapshots,
            progress=lambda index, total, loss: progress("train", index, total, loss),
            group=self.group,
            micro_batch=self._micro_batch,
            gradient_checkpointing=self.resources.gradient_checkpointing,
            environment=together(*self.group.gather(self._environment(trial))),
        )

    def _edit(self, method: EditMethod, trial: Trial, progress: OnTrialProgress) -> Fitted:
        if trial.parent is None:
            raise TrialError(f"{trial.label}: an edit needs a parent.")
        progress("edit", 0, 1, 0.0)
        change = self.store.change_of(trial.parent).read(trial.snapshot)
        return edit(method, change, trial.seed, trial.recipe, self._target(trial, Form.editing(trial.recipe)))

    def _target(self, trial: Trial, form: Form) -> Corpus:
        """Return the corpus of a trial's target, for one form of the base model."""
        if trial.target is None or trial.rank is None:
            raise TrialError(f"{trial.label}: a method that learns needs a target and a rank.")
        return self.warm.taught(form, trial.target, trial.recipe)

    def _lessons(self, trial: Trial) -> Lessons:
        """Return what a training reads: the target's examples, and those of the sources if the trial has any."""
        form = Form.training(trial.recipe)
        target = self._target(trial, form)
        if not trial.sources:
            return target
        sources = {name: self.warm.taught(form, name, trial.recipe, sparse=True) for name in trial.sources}
        return Mixture(target, sources)

    def _evaluated(
        self, record: Record, missing: Sequence[ScoreSpec], change: Change, progress: OnTrialProgress
    ) -> Record:
        """Return the record with its missing scores; each score is committed as soon as it is computed."""
        if not missing:
            return record
        total, before = sum(asked.count for asked in missing), 0
        facts = self.generated_with(record.trial)
        base = self.warm.base(Form.evaluation(record.trial.recipe))
        with base.holding(change) as model:  # merge once for all scores: a 7B model takes a minute of one core
            for asked in missing:

                def watch(count: int, before: int = before, most: int = asked.count) -> None:
                    done = min(most, count * self.group.size)  # the other workers are about as far
                    progress("evaluate", before + done, total, 0.0)

                partial = self.store.scores_of(record.trial).partial(asked.key, facts, self.group.rank, watch)
                record = self._scored(record, asked, model, partial)
                before += asked.count
        return record

    def generated_with(self, trial: Trial) -> dict[str, str]:
        """Return the environment in which a trial's answers are generated."""
        model = self.warm.base(Form.evaluation(trial.recipe)).model
        return evaluation_environment(model, trial.recipe.eval_dtype, self.resources.eval_batch_size, self.device)

    def answers(self, trial: Trial, asked: ScoreSpec, change: Change, hold: Hold = Base.holding) -> list[Answer]:
        """Return every example's outcome for base + change; ``hold`` puts the change into the base model."""
        with hold(self.warm.base(Form.evaluation(trial.recipe)), change) as model:
            return self._answers(trial, asked, model)

    def _answers(
        self, trial: Trial, asked: ScoreSpec, model: nn.Module, partial: Partial | None = None
    ) -> list[Answer]:
        corpus = self.warm.corpus(Form.evaluation(trial.recipe), asked.task, asked.split, trial.recipe.template)
        batch_size = self.resources.eval_batch_size
        return evaluate(model, corpus, asked, batch_size=batch_size, group=self.group, partial=partial)

    def _scored(self, record: Record, asked: ScoreSpec, model: nn.Module, partial: Partial) -> Record:
        """Compute and commit one score, and return the record with it."""
        began = time.monotonic()
        trial = record.trial
        answers = self._answers(trial, asked, model, partial)

        def commit() -> Record:
            file = self.store.scores_of(trial).write(asked.key, [asdict(answer) for answer in answers])
            seconds = partial.seconds + time.monotonic() - began
            with_what = together(partial.environment, *({"eval_batch": str(size)} for size in partial.smallest))
            score = Score(asked, self.tasks.load(asked.task).metric, means(answers), file, seconds, with_what)
            cost = replace(record.cost, evaluate_seconds=record.cost.evaluate_seconds + seconds)
            scored = record.with_score(score, cost)
            self.store.write(scored)
            partial.remove()
            return scored

        return self.group.first(commit)


def _finite(change: Change, trial: Trial) -> Change:
    """Return a change, or raise TrialError if an entry of it is infinite or NaN."""
    if name := broken_delta(change):
        raise TrialError(
            f"{trial.label}: the change of {name} is not finite. Lower the learning rate (--set METHOD.lr=…)."
        )
    return change
