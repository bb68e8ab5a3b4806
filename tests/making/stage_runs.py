"""Train stages of a sequence of tasks on the tiny model, with the engine's loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.checks.tiny import RANK, RECIPE, Tiny, tiny
from bench.plugins.method import TrainMethod
from bench.trial.fit import Fitted, fit
from bench.trial.stages import FIRST, Stage
from bench.values.recipe import Recipe

PLAIN = replace(RECIPE, dropout=0.0)


class _Killed(Exception):  # noqa: N818  it simulates a kill signal
    """Ends a training as a kill would."""


def stage_after(fitted: Fitted, method: TrainMethod, number: int) -> Stage:
    """Return stage ``number`` of a sequence, which follows what the stage before has left."""
    kept = {name: value.detach().cpu().clone() for name, value in fitted.handover.kept.items()}
    return Stage(tuple(f"task{place}" for place in range(1, number + 1)), fitted.change, kept, method.folds)


def train_stage(method: TrainMethod, stage: Stage = FIRST, bench: Tiny | None = None, **how: Any) -> Fitted:
    """Train one stage on the tiny model, at its rank and with dropout 0."""
    bench, recipe = bench or tiny(), how.pop("recipe", PLAIN)
    with stage.folded(bench.lessons):
        return fit(method, RANK, 0, recipe, bench.lessons, stage=stage, **how)


def train_stages(make: Callable[[], TrainMethod], count: int, recipe: Recipe = PLAIN) -> list[Fitted]:
    """Train the first stages of a sequence, each by a new instance of the method."""
    done = [train_stage(make(), FIRST, recipe=recipe)]
    for number in range(2, count + 1):
        method = make()
        done.append(train_stage(method, stage_after(done[-1], method, number), recipe=recipe))
    return done


def killed_and_resumed(make: Callable[[], TrainMethod], stage: Stage, folder: Path) -> Fitted:
    """Train a stage that is killed two updates after a checkpoint, and resume it with a new instance of the method."""

    def die(index: int, total: int, loss: float) -> None:
        if index == 5:
            raise _Killed

    how: dict[str, Any] = {"checkpoint": folder / "checkpoint.pt", "every": 3}
    with suppress(_Killed):
        train_stage(make(), stage, progress=die, **how)
    assert how["checkpoint"].is_file()
    return train_stage(make(), stage, **how)
