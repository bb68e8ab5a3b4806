"""Plan every row that a run asks for: methods, their tuned rows, and controls.

Controls are trivial baselines that every method should beat. Some of them are chosen on validation, which takes two
passes: ``make`` first plans the jobs that measure these scores, and plans the rows once the store has the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from bench.model.family import GROUPS, adapt_name, adapted_roles
from bench.model.shapes import Shapes
from bench.plan.cell_trials import cell_trial
from bench.plan.chance import counted
from bench.plan.plan import Cell, Plan, asked, assemble, base_trial, cells, edited
from bench.plan.request import Request
from bench.plan.row_key import RowKey
from bench.plugins.registry import BASELINE, REPLAY, REWIND
from bench.sizes import readable_count
from bench.store.run_folder import Store
from bench.values.job import Job
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial

_STOPS = 6  # a training may be stopped after each sixth of its updates
_PARTS = ("attention", "gate_up")  # groups of layers; plain LoRA on each of them alone is a control
_STRENGTHS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 10))


def make(request: Request, store: Store) -> Plan:
    """Return the plan of a request, with the controls and trade-off curves that the request asks for."""
    own, corners = cells(request), list[_Corner]()
    zero_shot = base_trial(request)
    if request.controls:
        shapes = request.suite.shapes()
        here = dict[tuple[int | None, str | None, int], list[Cell]]()
        for cell in own:
            here.setdefault(cell.slot, []).append(cell)
        for seed, target, rank in product(request.seeds, request.targets, request.ranks):
            near = here.get((rank, target, seed), [])
            corners.append(_Corner(request, store, rank, target, seed, near, zero_shot, shapes))
            corners[-1].plan()
    points = [point for cell in own for point in curve(request, cell).values()] if request.strengths else []
    probes = [probe for corner in corners for probe in corner.probes]
    controls = [cell for corner in corners for cell in corner.controls]
    plan = assemble(request, (*own, *controls), store, (*probes, *points))
    notes = (*_unscaled(request), *_unreplayed(request))
    return replace(plan, unsettled=any(corner.unsettled for corner in corners), notes=notes)


def finish(plan: Plan, again: Callable[[], Plan], perform: Callable[[Plan], None]) -> Plan:
    """Perform a plan and the plans that follow from its results, which ``again`` makes, and return the last plan."""
    while plan.pending:
        before = plan
        perform(plan)
        plan = again()
        if not before.unsettled or plan.jobs == before.jobs:  # no job followed from its results
            break
    return plan


def curve(request: Request, cell: Cell) -> dict[float, Job]:
    """Return the jobs of a row's trade-off curve, which score the row's change at every strength.

    A row whose change is not one of weights has no curve.
    """
    if not request.registry.method(cell.trial.method).merges:
        return {}
    scores = asked(request, (str(cell.trial.target),))
    return {
        strength: Job(
            cell.trial if strength == 1 else edited(request.registry, cell.trial, REWIND, strength=strength), scores
        )
        for strength in request.strengths
        if strength > 0  # strength 0 is the untouched base model, which is measured anyway
    }


def stops(updates: int) -> list[int]:
    """Return the steps at which plain LoRA may be stopped early, in ascending order.

    >>> stops(150)
    [25, 50, 75, 100, 125]
    """
    return sorted({round(updates * sixth / _STOPS) for sixth in range(1, _STOPS)} - {0, updates})


def _unscaled(request: Request) -> tuple[str, ...]:
    """Return a note for each method whose change --rewind cannot scale."""
    names = [name for name in request.methods if request.strengths and not request.registry.method(name).merges]
    why = "each example chooses its own factors, so there is no change of weights to scale"
    return tuple(f"{name} has no curve of --rewind: {why}." for name in names)


def _unreplayed(request: Request) -> Iterator[str]:
    """Yield a note if no control can see examples of the sources."""
    if request.controls and request.unreplayed:
        yield f"{BASELINE} {REPLAY} is left out: {request.unreplayed}"


@dataclass(slots=True)
class _Corner:
    """The controls of one rank, target and seed, whose own cells are ``own``.

    ``probes`` are the jobs whose scores choose some of the controls; the corner is ``unsettled`` if a score is missing.
    """

    request: Request
    store: Store
    rank: int
    target: str
    seed: int
    own: Sequence[Cell]
    zero_shot: Trial
    shapes: Shapes
    controls: list[Cell] = field(default_factory=list)
    probes: list[Job] = field(default_factory=list)
    unsettled: bool = False

    def plan(self) -> None:
        """Plan the controls, or the jobs whose scores they wait for."""
        self.controls += self._fixed()
        self.controls += self._partial()
        self.controls += self._replayed()
        self._stopped()
        for cell in self.own:
            if cell.key.ranked and cell.key.method != BASELINE:
                self._rewound(cell)

    def _fixed(self) -> Iterator[Cell]:
        """Yield the controls that need no choice: a third of the learning rate, and a frozen connector."""
        request = self.request
        lr = request.settings.get(BASELINE, {}).get("lr") or request.recipe.lr
        third = {**request.settings, BASELINE: {**request.settings.get(BASELINE, {}), "lr": float(lr) / 3}}
        yield self._control(self._baseline(replace(request, settings=third)), "lr/3", f"lr {float(lr) / 3:.3g}")
        if request.recipe.connector != "frozen":
            frozen = replace(request, recipe=replace(request.recipe, connector="frozen"))
            yield self._control(self._baseline(frozen), "frozen connector")

    def _partial(self) -> Iterator[Cell]:
        """Yield plain LoRA on a part of the adapted layers, at this rank and at the rank that trains as much as LoRA.

        A part that has all of the adapted layers, or none, is left out.
        """
        recipe, shapes = self.request.recipe, self.shapes
        whole = [role for role in adapted_roles(recipe.adapt) if role in shapes.decoder]
        for group in _PARTS:
            part = [role for role in whole if role in GROUPS[group]]
            if part and part != whole:
                only = replace(self.request, recipe=replace(recipe, adapt=adapt_name("+".join(part))))
                matched = shapes.matched_rank(recipe, self.rank, only.recipe)
                for variant, rank in ((f"{group} only", self.rank), (f"{group} at equal size", matched)):
                    yield self._control(self._baseline(only, rank), variant, self._size(only, rank))

    def _size(self, part: Request, rank: int) -> str:
        """Return the note on how much LoRA on a part of the layers trains at a rank, next to LoRA at this rank.

        A rank above a layer's smaller side is allowed, because the question is what the same number of parameters does
        elsewhere; the note says that the change is then not low-rank.
        """
        own, whole = self.shapes.trained(part.recipe, rank), self.shapes.trained(self.request.recipe, self.rank)
        note = f"rank {rank}, which trains {readable_count(own)} parameters; {BASELINE} trains {readable_count(whole)}"
        side = self.shapes.smallest_side(part.recipe.adapt)
        if rank > side:
            return f"{note}. Its smallest layer has {side} rows or columns, so its change is not low-rank"
        return note

    def _replayed(self) -> Iterator[Cell]:
        """Yield plain LoRA that also sees training examples of the sources, if all sources have such examples."""
        if not self.request.unreplayed:
            settings = self.request.settings
            alike = {**settings, REPLAY: {**settings.get(BASELINE, {}), **settings.get(REPLAY, {})}}
            request = replace(self.request, settings=alike)
            yield self._control(cell_trial(request, REPLAY, self.rank, self.target, self.seed), REPLAY)

    def _stopped(self) -> None:
        """Add plain LoRA stopped at the step with the best Avg on validation.

        Its learning-rate schedule is that of the whole training.
        """
        whole = self._baseline(self.request)
        updates, registry = self.request.recipe.updates, self.request.registry
        stopped = {step: edited(registry, whole, REWIND, step, strength=1.0) for step in stops(updates)}
        trials = {**stopped, updates: whole}
        pairs = {step: self._measured(trial, self._validation()) for step, trial in trials.items()}
        scores = {step: sum(pair) / 2 for step, pair in pairs.items() if pair is not None}
        if len(scores) == len(pairs):
            best = max(scores, key=lambda step: scores[step])
            note = f"at step {best} of {updates}, the best of {len(scores)} on validation"
            self.controls.append(self._control(trials[best], "stopped early", note))

    def _rewound(self, cell: Cell) -> None:
        """Add LoRA at the smallest strength whose Target on validation reaches the cell's.

        LoRA is tuned if the cell is. If no strength reaches that Target, LoRA keeps its whole change.
        """
        baseline = cell.key.sibling(BASELINE, cell.key.variant)
        same = (item.trial for item in self.own if item.key == baseline)
        whole = next(same, self._baseline(self.request))
        score = self._validation()[-1:]
        goal = self._measured(cell.trial, score)
        registry = self.request.registry
        trials = {s: edited(registry, whole, REWIND, strength=s) for s in _STRENGTHS} | {1.0: whole}
        levels = {strength: self._measured(trial, score) for strength, trial in trials.items()}
        if goal is None or None in levels.values():
            return
        enough = [strength for strength, level in levels.items() if level is not None and level[1] >= goal[1]]
        best = min(enough, default=1.0)
        note = f"strength {best:g}, the least that reaches the Target of {cell.key.name} on validation"
        if not enough:
            note = f"strength 1, which does not reach the Target of {cell.key.name} on validation"
        self.controls.append(self._control(trials[best], f"rewound to {cell.key.name}", note, cell.key.name))

    def _measured(self, trial: Trial, scores: tuple[ScoreSpec, ...]) -> tuple[float, float] | None:
        """Plan the job that measures a trial on validation, and return Source and Target once they are known.

        The sources that count are those of the leaderboard. Source is 0 if the request has no source.
        """
        self.probes.append(Job(trial, scores))
        record = self.store.read(trial)
        if record is None or record.lacks(scores):
            self.unsettled = True
            return None
        known = {item.task: record.scores[item.key].value for item in scores}
        target = known.pop(self.target)
        base = self.store.read(self.zero_shot)
        self.unsettled |= base is None  # its scores decide which sources count
        sources = [known[name] for name in counted(self.request, base, asked(self.request, ())).names if name in known]
        return (sum(sources) / len(sources) if sources else 0.0, target)

    def _validation(self) -> tuple[ScoreSpec, ...]:
        """Return the score specs to choose by; the target's is the last."""
        return asked(replace(self.request, split="validation"), (self.target,))

    def _baseline(self, request: Request, rank: int | None = None) -> Trial:
        return cell_trial(request, BASELINE, rank or self.rank, self.target, self.seed)

    def _control(self, trial: Trial, variant: str, note: str = "", against: str = "") -> Cell:
        place = (BASELINE, variant, self.rank, self.request.recipe.connector)
        key = RowKey(*place, ranked=False, control=True, against=against, note=note, given=trial.given)
        return Cell(trial, key)
