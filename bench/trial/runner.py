"""Run a trial inside a lane: train or edit, evaluate, record. The base models stay unchanged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from bench.environment import (
    environment,
    peak_memory_bytes,
    reset_peak_memory,
    together,
    training_environment,
)
from bench.errors import TrialError, WriteError, one_line
from bench.file_digests import cache_folder
from bench.model.change import Change
from bench.model.finite import broken_delta
from bench.model.resident import Form
from bench.plugins.guard import guarded
from bench.plugins.method import EditMethod, TrainMethod
from bench.plugins.tasks import Tasks
from bench.store.changes import CHECKPOINT
from bench.store.run_folder import Store
from bench.store.shared_folder import FEATURES
from bench.trial.corpus import Corpus
from bench.trial.edit import edit
from bench.trial.evaluate import means
from bench.trial.feature_files import FeatureFiles
from bench.trial.fit import Fitted, fit
from bench.trial.mixture import Lessons, Mixture, Union
from bench.trial.resume import Snapshots
from bench.trial.scoring import OnTrialProgress, Scorer, silent
from bench.trial.stages import stage_of
from bench.trial.updates import MicroBatchSize
from bench.trial.warm import Warm
from bench.trial.workers import ALONE, Failure, Group
from bench.values.job import Job
from bench.values.record import Record
from bench.values.resources import Resources
from bench.values.scores import split_mean
from bench.values.trial import Trial

log = logging.getLogger(__name__)

Judge = Callable[[int, float, float], bool]  # step, Source and Target at a rung -> whether to continue


class _Stopped(Exception):  # noqa: N818  stopping a training early is not an error
    """Raised inside a training that a search stops."""


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
    scorer: Scorer = field(init=False)
    _micro_batch: MicroBatchSize = field(init=False)

    def __post_init__(self) -> None:
        files = FeatureFiles(cache_folder() / FEATURES, self.resources.feature_file_bytes)
        self.warm = Warm(self.model, self.tasks, self.device, self.resources.feature_cache_bytes, files)
        self.scorer = Scorer(self.store, self.warm, self.tasks, self.device, self.resources, self.group)
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
        record = Record(trial, "failed", environment=environment(self.device), error=failure.reason)
        try:  # a record that cannot be read is not replaced, because it may have scores
            if (known := self.store.read(trial)) is not None:
                record = replace(known, status="failed", error=failure.reason)
            self.store.write_error(trial, failure.traceback)
            self.store.write(record)
        except WriteError:
            raise
        except Exception as error:  # noqa: BLE001  a URL may not answer for a while; its driver may raise anything
            log.warning("The record of %s cannot be written: %s", trial.label, one_line(error))
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
        bank = first(lambda: self.store.change_of(trial).bank())
        record = self.scorer.scored(record, job.asked, change, bank, progress)
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
        self.store.change_of(trial).write(_finite(fitted.change, trial), fitted.losses, facts, fitted.handover)

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
                values[asked.key] = means(self.scorer.answers(trial, asked, change))[self.tasks.load(asked.task).metric]
            self.group.first(lambda: stored.snapshot(step).write_scores(values))
            self.warm.base(Form.training(trial.recipe))  # the training continues on it
        return split_mean(job.rungs, values, trial.tasks)

    def _fit(self, method: TrainMethod, trial: Trial, progress: OnTrialProgress, snapshots: Snapshots) -> Fitted:
        lessons, stage = self._lessons(trial), stage_of(trial, method, self.store)
        assert trial.rank is not None
        with stage.folded(lessons):
            return fit(
                method,
                trial.rank,
                trial.seed,
                trial.recipe,
                lessons,
                stage=stage,
                checkpoint=self.store.folder(trial) / CHECKPOINT,
                snapshots=snapshots,
                progress=lambda index, total, loss: progress("train", index, total, loss),
                group=self.group,
                micro_batch=self._micro_batch,
                plain_blocks=self.resources.plain_blocks,
                environment=together(*self.group.gather(self._environment(trial))),
            )

    def _edit(self, method: EditMethod, trial: Trial, progress: OnTrialProgress) -> Fitted:
        if trial.parent is None:
            raise TrialError(f"{trial.label}: an edit needs a parent.")
        progress("edit", 0, 1, 0.0)
        corpus = self._target(trial, Form.editing(trial.recipe))
        stored, last = self.store.change_of(trial.parent), trial.trained.parent
        if last is not None and stored.folds():
            before = self.store.change_of(last).read()
            return edit(method, stored.own(), trial.seed, trial.recipe, corpus, before)
        return edit(method, stored.read(trial.snapshot), trial.seed, trial.recipe, corpus)

    def _target(self, trial: Trial, form: Form) -> Corpus:
        """Return the corpus of a trial's target, for one form of the base model."""
        if trial.target is None or trial.rank is None:
            raise TrialError(f"{trial.label}: a method that learns needs a target and a rank.")
        return self.warm.taught(form, trial.target, trial.recipe)

    def _lessons(self, trial: Trial) -> Lessons:
        """Return what a training reads: the target's examples, and those of the sources if the trial has any.

        A joint training reads those of all its tasks.
        """
        form = Form.training(trial.recipe)
        if trial.together:
            return Union({name: self.warm.taught(form, name, trial.recipe) for name in trial.together})
        target = self._target(trial, form)
        if not trial.sources:
            return target
        sources = {name: self.warm.taught(form, name, trial.recipe, sparse=True) for name in trial.sources}
        return Mixture(target, sources)


def _finite(change: Change, trial: Trial) -> Change:
    """Return a change, or raise TrialError if an entry of it is infinite or NaN."""
    if name := broken_delta(change):
        raise TrialError(
            f"{trial.label}: the change of {name} is not finite. Lower the learning rate "
            f"(--set {trial.trained.method}.lr=…)."
        )
    return change
