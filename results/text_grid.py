"""Lines of cells for a terminal: aligned in columns, with marks that need no colour."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from bench import Estimate

MARKS = {"best": "*", "tied": "=", "foreign": "†", "": " "}
HOLE = "-"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a line; it is aligned to the right unless it is ``left``."""

    text: str
    style: str = ""
    left: bool = False


Line = Sequence[Cell] | Text  # a line of the grid, or a text that spans all columns


def number(estimate: Estimate | None, mark: str = " ", style: str = "", *, signed: bool = False) -> list[Cell]:
    """Return the cells of a number, with its mark, and of its interval."""
    if estimate is None:
        return [Cell(f"{HOLE} "), Cell("")]
    text = estimate.signed_percent if signed else estimate.percent
    digits = 2 if signed else 1  # a difference is a tie if its ± exceeds it, so both need the same digits
    return [Cell(text + mark, style), Cell(f"±{100 * estimate.half_width:.{digits}f}", left=True)]


def split_head(name: str) -> tuple[str, str]:
    """Split a name into two lines at its first underscore, so that its column stays narrow."""
    upper, _, lower = name.partition("_")
    return (upper, lower) if lower else ("", upper)


def aligned(lines: Sequence[Line], width: int) -> Text:
    """Align the first column and every ``left`` cell to the left, and all other cells to the right."""
    grid = [line for line in lines if not isinstance(line, Text)]
    widths = [max(len(line[i].text) for line in grid) for i in range(len(grid[0]))]
    text = Text()
    for line in lines:
        if isinstance(line, Text):
            line.truncate(width, overflow="ellipsis")
            text.append_text(line)
        else:
            text.append(line[0].text.ljust(widths[0]))
            for cell, size in zip(line[1:], widths[1:], strict=True):
                padded = cell.text.ljust(size) if cell.left else cell.text.rjust(size)
                text.append(" ").append(padded, style=cell.style)
        text.rstrip()
        text.append("\n")
    return text


def wrapped(sentences: Sequence[str], width: int) -> str:
    """Return sentences as lines of at most a width, the second and later lines of a sentence indented."""
    return "".join(textwrap.fill(sentence, width, subsequent_indent="  ") + "\n" for sentence in sentences)
