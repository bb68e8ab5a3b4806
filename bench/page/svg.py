"""Put a figure into a page as SVG: its colours follow the page's theme, and its parts can be hidden by row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from bench.leaderboard import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_THEME = {plots.INK: "ink", plots.FAINT: "faint", plots.GRID: "line", "#ffffff": "paper", "#000000": "ink"}
_COLOR = re.compile("|".join(map(re.escape, _THEME)))
_ID = re.compile(r'\bid="([^"]*)"|(xlink:href="#|url\(#)([^")]*)')


def inline(figure: Figure, name: str, rows: Mapping[str, str], alt: str) -> Markup:
    """Return a figure as an ``<svg>`` element.

    ``name`` makes the ids of the figure differ from those of other figures. ``rows`` has the page's id of each row by
    the id that its parts have in the figure (``bench.leaderboard.scatter.gid``). ``alt`` says what the figure shows.
    """
    text = StringIO()
    plots.plain(figure)
    with plots.style():
        figure.savefig(text, format="svg", metadata={"Creator": None, "Date": None}, transparent=True)
    return themed(text.getvalue(), name, rows, alt)


def themed(svg: str, name: str, rows: Mapping[str, str], alt: str) -> Markup:
    """Return the ``<svg>`` element of a file that matplotlib wrote, in the page's colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = _COLOR.sub(lambda found: f"var(--{_THEME[found[0]]})", body)
    marks = {str(escape(gid)): row for gid, row in rows.items()}

    def renamed(found: re.Match[str]) -> str:
        if found[1] is None:
            return f"{found[2]}{name}-{found[3]}"
        if found[1] in marks:
            return f'data-row="{marks[found[1]]}"'
        return f'id="{name}-{found[1]}"'

    body = _ID.sub(renamed, body)
    head = f'<svg role="img" aria-label="{escape(alt)}"'
    return Markup(body.replace("<svg", head, 1))  # matplotlib has escaped the texts
