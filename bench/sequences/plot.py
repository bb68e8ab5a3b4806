"""Draw AP after each stage: a figure per rank, a panel per order, a line per row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.leaderboard import plots
from bench.leaderboard.scatter import gid_of
from bench.leaderboard.stats import bounded
from bench.plan.row_key import RowKey
from bench.sequences.board import SequenceBlock, SequenceBoard, SequenceRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS = (1, 2, 3, 2)  # panels in a row of the figure, by their number; three if there are more
_METHODS, _CONTROLS = plots.MARKS[:-2], plots.MARKS[-2:]  # controls are grey and black
_PANEL = (4.2, 3.2)  # inches
_TICK = 0.8  # inches for the name of a task
_LEGEND = 3.4  # inches to the right of the panels
_LINE = 0.19  # inches for a line of the legend
_APART = 0.4  # of a stage, over which the rows are spread so that their intervals do not hide each other


def save_plot(board: SequenceBoard, folder: Path) -> list[Path]:
    """Save a figure for each rank and connector as PNG and SVG, with its numbers as CSV; return the paths."""
    written: list[Path] = []
    for (rank, connector), blocks in _figures(board).items():
        name = _name(board, rank, connector)
        with plots.style():
            across = _ACROSS[len(blocks) - 1] if len(blocks) <= len(_ACROSS) else max(_ACROSS)
            down = ceil(len(blocks) / across)
            wide = max(_PANEL[0], _TICK * len(board.tasks))
            looks = _looks(blocks)
            lines = sum(_label(key).count("\n") + 1 for key in looks)
            figure = plots.figure(across * wide + _LEGEND, max(down * _PANEL[1], lines * _LINE) + 0.4)
            panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel().tolist()
            for block, axes in zip(blocks, panels, strict=False):
                _draw(axes, block, looks)
            for axes in panels[len(blocks) :]:
                axes.set_axis_off()
            for axes in panels[: len(blocks) : across]:
                axes.set_ylabel("mean score of the tasks so far (x100)")
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside right upper", handlelength=5)
            figure.suptitle(_title(board, rank, connector), x=0.01, ha="left")
            written += plots.save(figure, folder, name)
        written.append(plots.save_data(_frame(blocks), folder, name))
    return written


def figure_titles(board: SequenceBoard) -> dict[str, str]:
    """Return what each figure shows, by the name of its files."""
    several = len(board.connectors) > 1
    return {
        _name(board, rank, connector): f"Rank {rank}, connector {connector}" if several else f"Rank {rank}"
        for rank, connector in _figures(board)
    }


def _name(board: SequenceBoard, rank: int, connector: str) -> str:
    policy = f"-{connector}" if len(board.connectors) > 1 else ""
    return f"sequence-r{rank}{policy}"


def _figures(board: SequenceBoard) -> dict[tuple[int, str], list[SequenceBlock]]:
    found: dict[tuple[int, str], list[SequenceBlock]] = {}
    for block in board.blocks:
        found.setdefault((block.rank, block.connector), []).append(block)
    return found


def _title(board: SequenceBoard, rank: int, connector: str) -> str:
    seeds = f"{len(board.seeds)} seeds" if len(board.seeds) > 1 else f"seed {board.seeds[0]}"
    return f"AP after each stage\n{board.heading.suite}, rank {rank}, connector {connector}, {seeds}"


def _drawn(block: SequenceBlock) -> Iterator[SequenceRow]:
    """Yield the rows that a panel shows: those with an AP after some stage, without the base model."""
    yield from (row for row in block.rows if row.key.rank is not None and any(each.average for each in row.stages))


def _looks(blocks: Sequence[SequenceBlock]) -> dict[RowKey, dict[str, Any]]:
    """Return the keywords for the line of every row, the same in all panels; no two rows look alike."""
    keys = dict.fromkeys(row.key for block in blocks for row in _drawn(block))
    found: dict[RowKey, dict[str, Any]] = {}
    rounds = ((False, _METHODS, ("-", ":", "-.")), (True, _CONTROLS, ("--", "-.")))
    for control, marks, styles in rounds:
        # a marker's filling tells apart rows that have a single point, and so no line
        fillings = dict(zip(styles, ("full", "none", "left"), strict=False))
        looks = cycle(
            {**mark.line, "linestyle": style, "fillstyle": fillings[style]} for style in styles for mark in marks
        )
        found |= dict(zip((key for key in keys if key.control == control), looks, strict=False))
    return found


def _draw(axes: Axes, block: SequenceBlock, looks: Mapping[RowKey, Mapping[str, Any]]) -> None:
    for place, (key, look) in enumerate(looks.items()):
        shift = _APART * (place / max(1, len(looks) - 1) - 0.5)
        row = next((each for each in _drawn(block) if each.key == key), None)
        values = [bounded("ap", stage.average) for stage in row.stages] if row else []
        value, low, high = (
            np.array([each[name] for each in values], dtype=float) for name in ("ap", "ap_low", "ap_high")
        )
        bar = axes.errorbar(
            np.array([stage.number for stage in row.stages] if row else []) + shift,
            100 * value,  # a stage without a score is NaN, which breaks the line
            yerr=100 * np.stack([value - low, high - value]),
            label=_label(key),
            elinewidth=0.9,
            capsize=2,
            **look,
        )
        for artist in (bar.lines[0], *bar.lines[1], *bar.lines[2]):
            artist.set_gid(gid_of(key))
    names = [f"{number}\n{task.replace('_', chr(10))}" for number, task in enumerate(block.order, 1)]
    axes.set_xticks(range(1, len(block.order) + 1), names)
    axes.set(xlabel="stage, and the task that it learns", xlim=(0.6, len(block.order) + 0.4))


def _label(key: RowKey) -> str:
    given = f"\n{key.given}" if key.given else ""
    return (f"({key.name})" if key.control else key.name) + given


def _frame(blocks: Sequence[SequenceBlock]) -> pd.DataFrame:
    lines = [
        {
            "order": " ".join(block.order),
            "method": row.key.method,
            "variant": row.key.variant,
            "stage": stage.number,
            "learnt": stage.task,
            **bounded("ap", stage.average),
        }
        for block in blocks
        for row in _drawn(block)
        for stage in row.stages
    ]
    return pd.DataFrame(lines)
