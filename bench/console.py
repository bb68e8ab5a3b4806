"""What a command says: results to stdout, all else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench import registry
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.leaderboard import Leaderboard

_PLAIN_WIDTH = 120


def say(text: str) -> None:
    """Write a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def tell(lines: Iterable[str]) -> None:
    """Write lines to stdout."""
    for line in lines:
        print(line)


def agreed(question: str) -> bool:
    """Ask, and return whether the answer is yes; where nobody can answer, it is no."""
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def print_board(board: Leaderboard, form: str = "table") -> None:
    """Print a leaderboard in one of the report formats.

    Raises:
        UsageError: there is no such format, or it is no text.
        PluginError: the report cannot be imported.
    """
    report = registry.load_report(form)
    if form == "table":
        from rich.console import Console

        console = Console(soft_wrap=True)
        console.print(report.module.render(board, console.width if console.is_terminal else _PLAIN_WIDTH))
        return
    with TemporaryDirectory() as folder:
        path = report.write(board, Path(folder) / report.file)
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"The report {form} is no text. bench run writes it to {report.file}.") from error
    print(text, end="")
