"""Plan a sequence of tasks: a chain of stages for every method, rank, order and seed.

Stage k of a chain is a trial whose parent is stage k-1, and stage 1 is the method's ordinary trial. In a chain such as
``lora+lines`` an edit follows each stage, and the next stage trains new factors on what the edit has left. A method
that is made for joint training has one trial instead, which learns all tasks at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from bench.errors import UsageError
from bench.plan.cell_trials import cell_trial
from bench.plan.plan import Plan, asked, assemble, edited
from bench.plan.request import Request
from bench.plan.row_key import RowKey
from bench.plugins.method import EditMethod, TrainMethod, banks, stages_differ
from bench.plugins.registry import BASELINE, REPLAY, REWIND, Registry
from bench.plugins.source import LENGTH
from bench.store.run_folder import Store
from bench.values.canonical import digest
from bench.values.job import Job
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial

When = Literal["end", "every", "never"]  # after which stages the sources are scored

TASK_ID = "task id given"  # how reports say that a user must know the task of every question
INDEPENDENT = "independent"
JOINT = "joint"
_AND = "+"
_THEN = "."  # between the tasks of an order
_REWOUND = "rewound after each stage"


@dataclass(frozen=True, slots=True)
class ChainMethod:
    """A method that trains every stage of a chain, and the edit that follows each stage, if there is one."""

    train: str
    edit: str = ""

    @classmethod
    def read(cls, text: str, registry: Registry) -> ChainMethod:
        """Return what a name such as ``slao`` or ``lora+lines`` means.

        Raises:
            UsageError: no method has the name, or the methods cannot form a chain.
        """
        train, _, edit = (part.strip() for part in text.partition(_AND))
        plugin = registry.method(train)
        if not issubclass(plugin, TrainMethod):
            what = "only edits what another method has learnt" if issubclass(plugin, EditMethod) else "trains nothing"
            instead = f"{plugin.parent}{_AND}{train}" if issubclass(plugin, EditMethod) else BASELINE
            raise UsageError(f"{train} {what}, so it cannot learn a sequence of tasks. Use {instead}.")
        if not plugin.merges and plugin.made_for != JOINT:
            raise UsageError(
                f"{train} cannot learn a sequence of tasks, because its change depends on the example, and the next "
                f"stage cannot continue it. Leave {train} out."
            )
        if _AND in text:
            _check_edit(text, plugin, edit, registry)
        return cls(train, edit)

    @property
    def name(self) -> str:
        """The name as on the command line."""
        return _AND.join(self.parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the methods."""
        return (self.train, self.edit) if self.edit else (self.train,)


def _check_edit(text: str, train: type[TrainMethod], edit: str, registry: Registry) -> None:
    """Refuse what cannot follow each stage of a method."""
    if train.made_for == JOINT:
        raise UsageError(f"{text}: {train.name} learns all tasks at once, so no stage is there to edit. Drop {edit}.")
    if not issubclass(registry.method(edit), EditMethod):
        raise UsageError(f"{text}: {edit} does not edit. After {_AND}, name a method that edits, such as lines.")
    if stages_differ(train):
        raise UsageError(
            f"{text}: no edit can follow {train.name}, because its stages continue each other in a way of their own. "
            f"Use {BASELINE}{_AND}{edit}, or {train.name} alone."
        )


def order_name(order: Sequence[str]) -> str:
    """Return the name of an order, as files and tables write it."""
    return _THEN.join(order)


def tasks_in(name: str) -> tuple[str, ...]:
    """Return the tasks of an order from its name."""
    return tuple(name.split(_THEN))


def check_orders(orders: Sequence[Sequence[str]]) -> None:
    """Refuse orders that are not orders of the same tasks.

    Raises:
        UsageError: there are fewer than two tasks, a task comes twice, or an order has other tasks than the first.
    """
    tasks = orders[0]
    if len(tasks) < 2:
        raise UsageError(f"A sequence needs at least two tasks, and --tasks names {len(tasks)}. Add tasks.")
    for order in orders:
        if twice := next((task for task in order if order.count(task) > 1), None):
            raise UsageError(f"The order {','.join(order)} has {twice} twice. Name each task once.")
        if set(order) != set(tasks):
            raise UsageError(
                f"--order {','.join(order)} does not have the tasks of --tasks {','.join(tasks)}. Name all of them."
            )


@dataclass(frozen=True, slots=True)
class Chain:
    """A row of a sequence for one order and seed: the trial that is scored after each stage.

    The stages of a row that is ``apart`` are trained from the base model, one for each task. A ``joint`` row has one
    trial, which learns all tasks at once and is scored as after the last stage.
    """

    key: RowKey
    order: tuple[str, ...]
    seed: int
    stages: tuple[Trial, ...]
    apart: bool = False

    @property
    def joint(self) -> bool:
        """Whether one training learns all tasks."""
        return bool(self.stages[-1].together)


@dataclass(frozen=True, slots=True)
class ChainRequest:
    """What ``bench sequence`` asks for: the chains of some methods through every order of the tasks.

    The targets of ``request`` are the tasks. Its sources are scored as ``when`` says. ``controls`` adds chains of plain
    LoRA that every method should beat.
    """

    request: Request
    methods: tuple[ChainMethod, ...]
    orders: tuple[tuple[str, ...], ...]
    when: When = "end"
    controls: bool = False

    def check(self) -> None:
        """Refuse what cannot be learnt as a sequence.

        Raises:
            UsageError: the orders are not those of a sequence, or the base model would have to hold the change of
                earlier stages in 4 bits.
        """
        check_orders(self.orders)
        for method in self.rows:
            plugin = self.request.registry.method(method.train)
            if self._in_4_bits and (method.edit or (issubclass(plugin, TrainMethod) and plugin.folds)):
                raise UsageError(
                    f"{method.name} trains each stage on weights that hold the change of the earlier stages, which "
                    f"weights in 4 bits cannot (--base 4bit). Leave {method.name} out, or use --base full."
                )

    @property
    def _in_4_bits(self) -> bool:
        return self.request.recipe.quantization != "none"

    def chains(self) -> tuple[Chain, ...]:
        """Return every chain; those of one order, rank and seed follow each other, plain LoRA first."""
        found: list[Chain] = []
        for order, rank, seed in product(self.orders, self.request.ranks, self.request.seeds):
            for method in self.rows:
                found.append(self.chain(method, order, rank, seed))
                found += self._tuned(method, order, rank, seed)
            found += self._controls(order, rank, seed)
        return tuple(found)

    @property
    def rows(self) -> tuple[ChainMethod, ...]:
        """The methods, and first of all plain LoRA, with which every other is compared."""
        return tuple(dict.fromkeys((ChainMethod(BASELINE), *self.methods)))

    def plan(self, store: Store) -> Plan:
        """Return the plan of all chains, which scores each of them after every stage."""
        chains = self.chains()
        jobs = [
            Job(trial, self.scores(chain, stage)) for chain in chains for stage, trial in enumerate(chain.stages, 1)
        ]
        rows = len({(chain.key, chain.order) for chain in chains})
        what = f"{rows} rows of {len(self.request.targets)} tasks, {len(chains)} chains"
        request = self.request if self.when != "never" else replace(self.request, sources=())
        notes: tuple[str, ...] = ()
        if self.controls and self._in_4_bits:
            notes = (f"{BASELINE} {_REWOUND} is left out, because it needs full weights (not --base 4bit).",)
        return replace(assemble(request, (), store, jobs), what=what, notes=notes)

    def scores(self, chain: Chain, stage: int) -> tuple[ScoreSpec, ...]:
        """Return the specs of the scores after a stage: those of every task, and of the sources if they are due."""
        due = self.when == "every" or (self.when == "end" and (stage == len(chain.order) or chain.apart or chain.joint))
        scored = self.request if due else replace(self.request, sources=())
        return asked(scored, self.request.targets)

    def chain(self, method: ChainMethod, order: tuple[str, ...], rank: int, seed: int) -> Chain:
        """Return the chain of a method through an order."""
        if self.request.registry.method(method.train).made_for == JOINT:
            return self._joint(method, order, rank, seed)
        stages: list[Trial] = []
        for task in order:
            alone = cell_trial(self.request, method.train, rank, task, seed)
            stages.append(self._edited(method, replace(alone, parent=stages[-1] if stages else None)))
        given = TASK_ID if banks(self.request.registry.method(method.train)) else ""
        return Chain(self._key(method, rank, given=given), order, seed, tuple(stages))

    def _tuned(self, method: ChainMethod, order: tuple[str, ...], rank: int, seed: int) -> Iterator[Chain]:
        """Yield the chain with what a search chose, if it chose something."""
        choice = self.request.tuned.get((method.name, rank, order_name(order)))
        if choice is not None:
            varied, settings = method.parts[-1], self.request.settings
            chosen = {**settings, varied: {**settings.get(varied, {}), **choice.hyper}}
            chain = replace(self, request=replace(self.request, settings=chosen)).chain(method, order, rank, seed)
            yield replace(chain, key=replace(chain.key, variant="tuned", tries=choice.tries))

    def _edited(self, method: ChainMethod, stage: Trial) -> Trial:
        """Return the trial that edits a stage, or the stage itself if no edit follows it."""
        if not method.edit:
            return stage
        return edited(self.request.registry, stage, method.edit, None, **self.request.settings_of(method.edit))

    def _controls(self, order: tuple[str, ...], rank: int, seed: int) -> Iterator[Chain]:
        """Yield plain LoRA for every task apart, whose scores several metrics need, and the other controls."""
        plain = ChainMethod(BASELINE)
        apart = tuple(cell_trial(self.request, BASELINE, rank, task, seed) for task in order)
        yield Chain(self._key(plain, rank, INDEPENDENT, TASK_ID), order, seed, apart, apart=True)
        if self.controls:
            if not self._in_4_bits:
                rewound = self.chain(ChainMethod(BASELINE, REWIND), order, rank, seed)
                yield replace(rewound, key=self._key(plain, rank, _REWOUND))
            yield self._replayed(order, rank, seed)
            yield self._joint(plain, order, rank, seed, JOINT)

    def _joint(self, method: ChainMethod, order: tuple[str, ...], rank: int, seed: int, variant: str = "") -> Chain:
        """Return the row of one training on all tasks; it is the same for every order."""
        trial = joint_trial(self.request, method.train, rank, order, seed)
        given = (trial.given, TASK_ID) if banks(self.request.registry.method(method.train)) else (trial.given,)
        return Chain(self._key(method, rank, variant, ", ".join(given)), order, seed, (trial,))

    def _replayed(self, order: tuple[str, ...], rank: int, seed: int) -> Chain:
        """Return plain LoRA that also sees training examples of the stages before."""
        request, stages = self.request, [cell_trial(self.request, BASELINE, rank, order[0], seed)]
        for number, task in enumerate(order[1:], 1):
            alone = cell_trial(replace(request, sources=order[:number]), REPLAY, rank, task, seed)
            stages.append(replace(alone, parent=stages[-1]))
        key = self._key(ChainMethod(BASELINE), rank, REPLAY, stages[-1].given)
        return Chain(key, order, seed, tuple(stages))

    def _key(self, method: ChainMethod, rank: int, variant: str = "", given: str = "") -> RowKey:
        plugins = [self.request.registry.method(name) for name in method.parts]
        return RowKey(
            method.name,
            variant,
            rank,
            self.request.recipe.connector,
            ranked=not variant and all(plugin.ranked for plugin in plugins),
            control=bool(variant),
            remark=" ".join(plugin.remark for plugin in plugins if plugin.remark),
            given=given,
        )


def joint_trial(request: Request, name: str, rank: int, tasks: Sequence[str], seed: int) -> Trial:
    """Return the trial of a method that learns several tasks at once, in as many updates as one after another.

    Raises:
        UsageError: the method also sees examples of sources, for which a joint training has no place.
    """
    tasks = tuple(sorted(tasks))
    apart = [cell_trial(request, name, rank, task, seed) for task in tasks]
    if apart[0].sources:
        raise UsageError(f"{name} trains on examples of the sources, which a joint training has not. Leave {name} out.")
    whole = replace(request.recipe, updates=len(tasks) * request.recipe.updates)
    data = "" if request.assumed else digest([each.data for each in apart])[:LENGTH]
    return replace(apart[0], target=_AND.join(tasks), together=tasks, recipe=whole, data=data)
