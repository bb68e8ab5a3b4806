"""Draw every figure in one style, and save it as PNG and SVG with its numbers as CSV.

Draw inside ``style()``, because matplotlib reads its settings when an artist is made, not when it is drawn.

    with plots.style():
        figure = plots.figure(6, 4)
        axes = figure.subplots()
        axes.scatter(frame["source"], frame["target"], **plots.MARKS[0].scatter)
        plots.save(figure, folder, "front")
    plots.save_data(frame, folder, "front")

The same data give the same bytes with the same version of matplotlib. pyplot and its global figures are not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.text import csv_text

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from pandas import DataFrame

SEQUENTIAL = "cividis"  # a colour map that is readable with and without colour vision, and in grey
FAINT = "#8c8c8c"  # contrast 3.4 to 1 on white, for lines and marks in the background
INK = "#262626"
GRID = "#e4e4e4"

_STYLE: dict[str, Any] = {
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "figure.titlesize": 10.5,
    "font.family": "DejaVu Sans",  # ships with matplotlib, so it is the same everywhere
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.5,
    "savefig.dpi": 150,
    "svg.fonttype": "none",  # text stays text, so it can be searched and edited
    "svg.hashsalt": "bench",
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": INK,
    "ytick.labelsize": 8.5,
}


@dataclass(frozen=True, slots=True)
class Mark:
    """The look of one series: its colour and its marker each distinguish it from the others."""

    color: str
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """Keywords for ``Axes.plot`` and ``Axes.errorbar``."""
        return {"color": self.color, "marker": self.marker}

    @property
    def scatter(self) -> dict[str, Any]:
        """Keywords for ``Axes.scatter``; a white rim separates neighbouring marks."""
        return {"color": self.color, "marker": self.marker, "s": 38, "edgecolors": "white", "linewidths": 0.6}


# Okabe & Ito's colours ("Color Universal Design", 2008), without the yellow, which is hard to see on white.
MARKS = (
    Mark("#0072b2", "o"),
    Mark("#d55e00", "s"),
    Mark("#009e73", "^"),
    Mark("#cc79a7", "D"),
    Mark("#e69f00", "v"),
    Mark("#56b4e9", "P"),
    Mark("#6b6b6b", "X"),
    Mark("#000000", "*"),
)


@contextmanager
def style() -> Iterator[None]:
    """Set the project's style inside the block and restore matplotlib's afterwards; one thread only."""
    import matplotlib

    settings: Any = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    settings |= _STYLE
    with matplotlib.rc_context(settings):
        yield


def shades() -> Colormap:
    """Return a colour map for amounts: ``SEQUENTIAL`` from pale to dark, without its palest end."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap([colormaps[SEQUENTIAL](0.85 * (255 - step) / 255) for step in range(256)], "shades")


def figure(width: float, height: float) -> Figure:
    """Return an empty figure of ``width`` x ``height`` inches whose layout cuts off no text."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height))
    FigureCanvasAgg(made)
    return made


def plain(figure: Figure) -> None:
    """Show texts as they are: a dollar sign in a name does not start a formula. Tick labels of log axes stay."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text) and "\\mathdefault" not in text.get_text():
            text.set_parse_math(False)


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Save a figure as ``name``.png and ``name``.svg in ``folder``, and return both paths.

    The folder is created if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    plain(figure)
    with style():
        figure.savefig(png, metadata={"Software": None})
        figure.savefig(svg, metadata={"Creator": None, "Date": None})
    return png, svg


def save_data(frame: DataFrame, folder: Path, name: str) -> Path:
    """Save the numbers of a figure as ``name``.csv in ``folder``, and return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    path.write_text(csv_text(frame), encoding="utf-8")
    return path
