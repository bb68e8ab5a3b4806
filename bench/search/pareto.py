"""Compare the points of a search by two objectives, Source and Target; higher is better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.store.search_results import Configuration

Objective = Literal["avg", "source", "target", "pareto"]


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration's number in the study, and its Source and Target on validation, as fractions."""

    number: int
    source: float
    target: float

    @property
    def avg(self) -> float:
        """(Source + Target) / 2."""
        return (self.source + self.target) / 2

    def dominates(self, other: Point, margin: float = 0.0) -> bool:
        """Whether this point is better by at least ``margin`` in both objectives, and by more in one."""
        source, target = self.source - other.source - margin, self.target - other.target - margin
        return source >= 0 and target >= 0 and (source > 0 or target > 0)


def scored(configurations: Iterable[Configuration]) -> list[Point]:
    """Return the points of the configurations that have scores."""
    return [
        Point(item.number, item.source, item.target)
        for item in configurations
        if item.source is not None and item.target is not None
    ]


def front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points that no other point dominates, from the highest Source to the highest Target.

    Of several points that are equal in both objectives, only the first is kept.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (-point.source, -point.target)):
        if not kept or point.target > kept[-1].target:
            kept.append(point)
    return tuple(kept)


def hypervolume(points: Iterable[Point], reference: tuple[float, float] = (0.0, 0.0)) -> float:
    """Return the area that the front dominates above ``reference`` (Source, Target).

    >>> hypervolume([Point(0, 0.8, 0.2), Point(1, 0.5, 0.6)])  # 0.8 * 0.2 + 0.5 * 0.4
    0.36
    """
    area, reached = 0.0, reference[1]
    for point in front(points):
        if point.source > reference[0] and point.target > reached:
            area += (point.source - reference[0]) * (point.target - reached)
            reached = point.target
    return round(area, 12)


def pick(points: Sequence[Point], objective: Objective) -> Point:
    """Return the best point by an objective, the first of several equals; ``pareto`` also picks by Avg."""
    key = {"source": lambda p: p.source, "target": lambda p: p.target}.get(objective, lambda p: p.avg)
    return max(points, key=key)
