"""Made-up results of searches, with every state that a configuration can end in; a search that starts less of Ray."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.lanes.setup import Launch
from bench.plan.chance import Counted
from bench.plan.request import Request
from bench.search import run
from bench.search.pareto import front, scored
from bench.store.run_folder import Store
from bench.store.search_results import Configuration, SearchResult

COMMAND = "bench search --methods lora,dare --ranks 4 --output …/runs"


def configurations(reason: str = "out of memory") -> tuple[Configuration, ...]:
    """Number 0 is the default, 3 the best; 1 failed, 2 was stopped."""
    return (
        Configuration(0, {"lr": 0.001, "form": "mean"}, "done", 0.5, 0.25, ("a0",)),
        Configuration(1, {"lr": 0.1, "form": "sum"}, "failed", None, None, ("a1",), reason=reason),
        Configuration(2, {"lr": 0.05, "form": "sum"}, "stopped", None, None, ("a2",), step=7),
        Configuration(3, {"lr": 0.0105, "form": "mean"}, "done", 0.4, 0.75, ("a3",)),
        Configuration(4, {"lr": 0.002, "form": "mean"}, "done", 0.3, 0.3, ("a4",)),
    )


def result(
    method: str = "lora", rank: int = 4, target: str = "new", order: tuple[str, ...] = (), **more: Any
) -> SearchResult:
    """Return the result of a quest; ``more`` replaces its facts."""
    rows = configurations()
    told = {
        item.number: {"number": item.number, "source": item.source, "target": item.target, "avg": item.avg}
        for item in rows
    }
    points = scored(rows)
    facts: dict[str, Any] = {
        "method": method,
        "rank": rank,
        "target": ".".join(order) or target,
        "order": list(order),
        "tried": len(rows),
        "failed": 1,
        "stopped": 1,
        "updates": 20,
        "updates_saved": 13,
        "hypervolume": 0.3,
        "front": [{"number": point.number} for point in front(points)],
        "default": told[0],
        "chosen": told[3],
        "importance": {"avg": {"lr": 0.75, "form": 0.25}},
        "suite": "tiny",
        "model": "0123",
        "recipe": {"updates": 20, "connector": "full"},
        "split": "validation",
        "sources": ["old"],
        "left_out": [],
        "limit": 40,
        "seeds": [0],
        "trials": 5,
        "margin": 5.0,
        "objective": "avg",
        "sampler": "tpe",
        "commit": "0123abc",
        **more,
    }
    space = {"lr": "0.001 to 0.1, log", "form": "mean | sum"}
    return SearchResult(f"{method}-r{rank}-{facts['target']}", COMMAND, space, facts, rows)


def with_reason(of: SearchResult, reason: str) -> SearchResult:
    """Return a result whose failed configuration failed for another reason."""
    return replace(of, configurations=configurations(reason))


def score_here(patch: pytest.MonkeyPatch) -> None:
    """Let searches score the untouched model in this process, for which they would start Ray."""
    counted = run._counted

    def here(request: Request, store: Store, launch: Launch) -> Counted:
        return counted(request, store, replace(launch, lanes=0))

    patch.setattr(run, "_counted", here)
