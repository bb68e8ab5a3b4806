"""Make the leaderboard of a plan from the store, print it, and write it in every report format."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.console import warn
from bench.errors import PluginError, UsageError
from bench.plan.chains import ChainRequest
from bench.plan.chance import counted
from bench.plan.plan import Plan
from bench.plan.request import Request
from bench.plan.words import check_words
from bench.plugins.display import display_name
from bench.plugins.guard import guarded
from bench.plugins.registry import BASELINE, ZERO_SHOT, Registry
from bench.store.drafts import staged
from bench.store.frames import LEADERBOARD, SCORES, scores_frame
from bench.store.json_note import json_text
from bench.store.run_folder import Store
from bench.text import shareable
from bench.values.trial import FIT_VERSION

if TYPE_CHECKING:
    from rich.text import Text

    from bench.leaderboard.heading import Heading
    from bench.leaderboard.outline import Outline
    from bench.leaderboard.tables import Leaderboard
    from bench.sequences.board import SequenceBoard

_PLAIN_WIDTH = 120
JSON = "leaderboard.json"


def board(made: Plan, store: Store, command: str, *, mixed: bool = False, sort: str = "avg") -> Leaderboard:
    """Return the leaderboard of a plan from the scores in the store, sorted within each rank.

    ``command`` is the command that the reports name. ``mixed`` also compares rows whose environments differ.
    """
    return filled_board(outline_of(made), store, command, mixed=mixed, sort=sort)


def outline_of(made: Plan) -> Outline:
    """Return the outline of a plan's leaderboard, without what only one command knows."""
    from bench.leaderboard.from_store import outlined  # imported here because listings need no tables

    return outlined(made, _titled(made.request))


def filled_board(
    outline: Outline, store: Store, command: str, *, mixed: bool = False, sort: str = "avg"
) -> Leaderboard:
    """Return the leaderboard of an outline, with the scores in the store; see ``board``."""
    from bench.leaderboard.from_store import filled
    from bench.leaderboard.ranking import ranked

    found = replace(outline, heading=_headed(outline.heading, store, command, mixed=mixed))
    return ranked(filled(found, store), sort)


def sequences(chains: ChainRequest, store: Store, command: str, *, mixed: bool = False) -> SequenceBoard:
    """Return the tables of a sequence from the scores in the store."""
    from bench.sequences.from_store import sequence_board  # imported here because listings need no pandas

    return sequence_board(chains, store, heading(chains.request, store, command, mixed=mixed))


def heading(request: Request, store: Store, command: str, *, mixed: bool = False) -> Heading:
    """Return the heading of the tables of a request, which names the ``command``."""
    return _headed(_titled(request), store, command, mixed=mixed)


def _headed(titled: Heading, store: Store, command: str, *, mixed: bool) -> Heading:
    return replace(titled, command=shareable(command), mixed=mixed, older=store.census.older)


def _titled(request: Request) -> Heading:
    """Return the heading of the tables of a request, without what only one command knows."""
    from bench.leaderboard.heading import Heading
    from bench.papers.lorasculpt.warmup import suite_settings

    registry = request.registry
    titles = {name: display_name(registry.method(name)) for name in (*request.methods, BASELINE, ZERO_SHOT)}
    for name in (*request.targets, *request.sources):
        task, at, variant = name.partition("@")
        titles[name] = f"{display_name(registry.task_class(task))}{at}{variant}"
    return Heading(request.suite.name, settings=suite_settings(request), titles=titles)


def print_board(board: Leaderboard, form: str = "table") -> None:
    """Print a leaderboard in one of the report formats, or as JSON.

    Raises:
        UsageError: the format does not exist, or is not text.
        PluginError: the report cannot be imported.
    """
    if form == "json":
        from bench.leaderboard.as_json import as_json  # imported here because listings need no pandas

        print(json_text(as_json(board)))
        return
    report = Registry().report(form)
    if form == "table":
        print_text(partial(report.module.render, board))
    else:
        _print_written(form, report.write, board, report.file)


def print_sequences(board: SequenceBoard, form: str = "table") -> None:
    """Print the tables of a sequence in one of the report formats, or as JSON.

    Raises:
        UsageError: the format does not exist, does not show sequences, or is not text.
        PluginError: the report cannot be imported.
    """
    from bench.sequences.as_json import as_json
    from bench.sequences.reports import FILE, render  # imported here because listings need no pandas

    if form == "json":
        print(json_text(as_json(board)))
        return
    report = Registry().report(form)
    if form == "table":
        print_text(partial(render, board))
    elif report.write_sequences is None:
        raise UsageError(
            f"The report {form} does not show sequences, because it has no write_sequences. Use --format table."
        )
    else:
        _print_written(form, report.write_sequences, board, report.file_of(FILE))


def _print_written(form: str, write: Callable[..., Path], board: object, file: str) -> None:
    """Print what a report writes into a file."""
    with TemporaryDirectory() as folder:
        with guarded(write):
            path = write(board, Path(folder) / file)
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"The report {form} is not text and cannot be printed. The run's folder has it as {file}."
            ) from error
    print(text, end="")


def print_text(render: Callable[[int], Text]) -> None:
    """Print what ``render`` makes for the width of the terminal, or for $COLUMNS in a pipe, without wrapping it."""
    from rich.console import Console

    console = Console(soft_wrap=True)
    columns = os.environ.get("COLUMNS", "")
    plain = int(columns) if columns.isdecimal() and int(columns) else _PLAIN_WIDTH
    console.print(render(console.width if console.is_terminal else plain))


def write_reports(board: Leaderboard, folder: Path) -> list[Path]:
    """Write a leaderboard into a folder in every report format, as JSON and as Parquet, and return the files.

    Raises:
        PluginError: a report cannot be imported, or two reports write the same file.
    """
    from bench.leaderboard.as_json import as_json  # imported here because listings need no pandas

    reports = Registry().reports()
    with staged(folder) as here:
        for report in reports:
            if report.file in (JSON, LEADERBOARD):
                raise PluginError(
                    f"The report {report.name} writes {report.file}, as the engine does. Give it another SUFFIX."
                )
            with guarded(report.write):
                report.write(board, here / report.file)
        (here / JSON).write_text(f"{json_text(as_json(board))}\n", encoding="utf-8")
        board.whole_frame().to_parquet(here / LEADERBOARD, index=False)
    return [folder / name for name in (*(report.file for report in reports), JSON, LEADERBOARD)]


def write_scores(made: Plan, store: Store, folder: Path) -> Path:
    """Write the score of every example of a plan's trials into a folder, as Parquet, and return the file."""
    records = (store.read(job.trial) for job in made.jobs)
    with staged(folder) as here:
        scores_frame(store, (record for record in records if record is not None)).to_parquet(here / SCORES, index=False)
    return folder / SCORES


def older_trials(count: int) -> str:
    """Return the sentence on the trials of an older version in a run folder."""
    return (
        f"{count} of the trials are of an older version than {FIT_VERSION}. They can be shown and exported, but no "
        "table uses them. bench clean --trials offers to delete them."
    )


def tell_older(store: Store) -> None:
    """Say how many trials of an older version a run folder has, before their settings are trained again."""
    if count := store.census.older:
        warn(f"{older_trials(count)} What this command needs of them is trained again.")


def tell_unknown_words(asked: Request) -> None:
    """Say which words of a request's tasks its base model does not know, if the base model is on this machine.

    Raises:
        UsageError: the answers of a task that is taught have such words.
    """
    if asked.suite.here():
        for warning in check_words(asked):
            warn(warning)


def tell_sources(made: Plan, store: Store) -> Collection[str]:
    """Say which sources have nothing to forget, if zero-shot is measured; return those that Source leaves out."""
    counting = counted(made.request, store.read(made.zero_shot), made.asked[None])
    for line in counting.lines():
        warn(line)
    return counting.left_out


def list_failures(made: Plan, store: Store) -> int:
    """Print which trials failed and why, and return the exit code."""
    code = 0
    for job in made.jobs:
        record = store.read(job.trial)
        if record is None or record.failed(job.asked):
            reason = f"{record.error} ({store.folder(job.trial)}/error.txt)" if record else "did not run"
            warn(f"failed: {job.trial.label}: {reason}")
            code = 1
    return code
