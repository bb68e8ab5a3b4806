"""Simulate leaderboards whose truth is known, and count how often intervals cover it and marks are wrong.

This command prints the tables of docs/intervals.md: .venv/bin/python -m tests.making.simulation
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench.leaderboard.marks import mark
from bench.leaderboard.stats import Draws, FloatArray, estimate, resample

RIGHT = 0.9  # the share of right answers of every row
SEEDS = (2, 3, 4, 5, 8)
SPREADS = (0.0, 1.0, 2.0, 4.0)  # standard deviation between trainings, in points


@dataclass(frozen=True, kw_only=True)
class World:
    """Equal rows on the same examples.

    ``redrawn`` is the share of answers that each training draws again. ``spreads`` is the standard deviation between
    the trainings of each row, and ``lead`` how much better the last row is, both in points.
    """

    rows: int = 7
    seeds: int = 1
    examples: int = 400
    redrawn: float = 0.03
    spreads: tuple[float, ...] = (0.0,)
    lead: float = 0.0

    def tables(self, count: int, name: str = "world") -> Iterator[list[Draws]]:
        """Yield ``count`` tables: a row's scores as they are measured and resampled."""
        generator = np.random.default_rng(0)
        scores = self._scores(count, generator)
        found = resample(
            name,
            {(table, row): dict(enumerate(scores[table, row])) for table in range(count) for row in range(self.rows)},
        )
        for table in range(count):
            yield [found[table, row] for row in range(self.rows)]

    def _scores(self, count: int, generator: np.random.Generator) -> FloatArray:
        """Return scores [tables, rows, seeds, examples]. A good training adds the same to each of its examples."""
        shape = (count, self.rows, self.seeds, self.examples)
        common = generator.random((count, 1, 1, self.examples)) < RIGHT
        again = generator.random(shape) < self.redrawn
        right = np.where(again, generator.random(shape) < RIGHT, common)
        spreads = np.resize(self.spreads, self.rows)[None, :, None, None]
        shift = spreads * generator.standard_normal((count, self.rows, self.seeds, 1))
        shift[:, -1] += self.lead
        scores: FloatArray = right + shift / 100
        return scores


def coverage(world: World, of: Literal["mean", "difference"], count: int) -> float:
    """Return how often the interval of a row's mean, or of the difference of two rows, covers the truth."""
    hits = 0
    for first, second in replace(world, rows=2).tables(count):
        found, truth = (estimate(first), RIGHT) if of == "mean" else (estimate(first.minus(second)), 0.0)
        hits += found.low <= truth <= found.high
    return hits / count


@dataclass(frozen=True, slots=True)
class Wrong:
    """How often equal rows are told apart: per row, in the row where this is worst, and in any row of a table."""

    per_row: float
    worst_row: float
    per_table: float
    too_high: float  # points by which the highest row exceeds the truth


def false_marks(world: World, count: int) -> Wrong:
    """Return how often rows are told apart that are equal in truth."""
    apart, heights = [], []
    for rows in world.tables(count):
        apart.append(_apart(rows))
        heights.append(100 * (max(row.value for row in rows) - RIGHT))
    return Wrong(
        float(np.mean(apart)),
        float(np.mean(apart, axis=0).max()),
        float(np.any(apart, axis=1).mean()),
        float(np.mean(heights)),
    )


def power(world: World, count: int) -> float:
    """Return how often an equal row is told apart from the last row, which leads in truth."""
    return float(np.mean([_apart(rows)[:-1] for rows in world.tables(count)]))


def _apart(rows: Sequence[Draws]) -> list[bool]:
    marks = mark(dict(enumerate(rows)))
    return [row not in marks.best | marks.tied for row in range(len(rows))]


def unequal(world: World) -> World:
    """Return the world with a third of the spread in three of seven rows, and twice the spread in one."""
    spread = world.spreads[0]
    return replace(world, spreads=(spread / 3,) * 3 + (spread,) * 3 + (2 * spread,))


def tables() -> Iterator[str]:
    """Yield the tables as lines of Markdown."""
    yield from _head("drawn again", "apart per row", "apart in any of 7", "too high", "power at 2", "at 4 points")
    for redrawn in (0.01, 0.03, 0.1):
        world = World(redrawn=redrawn)
        wrong = false_marks(world, 500)
        powers = [power(replace(world, lead=lead), 300) for lead in (2.0, 4.0)]
        yield _line(f"{redrawn:.0%}", [wrong.per_row, wrong.per_table, wrong.too_high, *powers])
    yield from _by_spread("coverage of a mean", lambda world: coverage(world, "mean", 1000))
    yield from _by_spread("coverage of a difference", lambda world: coverage(world, "difference", 1000))
    yield from _by_spread("apart per row, equal spreads", lambda world: false_marks(world, 300).per_row)
    yield from _by_spread("apart per row, unequal spreads", lambda world: false_marks(unequal(world), 300).per_row)
    yield from _by_spread("power at 4 points", lambda world: power(replace(world, lead=4.0), 200))


def _by_spread(title: str, measure: Callable[[World], float]) -> Iterator[str]:
    yield from ("", title, "")
    yield from _head("spread, points", *(f"{seeds} seeds" for seeds in SEEDS))
    for spread in SPREADS:
        yield _line(f"{spread:g}", [measure(World(seeds=seeds, spreads=(spread,))) for seeds in SEEDS])


def _head(*names: str) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield f"|{'---:|' * len(names)}"


def _line(name: str, numbers: Sequence[float]) -> str:
    return f"| {name} | {' | '.join(f'{number:.3f}' for number in numbers)} |"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in tables())
