"""What a search came to: per quest the configurations, the front, what is chosen, and their table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.search.optuna_study import Tried
from bench.search.pareto import Objective, Point, front, hypervolume, pick
from bench.search.quest import Quest
from bench.text import text_table

_HEADS = (
    "",
    "tried",
    "failed",
    "stopped",
    "front",
    "hypervolume",
    "default: S / T / Avg",
    "chosen: S / T / Avg",
    " with",
)
_WIDTHS = (0, 0, 0, 0, 0, 0, 23, 23)  # a point's three scores fit


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a quest came to: its configurations, the front, the one that is chosen, and the default's point."""

    quest: Quest
    tried: tuple[Tried, ...]
    front: tuple[Point, ...]
    hypervolume: float
    chosen: Tried | None
    default: Tried | None
    importance: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(cls, quest: Quest, objective: Objective, trials: int) -> Outcome:
        """Read the first ``trials`` configurations of a quest's study: more would be another budget."""
        tried = quest.study.tried()[:trials]
        points = [item.point for item in tried if item.point is not None]
        best = pick(points, objective) if points else None
        return cls(
            quest,
            tried,
            front(points),
            hypervolume(points),
            next((item for item in tried if best is not None and item.number == best.number), None),
            next((item for item in tried if dict(item.hyper) == quest.default), None),
            quest.study.importances(trials),
        )

    @property
    def failed(self) -> int:
        """How many configurations gave nothing."""
        return sum(item.state == "failed" for item in self.tried)

    @property
    def stopped(self) -> int:
        """How many configurations were stopped early."""
        return sum(item.state == "stopped" for item in self.tried)

    @property
    def saved(self) -> int:
        """How many updates were not trained for it."""
        return sum(self.quest.saved(item) for item in self.tried if item.state == "stopped")

    @property
    def updates(self) -> int:
        """How many updates the tries come to, trained to their end; 0 where the method edits."""
        request = self.quest.request
        return len(self.tried) * len(request.seeds) * request.recipe.updates if self.quest.trains else 0

    @property
    def label(self) -> str:
        """The quest's name."""
        return self.quest.label

    def to_json(self) -> dict[str, Any]:
        """Return what is chosen and what it stands on, as JSON."""
        request = self.quest.request
        return {
            "method": request.methods[0],
            "rank": request.ranks[0],
            "target": request.targets[0],
            "study": self.quest.study.name,
            "tried": len(self.tried),
            "failed": self.failed,
            "stopped": self.stopped,
            "updates_saved": self.saved,
            "hypervolume": self.hypervolume,
            "front": [asdict(point) for point in self.front],
            "parent": self.quest.parent_settings,
            "default": self._told(self.default),
            "chosen": self._told(self.chosen),
            "importance": {name: dict(shares) for name, shares in self.importance.items()},
        }

    def _told(self, tried: Tried | None) -> dict[str, Any] | None:
        if tried is None or tried.point is None:
            return None
        point = tried.point
        return {
            "hyper": self.quest.hyper(tried.hyper),
            "number": tried.number,
            "source": point.source,
            "target": point.target,
            "avg": point.avg,
        }


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a table of what was found, validation scores x 100."""
    yield from text_table([_HEADS, *map(_cells, outcomes)], left={0, len(_HEADS) - 1}, least=_WIDTHS, gap=" ")
    if stopped := sum(outcome.stopped for outcome in outcomes):
        trained = sum(outcome.updates for outcome in outcomes)
        saved = sum(outcome.saved for outcome in outcomes)
        yield f"Stopped early: {stopped}; {saved} of {trained} updates were not trained ({saved / trained:.0%})."
    yield from importance_lines(outcomes)
    yield "Validation scores x 100; the test splits were not read. bench run --tuned runs what was chosen."


def importance_lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a line per quest: how much of Avg's variance each hyperparameter explains."""
    for outcome in outcomes:
        shares = outcome.importance.get("avg", {})
        if len(shares) < 2:  # one has all of it, whatever it does
            continue
        listed = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        count = sum(tried.point is not None for tried in outcome.tried)
        yield f"{outcome.label}: what mattered for Avg: {listed}; with {count} configurations this is a hint, no more."


def _cells(outcome: Outcome) -> Sequence[str]:
    counts = (len(outcome.tried), outcome.failed, outcome.stopped, len(outcome.front))
    points = (_scores(outcome.default), _scores(outcome.chosen))
    return (
        f"{outcome.label} ",
        *map(str, counts),
        f"{outcome.hypervolume:.3f}",
        *points,
        f" {_settings(outcome.chosen)}",
    )


def _scores(tried: Tried | None) -> str:
    if tried is None or tried.point is None:
        return "-"
    return f"{100 * tried.point.source:.1f} / {100 * tried.point.target:.1f} / {100 * tried.point.avg:.1f}"


def _settings(tried: Tried | None) -> str:
    if tried is None:
        return "every configuration failed"
    return ", ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in tried.hyper.items())
