"""Draw the losses of the trainings of a plan: a panel per target and rank, a line per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.leaderboard import plots, scatter
from bench.plan.plan import Plan
from bench.plan.row_key import RowKey
from bench.store.run_folder import Store
from bench.values.trial import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL = (3.5, 2.6)  # inches
_LEGEND = 2.3
_POINTS = 60  # a line's points, each the mean of neighbouring updates

Lines = Mapping[RowKey, Sequence[float]]


def draw(made: Plan, store: Store, target: str, looks: Mapping[RowKey, Mapping[str, object]]) -> Figure | None:
    """Return the figure of a target, or None if no row trained for it. Controls are left out."""
    found: dict[int, dict[RowKey, list[list[float]]]] = {}
    for cell in made.cells:
        trial = cell.trial
        shown = trial.target == target and not cell.key.control and not trial.is_edit
        if shown and trial.rank is not None and (losses := _losses(trial, store)):
            found.setdefault(trial.rank, {}).setdefault(cell.key, []).append(losses)
    if not found:
        return None
    handles: dict[str, Any] = {}
    with plots.style():
        figure = plots.figure(len(found) * _PANEL[0] + _LEGEND, _PANEL[1] + 0.3)
        panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for axes, (rank, rows) in zip(panels, sorted(found.items()), strict=True):
            for key, by_seed in rows.items():
                steps, means = _binned(_mean(by_seed))
                look = {name: value for name, value in looks[key].items() if name == "color"}
                dashed = "--" if key.variant else "-"
                (line,) = axes.plot(steps, means, dashed, label=key.name, linewidth=1.2, **look)
                line.set_gid(scatter.gid_of(key))
            axes.set(title=f"{target}, rank {rank}", xlabel="update")
            handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        panels[0].set(ylabel="training loss", ylim=(0, None))
        figure.legend(list(handles.values()), list(handles), loc="outside right upper")
    return figure


def _losses(trial: Trial, store: Store) -> list[float]:
    """Return the losses of a training that is done; a failed one has only a part of them."""
    record = store.read(trial)
    return store.change_of(trial).losses() if record is not None and record.status == "done" else []


def _mean(by_seed: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the mean over seeds of each update; a value that is not finite counts as missing."""
    longest = max(map(len, by_seed))
    table = np.full((len(by_seed), longest), np.nan)
    for line, losses in zip(table, by_seed, strict=True):
        line[: len(losses)] = np.where(np.isfinite(losses), losses, np.nan)
    known = ~np.isnan(table)
    mean: np.ndarray = np.where(known, table, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return mean


def _binned(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and means of at most ``_POINTS`` groups of neighbouring updates."""
    parts = np.array_split(np.arange(len(losses)), min(_POINTS, len(losses)))
    return np.array([part.mean() + 1 for part in parts]), np.array([losses[part].mean() for part in parts])
