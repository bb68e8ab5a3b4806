"""Print the tables of a sequence, and write them in every report format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.console import warn
from bench.errors import PluginError
from bench.plugins.guard import guarded
from bench.plugins.registry import Registry
from bench.sequences.as_json import as_json
from bench.sequences.board import SequenceBoard
from bench.store.drafts import staged
from bench.store.json_note import json_text

if TYPE_CHECKING:
    from rich.text import Text

FILE = "sequence"
_JSON = f"{FILE}.json"
_TABLE = "table"  # the report for the terminal


def render(board: SequenceBoard, width: int) -> Text:
    """Return the tables with the details that fit a terminal's width; print the text without wrapping it."""
    module: Any = Registry().report(_TABLE).module
    text: Text = module.render_sequences(board, width)
    return text


def write_reports(board: SequenceBoard, folder: Path) -> list[Path]:
    """Write the tables into a folder as JSON and in every report format, and return the files.

    A report without ``write_sequences`` is skipped with a line on stderr.

    Raises:
        PluginError: a report cannot be imported, or two reports write the same file.
    """
    with staged(folder) as here:
        for report in Registry().reports():
            if report.write_sequences is None:
                warn(f"The report {report.name} does not show sequences, because it has no write_sequences.")
                continue
            if (file := report.file_of(FILE)) == _JSON:
                raise PluginError(
                    f"The report {report.name} writes {_JSON}, as the engine does. Give it another SUFFIX."
                )
            with guarded(report.write_sequences):
                report.write_sequences(board, here / file)
        (here / _JSON).write_text(f"{json_text(as_json(board))}\n", encoding="utf-8")
        names = sorted(path.name for path in here.iterdir())
    return [folder / name for name in names]
