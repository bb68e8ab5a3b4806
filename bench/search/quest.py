"""The search of one subject, which turns configurations into ordinary trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from bench.plan.plan import Plan, asked
from bench.plan.request import Request
from bench.search.optuna_study import SearchStudy
from bench.search.pareto import Point
from bench.search.subject import Subject
from bench.store.run_folder import Store
from bench.store.search_results import Configuration
from bench.text import shareable_reason
from bench.values.job import Job
from bench.values.record import Record
from bench.values.scores import ScoreSpec, split_mean
from bench.values.trial import Scalar, Trial

RUNGS = (1 / 3, 2 / 3)  # the shares of the updates after which a training is scored, and perhaps stopped
_RUNG_EXAMPLES = 50  # how many examples of each task's validation split are scored at a rung, the same for all tasks


@dataclass(frozen=True, slots=True)
class Quest:
    """A study and the subject that it varies, scored on validation.

    A training is stopped early if at the same step a finished training was better by ``margin`` in Source and in Target
    (fractions); None stops nothing. Only trainings of the first seed are scored at rungs.
    """

    subject: Subject
    study: SearchStudy
    margin: float | None = None

    @property
    def request(self) -> Request:
        """The request that is varied."""
        return self.subject.request

    @property
    def store(self) -> Store:
        """The run folder."""
        return self.subject.store

    @property
    def label(self) -> str:
        """The quest's name for a reader."""
        return self.subject.label

    def plan(self, hyper: Mapping[str, Scalar]) -> Plan:
        """Return the plan of one configuration."""
        return self.subject.plan(hyper)

    @property
    def default(self) -> dict[str, Scalar] | None:
        """The defaults of the searched hyperparameters; None if a default is outside its search range."""
        first = self.study.first
        return dict(first) if first.keys() == self.study.space.keys() else None

    def hyper(self, hyper: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return every hyperparameter of one configuration, including those that are not searched."""
        jobs = self.plan(hyper).jobs
        return dict(next(job.trial for job in reversed(jobs) if job.trial.method == self.subject.varied).hyper)

    @property
    def trial_labels(self) -> tuple[str, ...]:
        """The labels of the quest's trials and of their parents; they are the same for every configuration."""
        return tuple(job.trial.label for job in self.plan({}).jobs)

    @property
    def rungs(self) -> tuple[int, ...]:
        """The steps at which trainings are scored; empty if nothing is stopped."""
        updates = 0 if self.margin is None else self.updates // len(self.request.seeds)
        return tuple(dict.fromkeys(step for share in RUNGS if 0 < (step := round(share * updates)) < updates))

    @property
    def updates(self) -> int:
        """How many updates a configuration has without an early stop; 0 for an edit method."""
        return self.subject.trains * len(self.request.seeds) * self.request.recipe.updates

    def jobs(self, hyper: Mapping[str, Scalar]) -> tuple[Job, ...]:
        """Return the jobs of one configuration: its cells and their parents, without the zero-shot job."""
        plan = self.plan(hyper)
        jobs = (job for job in plan.jobs if job.trial.id != plan.zero_shot.id)
        return tuple(
            replace(job, snapshots=self.rungs, rungs=self._rung_scores)
            if self.rungs
            and job.trial.seed == self.request.seeds[0]
            and self.store.change_of(job.trial).facts() is None
            else job  # a finished training is not repeated only to score its rungs
            for job in jobs
        )

    @property
    def _rung_scores(self) -> tuple[ScoreSpec, ...]:
        limit = min(_RUNG_EXAMPLES, self.request.limit or _RUNG_EXAMPLES)
        return asked(replace(self.request, limit=limit), self.request.targets)

    def seen(self, hyper: Mapping[str, Scalar]) -> dict[int, Point]:
        """Return the points of a configuration's training at the rungs, by step."""
        trial, scores = self.plan(hyper).cells[0].trial, self._rung_scores
        known = {step: self.store.change_of(trial).snapshot(step).scores() for step in self.rungs}
        return {
            step: Point(0, *split_mean(scores, values, trial.tasks))
            for step, values in known.items()
            if all(item.key in values for item in scores)
        }

    def stops(self, hyper: Mapping[str, Scalar], step: int, source: float, target: float) -> bool:
        """Whether to stop a configuration's training at a step.

        The default's training is never stopped, because every configuration is compared with it.
        """
        return dict(hyper) != self.default and self.hopeless(step, source, target)

    def hopeless(self, step: int, source: float, target: float) -> bool:
        """Whether a finished configuration was better by the margin in both objectives at the same step."""
        rivals = (self.seen(tried.hyper).get(step) for tried in self.study.tried() if tried.state == "done")
        here = Point(0, source, target)
        return any(rival is not None and rival.dominates(here, self.margin or 0.0) for rival in rivals)

    def stopped_at(self, tried: Configuration) -> int | None:
        """Return the update after which a configuration was stopped; None if it was not, or if that is not known."""
        seen = self.seen(tried.hyper) if tried.state == "stopped" else {}
        return max(seen) if seen else None

    def saved(self, tried: Configuration) -> int:
        """Return how many updates the early stop of a configuration saved; 0 if that is not known."""
        step = self.stopped_at(tried)
        return 0 if step is None else self.updates - step

    def ended(self, tried: Configuration) -> Configuration:
        """Return a configuration with its trials, where it was stopped, and why it failed."""
        jobs = self.jobs(tried.hyper)
        records = (self.store.read(job.trial) for job in jobs) if tried.state == "failed" else ()
        reasons = [record.error for record in records if record is not None and record.status == "failed"]
        return replace(
            tried,
            trials=tuple(job.trial.id for job in jobs if job.asked),
            step=self.stopped_at(tried),
            reason=shareable_reason(reasons[0] or "") if reasons else "",
        )

    def left(self, trials: int) -> int:
        """Return how many of a budget of ``trials`` configurations have not ended."""
        return trials - sum(item.state != "running" for item in self.study.tried()[:trials])

    @property
    def own(self) -> tuple[Job, ...]:
        """The jobs that each configuration has for itself."""
        plan, shared = self.plan({}), {job.trial.id for job in self.shared}
        return tuple(job for job in plan.jobs if job.trial.id not in {plan.zero_shot.id, *shared})

    @property
    def shared(self) -> tuple[Job, ...]:
        """The jobs that all configurations share: trainings whose results they edit or continue."""
        plan = self.plan({})
        return tuple(
            job
            for job in plan.jobs
            if job.trial.id != plan.zero_shot.id
            and all(part.method != self.subject.varied for part in _line(job.trial))
        )

    @property
    def shared_left(self) -> tuple[Job, ...]:
        """The shared jobs that are not done."""
        plan = self.plan({})
        return tuple(job for job in self.shared if not plan.done(job))


def _line(trial: Trial) -> tuple[Trial, ...]:
    """Return a trial and its ancestors."""
    return (trial, *trial.ancestors())


def measure(jobs: Sequence[Job], records: Mapping[str, Record]) -> tuple[float, float] | None:
    """Return a configuration's Source and Target, means over its seeds; None if a cell has no scores."""
    pairs = []
    for job in jobs:
        if not job.asked:  # a parent that is not a cell
            continue
        record = records.get(job.trial.id)
        pair = None if record is None else record.mean(job.asked)
        if pair is None:
            return None
        pairs.append(pair)
    return fmean(source for source, _ in pairs), fmean(target for _, target in pairs)
