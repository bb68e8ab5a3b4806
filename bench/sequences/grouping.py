"""Group the chains of a sequence by row. Nothing here reads a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.leaderboard.cell_scores import CellScores
from bench.leaderboard.environments import BySeed, Facts, merged
from bench.leaderboard.stats import FloatArray
from bench.leaderboard.tables import Problem
from bench.plan.row_key import RowKey

FORMS = -1  # takes the place of a stage


@dataclass(frozen=True, slots=True)
class ChainScores:
    """The scores of a chain after each of its stages, or why there are none.

    ``stages`` are in the order of the tasks that they learn; ``asked`` names the tasks that are scored after each of
    them. The stages of a row that is ``apart`` are trained from the base model, so the task of a question says which
    of them answers it. ``forms`` has 1 for each reply after the last stage that has the form its task asks for, else 0,
    [n] by task. ``updates`` is their number in a stage, and ``kept_bytes`` what is stored after the last stage. A
    ``joint`` chain has only the last stage. The untouched base model is a chain of one stage that learns no task.
    """

    key: RowKey
    order: tuple[str, ...]
    seed: int
    stages: tuple[CellScores, ...]
    asked: tuple[tuple[str, ...], ...]
    apart: bool = False
    forms: Mapping[str, FloatArray] = field(default_factory=dict)
    updates: int = 0
    kept_bytes: int | None = None

    @property
    def joint(self) -> bool:
        """Whether one training learns all tasks at once."""
        return len(self.stages) < len(self.order)

    @property
    def block(self) -> tuple[tuple[str, ...], int, str]:
        """The key of the block: all its rows are compared with each other."""
        return (self.order, *self.key.block)

    @property
    def problems(self) -> Iterator[Problem]:
        """The reasons why the chain lacks scores; a stage that failed is the reason for all that follow it."""
        for number, (cell, names) in enumerate(zip(self.stages, self.asked, strict=True), 1):
            where = f"stage {number} ({self.order[number - 1]}): " if self.order and not self.joint else ""
            if cell.status != "done":
                yield Problem(self.seed, cell.status, f"{where}{cell.error or 'no reason given'}")
                if not self.apart:
                    return
            elif lacking := [name for name in names if name not in cell.primary]:
                yield Problem(self.seed, "missing", f"{where}no scores on {', '.join(lacking)}")

    @property
    def started(self) -> bool:
        """Whether any stage has scores."""
        return any(cell.primary for cell in self.stages)

    @property
    def environments(self) -> Facts:
        """The environment fields of all stages that matter for comparisons."""
        return merged(cell.environments for cell in self.stages)

    @property
    def answers(self) -> dict[tuple[int, str], str]:
        """The digest of the answers by stage and task."""
        return {(number, task): text for number, cell in enumerate(self.stages) for task, text in cell.answers.items()}

    def scores(self, stage: int, task: str) -> FloatArray | None:
        """Return the scores of a task after a stage, counted from 0; None if they are missing."""
        if self.apart and task in self.order[:stage]:
            stage = self.order.index(task)
        return self.stages[stage].primary.get(task)


@dataclass(frozen=True, slots=True)
class RowChains:
    """One row's chains on an order: ``counted`` by seed, and ``problems`` say why the others do not count.

    Chains that lack nothing count. If there is none, all that have any score count.
    """

    key: RowKey
    order: tuple[str, ...]
    counted: tuple[ChainScores, ...] = ()
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, chains: Sequence[ChainScores]) -> RowChains:
        """Return the row of some chains of one key and order."""
        whole = tuple(chain for chain in chains if not list(chain.problems))
        problems = tuple(problem for chain in chains for problem in chain.problems)
        counted = whole or tuple(chain for chain in chains if chain.started)
        return cls(chains[0].key, chains[0].order, counted, problems)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that count."""
        return tuple(chain.seed for chain in self.counted)

    @property
    def apart(self) -> bool:
        """Whether the stages are trained from the base model, one for each task."""
        return any(chain.apart for chain in self.counted)

    @property
    def joint(self) -> bool:
        """Whether one training learns all tasks at once, so that there are scores only after the last stage."""
        return any(chain.joint for chain in self.counted)

    @property
    def finished(self) -> bool:
        """Whether every stage of every chain that counts is done; a score may be missing."""
        return all(cell.status == "done" for chain in self.counted for cell in chain.stages)

    @property
    def environments(self) -> BySeed:
        """The environment fields that matter for comparisons, by seed."""
        return {chain.seed: chain.environments for chain in self.counted}

    @property
    def answers(self) -> dict[int, dict[tuple[int, str], str]]:
        """The digest of the answers by stage and task, by seed."""
        return {chain.seed: chain.answers for chain in self.counted}

    def scores(self, task: str) -> Iterator[tuple[int, dict[int, FloatArray]]]:
        """Yield the scores of a task by seed, for each stage, counted from 0, for which no seed that counts lacks them.

        Which replies after the last stage have the task's form comes as stage FORMS.
        """
        for stage in range(len(self.counted[0].stages) if self.counted else 0):
            found = {chain.seed: chain.scores(stage, task) for chain in self.counted}
            known = {seed: scores for seed, scores in found.items() if scores is not None}
            if len(known) == len(found):
                yield stage, known
        known = {chain.seed: chain.forms[task] for chain in self.counted if task in chain.forms}
        if known and len(known) == len(self.counted):
            yield FORMS, known


def by_block(chains: Sequence[ChainScores]) -> dict[tuple[tuple[str, ...], int, str], list[RowChains]]:
    """Return the rows of each block, in the order in which they first occur, controls last."""
    found: dict[tuple[tuple[str, ...], int, str], dict[RowKey, list[ChainScores]]] = {}
    for chain in chains:
        found.setdefault(chain.block, {}).setdefault(chain.key, []).append(chain)
    return {
        block: sorted((RowChains.of(of) for of in rows.values()), key=lambda row: row.key.control)
        for block, rows in found.items()
    }
