"""Checks of reports, on a fixed leaderboard with a failed, a missing and an incomplete cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.errors import PluginError
from bench.leaderboard.build import build
from bench.leaderboard.cell_scores import NOT_RUN, CellScores
from bench.leaderboard.environments import facts
from bench.leaderboard.heading import Heading
from bench.leaderboard.tables import Leaderboard
from bench.plan.row_key import RowKey
from bench.values.record import Cost

Plugin = Callable[[Leaderboard, Path], Path]

_SOURCES, _TARGET = ("shapes", "digits"), "letters"
_ERROR = "The loss is nan at update 7"


def fixed_leaderboard() -> Leaderboard:
    """Return the leaderboard for the checks: three methods, two ranks, and every problem that can occur.

    At rank 8, ``dora`` was trained with another torch than ``lora``, and ``dare`` failed; at rank 16, ``lora`` lacks
    the scores of one source, and ``dare`` did not run.
    """
    cells = [
        _cell("lora", 8, {"shapes": 0.75, "digits": 0.5, "letters": 0.625}),
        _cell("dora", 8, {"shapes": 0.75, "digits": 0.5, "letters": 0.625}, torch="2.12.1"),
        CellScores(_key("dare", 8), _TARGET, 0, "failed", _ERROR),
        _cell("lora", 16, {"shapes": 0.25, "letters": 0.875}),
        CellScores(_key("dare", 16), _TARGET, 0, "missing", NOT_RUN),
    ]
    untouched = replace(_key("zero_shot", None), ranked=False)
    zero_shot = CellScores(untouched, None, 0, primary=_scores(dict.fromkeys((*_SOURCES, _TARGET), 1.0)))
    heading = Heading(suite="checks", command="bench run --methods lora,dora,dare", environment={"commit": ["0123abc"]})
    return build(cells, zero_shot, sources=_SOURCES, targets=(_TARGET,), heading=heading)


def check_writes_its_file(plugin: Plugin) -> None:
    """A report writes only the path that it is given, and returns this path."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "leaderboard.txt"
        returned = plugin(fixed_leaderboard(), path)
        if returned != path or not path.is_file() or not path.stat().st_size:
            raise PluginError(f"The report returns {returned!r}. Write to the given path, and return that path.")
        others = sorted(item.name for item in Path(folder).iterdir() if item != path)
        if others:
            raise PluginError(f"The report also writes {others[0]}. Write only one file.")


def check_shows_every_row(plugin: Plugin) -> None:
    """A report shows every method, the reference row, and measured scores with their digits."""
    if what := _lacking(plugin, "lora", "dora", "dare", "zero", "62.5", "87.5"):
        raise PluginError(f"The report does not show {what!r}. Write every row of leaderboard.tables.")


def check_shows_holes_and_failures(plugin: Plugin) -> None:
    """A report shows a failed cell, a cell that did not run and a missing score, with the reasons."""
    where = {_ERROR: "Dare failed", NOT_RUN: "Dare did not run", "no scores on": "A score is missing"}
    if problem := _lacking(plugin, *where):
        raise PluginError(f"{where[problem]}, but the report does not say {problem!r}. Write the trouble of every row.")


def check_report_is_stable(plugin: Plugin) -> None:
    """Two reports of one leaderboard have the same bytes."""
    if _bytes(plugin) != _bytes(plugin):
        raise PluginError("Two reports of one leaderboard differ. Write no time, and nothing drawn at random.")


def check_names_other_environments(plugin: Plugin) -> None:
    """A report says what differs if a row and its baseline were trained in different environments."""
    if value := _lacking(plugin, "2.12", "2.13"):
        raise PluginError(
            f"A row was trained with torch 2.12 and its baseline with 2.13, but the report does not say {value}. "
            "Write table.remarks."
        )


def _cell(method: str, rank: int, means: dict[str, float], torch: str = "2.13.0") -> CellScores:
    cost = Cost(train_seconds=12.0, evaluate_seconds=3.0, peak_memory_bytes=1 << 29, trainable_parameters=4096)
    trained = facts([{"torch": torch}], {})
    return CellScores(_key(method, rank), _TARGET, 0, primary=_scores(means), cost=cost, environments=trained)


def _key(method: str, rank: int | None) -> RowKey:
    return RowKey(method, "", rank, "full")


def _scores(means: dict[str, float]) -> dict[str, np.ndarray]:
    return {name: np.repeat([1.0, 0.0], [round(16 * mean), 16 - round(16 * mean)]) for name, mean in means.items()}


def _bytes(plugin: Plugin) -> bytes:
    with TemporaryDirectory() as folder:
        return plugin(fixed_leaderboard(), Path(folder) / "leaderboard.txt").read_bytes()


def _lacking(plugin: Plugin, *wanted: str) -> str | None:
    """Return the first text that a report does not show; None if it shows all, or is a figure or a spreadsheet.

    A number may also be shown as a fraction.
    """
    try:
        text = _bytes(plugin).decode()
    except UnicodeDecodeError:
        return None
    text = " ".join(text.replace("\\_", "_").replace("\\", "").split())
    return next((what for what in wanted if what not in text and _fraction(what) not in text), None)


def _fraction(percent: str) -> str:
    return f"{float(percent) / 100:g}" if percent[0].isdigit() else percent
