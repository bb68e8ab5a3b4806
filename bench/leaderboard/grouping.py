"""The trials of a leaderboard, gathered by the row that they make. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.errors import DataError
from bench.leaderboard.environments import BySeed
from bench.leaderboard.tables import NOT_RUN, CellScores, Problem


@dataclass(frozen=True, slots=True)
class Entry:
    """The trials of one row: ``done`` count, ``problems`` say why others do not; ``like`` is any of them."""

    target: str
    done: tuple[CellScores, ...]
    problems: tuple[Problem, ...]
    like: CellScores

    @property
    def reference(self) -> bool:
        """Whether this is the untouched base model."""
        return self.like.target is None

    @property
    def block(self) -> tuple[str, int, str]:
        """What is compared with one another."""
        return (self.target, self.like.rank or 0, self.like.connector)

    @property
    def own(self) -> tuple[object, str, str]:
        """The row's place in all tables."""
        return (self.block, self.like.method, self.like.variant)

    @property
    def label(self) -> str:
        """The row's name in running text."""
        name = f"{self.like.method} {self.like.variant}".rstrip()
        return name if self.like.rank is None else f"{name} r{self.like.rank}"

    @property
    def environments(self) -> BySeed:
        """What matters of the environments, by seed."""
        return {cell.seed: cell.environments for cell in self.done}

    def controls(self, other: Entry) -> bool:
        """Whether the other row should beat this one."""
        meant = self.like.against in ("", f"{other.like.method} {other.like.variant}".rstrip())
        return self.like.control and other.like.ranked and meant and self.block == other.block


def check(cells: Sequence[CellScores]) -> None:
    """Refuse cells that no leaderboard can be made of.

    Raises:
        DataError: two cells claim the same place, or a task was scored on different numbers of examples.
    """
    places: set[tuple[object, ...]] = set()
    counts: dict[str, int] = {}
    for cell in cells:
        place = (cell.method, cell.variant, cell.rank, cell.connector, cell.target, cell.seed)
        row = f"{cell.method} {cell.variant}".rstrip()
        name = f"{row} r{cell.rank} on {cell.target}, seed {cell.seed}" if cell.rank else row
        if place in places:
            raise DataError(f"There are two trials of {name}. Choose one setting of its hyperparameters.")
        places.add(place)
        for task, scores in (*cell.primary.items(), *cell.lenient.items()):
            if not len(scores) or len(scores) != counts.setdefault(task, len(scores)):
                raise DataError(
                    f"{name}: {len(scores)} scores on {task}, others have {counts.get(task, 'more')}. "
                    "Score all of them with the same --limit."
                )


def entries(
    cells: Sequence[CellScores],
    zero_shot: CellScores | None,
    seeds: Sequence[int],
    tasks: tuple[tuple[str, ...], str],
) -> list[Entry]:
    """Return the rows of one target (``tasks``: sources, target): zero-shot, then what occurs for any, by rank."""
    sources, target = tasks
    trials: dict[tuple[str, str, int | None, str], list[CellScores]] = {}
    for cell in cells:
        trials.setdefault((cell.method, cell.variant, cell.rank, cell.connector), []).append(cell)
    found = []
    for anywhere in trials.values():
        here = [cell for cell in anywhere if cell.target == target]
        absent = replace(anywhere[0], target=target, seed=seeds[0], status="missing", error=NOT_RUN, primary={})
        found.append(_entry(here or [absent], target, seeds, sources))
    order = list(dict.fromkeys(cell.method for cell in cells))
    found.sort(key=lambda entry: (entry.block, entry.like.control, order.index(entry.like.method)))
    return [_entry([zero_shot], target, [zero_shot.seed], sources), *found] if zero_shot else found


def _entry(cells: Sequence[CellScores], target: str, seeds: Sequence[int], sources: Sequence[str]) -> Entry:
    """Sort a row's trials by seed, and name what is lacking."""
    by_seed = {cell.seed: cell for cell in cells}
    tasks = tuple(dict.fromkeys((*sources, target)))
    problems = [problem for seed in seeds if (problem := _problem(seed, by_seed.get(seed), tasks)) is not None]
    done = [by_seed[seed] for seed in seeds if seed in by_seed and by_seed[seed].status == "done"]
    return Entry(target, tuple(done), tuple(problems), cells[0])


def _problem(seed: int, cell: CellScores | None, tasks: Sequence[str]) -> Problem | None:
    if cell is None:
        return Problem(seed, "missing", NOT_RUN)
    if cell.status != "done":
        return Problem(seed, cell.status, cell.error or "no reason given")
    lacking = [task for task in dict.fromkeys(tasks) if task not in cell.primary]
    return Problem(seed, "missing", f"no scores on {', '.join(lacking)}") if lacking else None
