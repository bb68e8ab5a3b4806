"""Show a finished run again if nothing that it follows from has changed: nothing is planned, and nothing is written.

A run notes what its reports were made from: the installed code, its cells and its records. Its command says the rest.
Only cells whose outline can be remembered (``bench.cli.remembered``) are shown in this way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.remembered import key_of, remembered
from bench.cli.reports import filled_board, print_board
from bench.cli.which_run import tell_larger
from bench.console import say
from bench.plugins.registry import installed
from bench.store.run_folder import Store
from bench.store.runs import Run, latest_run, read_runs
from bench.text import counted
from bench.track.client import database_is_here
from bench.values.canonical import digest
from bench.values.record import Record

if TYPE_CHECKING:
    from bench.cli.run import RunOptions
    from bench.leaderboard.outline import Outline


def with_reports(run: Run, asked: RunOptions, store: Store, paths: Sequence[Path], *, whole: bool) -> Run:
    """Return the note of a finished run with the files of its reports and with what they were made from.

    Reports are made again by the next command if they are not ``whole``, because one could not be written.
    """
    outline = remembered(asked) if run.kind == "run" and whole else None
    made = "" if outline is None else _made_from(asked, store.read_all(outline.trials))
    return replace(run, made_from=made, files=tuple(str(path.relative_to(store.root)) for path in paths))


def _made_from(asked: RunOptions, records: Mapping[str, Record]) -> str:
    """Return the digest of what the reports of a run follow from, or "" if they also follow from other files.

    Those are the scores of --rewind, and the code of reports that are not of this package.
    """
    key = None if asked.rewind is not None else key_of(asked)
    if key is None or not all(
        point.value.startswith("bench.") for points in installed("report").values() for point in points
    ):
        return ""
    by_trial = {name: record.to_json() for name, record in sorted(records.items())}
    return digest([key, by_trial])


def shown_again(run: Run, asked: RunOptions, store: Store) -> bool:
    """Print the tables of a run if it is the latest, is finished, and its reports are current; return whether it is.

    ``run`` is the note that the command would start with.
    """
    outline = remembered(asked)
    if outline is None or not database_is_here(store.root):  # else MLflow may lack the records
        return False
    noted = next((each for each in read_runs(store) if each.name == run.name), None)
    if noted is None or not (noted.finished and noted.made_from) or noted.command != run.command:
        return False
    records = store.read_all(outline.trials)
    if latest_run(store) != noted.name or not _complete(outline, records):
        return False
    if noted.made_from != _made_from(asked, records):
        return False
    if not all((store.root / name).is_file() for name in noted.files):
        return False
    say(
        f"{counted(len(outline.cells), 'cell')}; cached: {len(records)} of {len(records)} trials. Nothing has changed "
        "since the reports were written, so nothing is written again."
    )
    print_board(filled_board(outline, store, noted.command, mixed=asked.mix, sort=asked.sort))
    tell_larger(noted, store, store.census)
    say(f"The reports are in {asked.output / noted.reports}. Open {asked.output / noted.files[-1]} in a browser.")
    return True


def _complete(outline: Outline, records: Mapping[str, Record]) -> bool:
    """Whether every cell has every score that it shows."""
    for cell in (outline.zero_shot, *outline.cells):
        record = records.get(cell.trial.id)
        if record is None or record.lacks(outline.asked[cell.trial.target]):
            return False
    return True
