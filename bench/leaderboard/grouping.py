"""Group the trials of a leaderboard by row. Nothing here reads a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.errors import DataError
from bench.leaderboard.cell_scores import NOT_RUN, CellScores
from bench.leaderboard.environments import BySeed
from bench.leaderboard.tables import Problem
from bench.plan.row_key import RowKey


@dataclass(frozen=True, slots=True)
class RowTrials:
    """One row's trials on a target: ``done`` count, and ``problems`` say why the others do not."""

    target: str
    key: RowKey
    done: tuple[CellScores, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def reference(self) -> bool:
        """Whether this is the untouched base model."""
        return self.key.rank is None

    @property
    def block(self) -> tuple[str, int, str]:
        """The key of the block: all its rows are compared with each other."""
        return (self.target, *self.key.block)

    @property
    def rivals(self) -> tuple[tuple[str, int, str], str]:
        """The key of the rows that compete for the highest number: those of a block that were given the same."""
        return (self.block, self.key.given)

    @property
    def environments(self) -> BySeed:
        """The environment fields that matter for comparisons, by seed."""
        return {cell.seed: cell.environments for cell in self.done}

    @property
    def answers(self) -> dict[int, Mapping[str, str]]:
        """The digest of the answers by task, by seed."""
        return {cell.seed: cell.answers for cell in self.done}

    def controls(self, other: RowTrials) -> bool:
        """Whether this row is a control that the other row should beat: one that was given nothing more."""
        meant = self.key.against in ("", other.key.name) and self.key.given in ("", other.key.given)
        return self.key.control and other.key.ranked and meant and self.block == other.block


def check(cells: Sequence[CellScores]) -> None:
    """Raise DataError if no leaderboard can be built from the cells.

    Raises:
        DataError: two cells claim the same place, or a task was scored on different numbers of examples.
    """
    places: set[tuple[object, ...]] = set()
    counts: dict[str, int] = {}
    for cell in cells:
        place = (cell.key, cell.target, cell.seed)
        name = f"{cell.key.label} on {cell.target}, seed {cell.seed}" if cell.key.rank else cell.key.name
        if place in places:
            raise DataError(f"There are two trials of {name}. Choose one setting of its hyperparameters.")
        places.add(place)
        for task, scores in (*cell.primary.items(), *cell.lenient.items()):
            if not len(scores) or len(scores) != counts.setdefault(task, len(scores)):
                raise DataError(
                    f"{name} has {len(scores)} scores on {task}, but other trials have {counts.get(task, 'more')}. "
                    "Score all trials with the same --limit."
                )


def entries(
    cells: Sequence[CellScores],
    zero_shot: CellScores | None,
    seeds: Sequence[int],
    sources: Sequence[str],
    target: str,
) -> list[RowTrials]:
    """Return the rows of one target: zero-shot first, then the rows that occur for any target, by rank."""
    trials: dict[RowKey, list[CellScores]] = {}
    for cell in cells:
        trials.setdefault(cell.key, []).append(cell)
    found = [_entry(anywhere, target, seeds, sources) for anywhere in trials.values()]
    order = list(dict.fromkeys(cell.key.method for cell in cells))
    found.sort(key=lambda entry: (entry.block, entry.key.control, order.index(entry.key.method)))
    if zero_shot is None:
        return found
    return [_entry([replace(zero_shot, target=target)], target, [zero_shot.seed], sources), *found]


def _entry(cells: Sequence[CellScores], target: str, seeds: Sequence[int], sources: Sequence[str]) -> RowTrials:
    """Return a row's trials on a target by seed, with a problem for each seed that lacks numbers."""
    by_seed = {cell.seed: cell for cell in cells if cell.target == target}
    like = next(iter(by_seed.values()), cells[0])
    tasks = (*sources, target)
    problems = [problem for seed in seeds if (problem := _problem(seed, by_seed.get(seed), tasks)) is not None]
    done = [by_seed[seed] for seed in seeds if seed in by_seed and by_seed[seed].status == "done"]
    return RowTrials(target, like.key, tuple(done), tuple(problems))


def _problem(seed: int, cell: CellScores | None, tasks: Sequence[str]) -> Problem | None:
    if cell is None:
        return Problem(seed, "missing", NOT_RUN)
    if cell.status != "done":
        return Problem(seed, cell.status, cell.error or "no reason given")
    lacking = [task for task in dict.fromkeys(tasks) if task not in cell.primary]
    return Problem(seed, "missing", f"no scores on {', '.join(lacking)}") if lacking else None
