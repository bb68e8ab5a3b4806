"""The axis of a hyperparameter in a figure: a linear or logarithmic range, or a list of choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING

from bench.plugins.hyperparameters import Range
from bench.values.trial import Scalar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONG = 14  # the most characters of a choice's label; longer labels are cut


@dataclass(frozen=True, slots=True)
class SearchAxis:
    """One axis from ``low`` to ``high``; tick labels are values times ``times``.

    The choices of a hyperparameter are placed at 0, 1, 2, …
    """

    name: str
    title: str
    low: float
    high: float
    log: bool = False
    choices: tuple[Scalar, ...] = ()
    times: float = 1.0

    @classmethod
    def of_scores(cls, name: str, values: Sequence[float]) -> SearchAxis:
        """Return an axis of scores, from the lowest to the highest score."""
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        return cls(name, f"{name}\nx 100", low, high, times=100.0)

    def place(self, value: Scalar) -> float:
        """Return a value's position on the axis."""
        if self.choices:
            return float(self.choices.index(value))
        assert isinstance(value, int | float)
        return float(value)

    def share(self, value: Scalar) -> float:
        """Return a value's height as a share of the axis, 0 to 1; 0.5 if the axis has only one value."""
        low, high, place = self.low, self.high, self.place(value)
        if self.log:
            low, high, place = log(low), log(high), log(place)
        return (place - low) / (high - low) if high > low else 0.5

    def set_axis(self, axes: Axes) -> None:
        """Set the x axis of a panel to this axis, with a little room at both ends."""
        from matplotlib.ticker import MaxNLocator, NullFormatter

        if self.choices:
            labels = [_short(choice) for choice in self.choices]
            axes.set_xticks(range(len(labels)), labels, rotation=30 if max(map(len, labels)) > 5 else 0)
            axes.set_xlim(-0.5, len(labels) - 0.5)
            return
        if self.log:
            axes.set_xscale("log")
            axes.set_xticks(*zip(*self._ticks(), strict=True))
            axes.xaxis.set_minor_formatter(NullFormatter())  # minor labels would overlap on less than a decade
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
        if self.high > self.low:
            axes.set_xlim(*self._widened())

    def _widened(self) -> tuple[float, float]:
        if self.log:
            room = (self.high / self.low) ** 0.06
            return self.low / room, self.high * room
        room = 0.06 * (self.high - self.low)
        return self.low - room, self.high + room

    def draw_upright(self, axes: Axes, place: float) -> None:
        """Draw the axis upright at ``place``, with its values next to it."""
        axes.axvline(place, 0.05, 0.95, color="#8c8c8c", linewidth=0.9, zorder=2.5)
        for value, text in self._ticks():
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            where = (place, self.share(value))
            axes.annotate(text, where, (8, 0), textcoords="offset points", va="center", fontsize=8, bbox=box, zorder=3)

    def _ticks(self) -> list[tuple[Scalar, str]]:
        """Return the values to label and their texts: both ends and the middle, or every choice."""
        if self.choices:
            return [(choice, _short(choice)) for choice in self.choices]
        middle = exp((log(self.low) + log(self.high)) / 2) if self.log else (self.low + self.high) / 2
        values = (self.low, middle, self.high) if self.high > self.low else (self.low,)
        form = "{:.1f}" if self.times == 100 else "{:.2g}"
        return [(value, form.format(self.times * value)) for value in values]


def search_axes(space: Mapping[str, Range]) -> list[SearchAxis]:
    """Return an axis per hyperparameter, in the order of the method's fields."""
    return [_axis(name, span) for name, span in space.items()]


def _axis(name: str, span: Range) -> SearchAxis:
    if span.choices:
        return SearchAxis(name, name, 0.0, len(span.choices) - 1.0, choices=span.choices)
    assert span.low is not None
    assert span.high is not None
    return SearchAxis(name, name, span.low, span.high, span.log)


def _short(choice: Scalar) -> str:
    text = str(choice)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
