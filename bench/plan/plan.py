"""Turn a request into a plan: its cells, their parents, and what the store already has of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from bench.plan.cell_trials import CellTrials
from bench.plan.fingerprint import of_split, once_a_task
from bench.plan.request import Request
from bench.plan.row_key import RowKey
from bench.plugins.hyperparameters import values
from bench.plugins.method import EditMethod, Method, TrainMethod
from bench.plugins.registry import ZERO_SHOT, Registry
from bench.plugins.source import of_plugin
from bench.plugins.task import Split, Task
from bench.store.run_folder import Store
from bench.text import counted, text_table
from bench.values.job import Job
from bench.values.recipe import reference_recipe
from bench.values.record import Record
from bench.values.scores import ScoreSpec
from bench.values.trial import Scalar, Trial


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in the leaderboard: the key of its row, and the trial that fills it."""

    trial: Trial
    key: RowKey

    @classmethod
    def of(
        cls, registry: Registry, trial: Trial, variant: str = "", tries: int = 1, *, method: str | None = None
    ) -> Cell:
        """Return the cell of a trial, in a row of its own method or of the ``method`` whose change it edits."""
        name = method or trial.method
        of = registry.method(name)
        place = (name, variant, trial.rank, trial.recipe.connector)
        return cls(trial, RowKey(*place, ranked=of.ranked, tries=tries, remark=of.remark, given=trial.given))

    @property
    def slot(self) -> tuple[int | None, str | None, int]:
        """The rank, target and seed of the trial."""
        return (self.trial.rank, self.trial.target, self.trial.seed)


@dataclass(frozen=True, slots=True)
class Plan:
    """All jobs of a request, parents first, and what the store has of them.

    ``records`` are the store's records by trial id, and ``learnt`` the ids of the trials that have learnt. ``asked``
    holds the specs of the scores that cells show, by target; its key None is for the untouched base model.
    """

    request: Request
    zero_shot: Trial
    cells: tuple[Cell, ...]
    jobs: tuple[Job, ...]
    records: Mapping[str, Record]
    asked: Mapping[str | None, tuple[ScoreSpec, ...]] = field(default_factory=dict)
    kept: frozenset[tuple[str, int]] = frozenset()  # the snapshots that the store has: trial id and step
    learnt: frozenset[str] = frozenset()
    unsettled: bool = False  # more rows follow from the results of these jobs
    what: str = ""  # what the jobs fill, if it is not cells
    notes: tuple[str, ...] = ()  # sentences on what the plan leaves out

    @property
    def pending(self) -> tuple[Job, ...]:
        """The jobs that are not done: they never ran, failed, or lack a score or a snapshot."""
        return tuple(job for job in self.jobs if not self.done(job))

    @property
    def trainings(self) -> tuple[Job, ...]:
        """The jobs that train. Each runs once, however many cells use its trial."""
        registry = self.request.registry
        return tuple(job for job in self.jobs if issubclass(registry.method(job.trial.method), TrainMethod))

    def work(self, job: Job) -> tuple[int, int]:
        """Return how many examples a job still trains on, and how many answers it still generates."""
        record = self.records.get(job.trial.id)
        missing = job.asked if record is None else record.lacks(job.asked)
        trained = _trained_on(job, self.request.registry) if self.learns(job) else 0
        return (trained, sum(item.count for item in missing))

    def learns(self, job: Job) -> bool:
        """Return whether a job still trains or edits, because the store lacks its change or a snapshot of it."""
        if (job.trial.id in self.learnt and self._has_snapshots(job)) or self.done(job):
            return False
        return issubclass(self.request.registry.method(job.trial.method), TrainMethod | EditMethod)

    def method(self, trial: Trial) -> Method:
        """Return a trial's method with its hyperparameters."""
        return self.request.registry.method(trial.method)(**trial.hyper)

    def done(self, job: Job) -> bool:
        """Return whether the store has everything that a job produces."""
        record = self.records.get(job.trial.id)
        if record is None or record.lacks(job.asked):
            return False
        return self._has_snapshots(job) and not record.failed(job.asked)

    def _has_snapshots(self, job: Job) -> bool:
        return all((job.trial.id, step) in self.kept for step in job.snapshots)

    def summary(self) -> str:
        """Return a summary in one line."""
        trainings = self.trainings
        cached = sum(map(self.done, trainings))
        ready = sum(map(self.done, self.jobs))
        what = self.what or counted(len(self.cells), "cell")
        return (
            f"{what}, {counted(len(trainings), 'training')}; cached: {ready} of {counted(len(self.jobs), 'trial')}, "
            f"{cached} of {counted(len(trainings), 'training')}"
            f"{'; more rows follow from their results' if self.unsettled else ''}"
        )

    def totals(self) -> Iterator[str]:
        """Yield the summary, then how many trials of each method are to do and cached."""
        yield self.summary()
        yield from self.notes
        counts = dict[str, list[int]]()
        for job in self.jobs:
            counts.setdefault(job.trial.method, [0, 0])[self.done(job)] += 1
        rows = [(f"  {name}", f"{todo:,} to do", f"{cached:,} cached") for name, (todo, cached) in counts.items()]
        yield from text_table(rows)

    def lines(self) -> Iterator[str]:
        """Yield the summary, then every trial with its state."""
        yield self.summary()
        yield from self.notes
        cells = [cell for cell in reversed(self.cells) if cell.key.name != cell.trial.method]
        names = {cell.trial.id: f" ({cell.key.name})" for cell in cells}
        for job in self.jobs:
            scores = f"{len(job.asked)} scores" if job.asked else "no scores of its own"
            verb = "edits" if job.trial.is_edit else "continues"
            parent = f", {verb} {job.trial.parent.label}" if job.trial.parent else ""
            state = "cached" if self.done(job) else "to do"
            yield f"  {state}  {job.trial.id}  {job.trial.label}{names.get(job.trial.id, '')}: {scores}{parent}"


def make(request: Request, store: Store) -> Plan:
    """Return the plan of a request, and what the store already has of it.

    Raises:
        UsageError: the parent of an edit does not train.
    """
    return assemble(request, cells(request), store)


def cells(request: Request) -> tuple[Cell, ...]:
    """Return the cells of a request: each in its default row, and in a tuned row if a search chose one."""
    found, trials, keys = list[Cell](), CellTrials(request), dict[tuple[str, int], RowKey]()
    for seed, target, rank, method in product(request.seeds, request.targets, request.ranks, request.methods):
        trial = trials.of(method, rank, target, seed)
        if (method, rank) not in keys:
            keys[method, rank] = Cell.of(request.registry, trial).key
        found.append(Cell(trial, keys[method, rank]))
        if (chosen := request.tuned.get((method, rank, target))) is not None:
            found.append(Cell.of(request.registry, trials.tuned(method, rank, target, seed), "tuned", chosen.tries))
    return tuple(found)


def assemble(request: Request, cells: Sequence[Cell], store: Store, others: Sequence[Job] = ()) -> Plan:
    """Return the plan of any cells, with their parents and the untouched base model.

    The request decides what every cell's trial is scored on (sources, split, limit). ``others`` are jobs that fill no
    cell.
    """
    zero_shot = base_trial(request)
    shown = {
        target: asked(request, request.targets if target is None else (target,)) for target in (None, *request.targets)
    }
    jobs = {zero_shot.id: Job(zero_shot, shown[None])}
    for cell in cells:
        _add(jobs, cell.trial, shown[cell.trial.target])
    for job in others:
        _add(jobs, job.trial, job.asked, job.snapshots)
    ordered = tuple(sorted(jobs.values(), key=lambda job: len(tuple(job.trial.ancestors()))))
    found = store.holdings([job.trial for job in ordered])
    wanted = [(job.trial, step) for job in ordered for step in job.snapshots]
    snapshots = {(trial.id, step): store.change_of(trial).snapshot(step) for trial, step in wanted}
    kept = frozenset(key for key, snapshot in snapshots.items() if snapshot.is_whole())
    return Plan(request, zero_shot, tuple(cells), ordered, found.records, shown, kept, found.learnt)


def base_trial(request: Request) -> Trial:
    """Return the trial of the untouched base model, with which forgetting is measured."""
    return Trial(
        method=ZERO_SHOT,
        hyper={},
        rank=None,
        target=None,
        seed=0,
        recipe=reference_recipe(request.recipe),
        model=request.revision(),
        data="",
        code="",
    )


def whole_work(job: Job, registry: Registry) -> tuple[int, int]:
    """Return how many examples a job trains on, and how many answers it generates, if nothing of it is done."""
    return (_trained_on(job, registry), sum(item.count for item in job.asked))


def _trained_on(job: Job, registry: Registry) -> int:
    """Return how many examples a job trains on, one by one; an edit on none."""
    recipe, trains = job.trial.recipe, issubclass(registry.method(job.trial.method), TrainMethod)
    return recipe.updates * recipe.batch_size if trains else 0


def edited(registry: Registry, trial: Trial, name: str, snapshot: int | None = None, **settings: Scalar) -> Trial:
    """Return the trial that edits the change of another trial, or a snapshot of that change."""
    method = registry.method(name)
    made = replace(trial, method=name, hyper=values(method(**settings)), code=of_plugin(method), sources=())
    return replace(made, parent=trial, snapshot=snapshot)


def _add(jobs: dict[str, Job], trial: Trial, scores: tuple[ScoreSpec, ...], snapshots: tuple[int, ...] = ()) -> None:
    """Add the job of a trial after its parents; a parent that fills no cell needs no scores."""
    if trial.parent is not None:
        _add(jobs, trial.parent, (), () if trial.snapshot is None else (trial.snapshot,))
    job = Job(trial, scores, snapshots)
    jobs[trial.id] = jobs[trial.id].joined(job) if trial.id in jobs else job


def asked(request: Request, targets: tuple[str, ...]) -> tuple[ScoreSpec, ...]:
    """Return the score specs that a request asks for: every source, and some targets."""
    names = dict.fromkeys((*request.sources, *targets))
    how = (request.split, request.limit, request.assumed)
    return tuple(_score_spec(request.tasks.load(name), name, *how) for name in names)


@once_a_task
def _score_spec(task: Task, name: str, split: Split, limit: int | None, assumed: bool) -> ScoreSpec:
    """Return the spec of a task's score; an ``assumed`` one reads the examples only if their number is not declared."""
    total = (assumed and task.sizes.get(split)) or len(task.examples(split))
    count = total if limit is None else min(limit, total)
    return ScoreSpec(
        task=name,
        split=split,
        count=count,
        examples="" if assumed else of_split(task, split, count),
        max_new_tokens=task.answer_tokens,
        code=of_plugin(type(task)),
    )
