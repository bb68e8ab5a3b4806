"""The outcome of a search (each quest's configurations, front and choice) and its table."""

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
_WIDTHS = (0, 0, 0, 0, 0, 0, 23, 23)  # wide enough for a point's three scores


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a quest: its configurations, the front, the chosen and the default configuration."""

    quest: Quest
    tried: tuple[Tried, ...]
    front: tuple[Point, ...]
    hypervolume: float
    chosen: Tried | None
    default: Tried | None
    importance: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(cls, quest: Quest, objective: Objective, trials: int) -> Outcome:
        """Read only the first ``trials`` configurations of a quest's study, to keep all budgets equal."""
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
        """How many configurations failed."""
        return sum(item.state == "failed" for item in self.tried)

    @property
    def stopped(self) -> int:
        """How many configurations were stopped early."""
        return sum(item.state == "stopped" for item in self.tried)

    @property
    def saved(self) -> int:
        """How many updates early stops saved."""
        return sum(self.quest.saved(item) for item in self.tried if item.state == "stopped")

    @property
    def updates(self) -> int:
        """How many updates all configurations have without early stops; 0 for an edit method."""
        request = self.quest.request
        return len(self.tried) * len(request.seeds) * request.recipe.updates if self.quest.trains else 0

    @property
    def label(self) -> str:
        """The quest's name for a reader."""
        return self.quest.label

    def to_json(self) -> dict[str, Any]:
        """Return the chosen configuration and the facts behind the choice, as JSON."""
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
    """Yield the lines of the outcomes' table, with validation scores x 100."""
    yield from text_table([_HEADS, *map(_cells, outcomes)], left={0, len(_HEADS) - 1}, least=_WIDTHS, gap=" ")
    if stopped := sum(outcome.stopped for outcome in outcomes):
        trained = sum(outcome.updates for outcome in outcomes)
        saved = sum(outcome.saved for outcome in outcomes)
        yield f"Stopped early: {stopped}; {saved} of {trained} updates were not trained ({saved / trained:.0%})."
    yield from importance_lines(outcomes)
    yield "Validation scores x 100; the test splits were not read. bench run --tuned runs the chosen configurations."


def importance_lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a line per quest, with the share of Avg's variance that each hyperparameter explains."""
    for outcome in outcomes:
        shares = outcome.importance.get("avg", {})
        if len(shares) < 2:  # a single hyperparameter always has the whole share
            continue
        listed = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        count = sum(tried.point is not None for tried in outcome.tried)
        yield f"{outcome.label}: what mattered for Avg: {listed}; {count} configurations give only a hint."


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
