"""Gather what the page of a run shows: tables, figures, changed examples, environments and commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from bench.environment import known_facts
from bench.leaderboard import scatter, tradeoff
from bench.leaderboard.tables import Leaderboard
from bench.page import losses, ranking
from bench.page.browser import OF_RUNS, with_browser
from bench.page.changed import changed_tasks
from bench.page.page import Page, Section
from bench.page.rows import PageRows
from bench.page.svg import inline, themed
from bench.plan.plan import Plan
from bench.store.run_folder import Store
from bench.text import shareable
from bench.values.record import Record
from bench.values.trial import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.sequences.board import SequenceBoard

Repeat = Callable[[Record], str]  # the command that repeats a trial


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure of a page: a title, the ``<svg>``, and a sentence on how to read it."""

    title: str
    svg: Markup
    says: str = ""


def run_page(
    board: Leaderboard, made: Plan, store: Store, figures: Sequence[Path], repeat: Repeat, title: str = ""
) -> Page:
    """Return the page of a run, or of a study with a ``title``.

    ``figures`` are files that it has written, such as its trade-off curves, of which SVG files are shown.
    """
    rows = PageRows.of_board(board)
    tables, tasks = ranking.tables(board, rows), changed_tasks(made, store, rows)
    named = ((rows.id(cell.key), cell.key.label, cell.trial) for cell in made.cells)
    sections = [
        Section("leaderboard", "Leaderboard", "leaderboard.html", {"board": board, "tables": tables}),
        *figure_section("tradeoff", "Source against Target", _scatters(board, rows)),
        *figure_section("curves", "Figure" if title else "Trade-off curves", _files(board, rows, figures, title)),
        Section("kept", "What each source kept", "kept.html", {"tables": tables}),
        *figure_section("losses", "Losses", _losses(board, made, store, rows)),
        *figure_section("costs", "Cost against Avg", _costs(board, rows)),
        *closing(board, "the highest number of its rank", origin(made, store, named, repeat)),
    ]
    title = title or f"{board.heading.suite}: {', '.join(table.target for table in board.tables)}"
    return with_browser(page_of(board, title, sections, rows), "kept", made.request, tasks, rows, OF_RUNS)


def closing(board: Leaderboard | SequenceBoard, best: str, origin: Mapping[str, object]) -> tuple[Section, Section]:
    """Return the last sections of every page: what its numbers say, and where they come from."""
    reading = {"board": board, "best": best}
    return (
        Section("reading", "What the numbers say, and what they do not", "reading.html", reading),
        Section("origin", "Environment and commands", "origin.html", origin),
    )


def page_of(board: Leaderboard | SequenceBoard, title: str, sections: Sequence[Section], rows: PageRows) -> Page:
    """Return a page with the heading of a board and the filters of its rows."""
    return Page(
        title=title,
        setting=board.setting,
        command=board.heading.command or "",
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        sections=sections,
        names=rows.names,
        ranks=rows.ranks,
        rows=rows.as_json(),
    )


def figure_section(anchor: str, title: str, found: Iterator[Drawn]) -> Iterator[Section]:
    """Yield a section with figures if there are any."""
    if figures := list(found):
        yield Section(anchor, title, "figures.html", {"figures": figures})


def _scatters(board: Leaderboard, rows: PageRows) -> Iterator[Drawn]:
    says = (
        "Right is better at the new task, up is better at the old ones. Bars are 95 % intervals. The dotted line is "
        "Source before training. The grey steps join the rows that no other ranked row exceeds in both numbers."
    )
    for number, table in enumerate(board.tables):
        made = scatter.draw(board, [table.target])
        yield from _drawn(made, f"s{number}", rows, f"Source against Target for {table.target}", says)


def _files(board: Leaderboard, rows: PageRows, paths: Sequence[Path], title: str) -> Iterator[Drawn]:
    """Yield the figure of a study with its ``title``, or the trade-off curves of a run."""
    if title:
        return written(paths, rows, {path.stem: title for path in paths})
    titles = {
        tradeoff.figure_name(table.target, row.rank): f"Trade-off curves of {table.target}, rank {row.rank}"
        for table in board.tables
        for row in table.rows
    }
    says = (
        "A line scales a row's change back, from the whole change to the base model (the large dot). Right is better "
        "at the new task, up is better at the old ones. Bands are 95 % intervals of Source."
    )
    return written(paths, rows, titles, says)


def _costs(board: Leaderboard, rows: PageRows) -> Iterator[Drawn]:
    for number, table in enumerate(board.tables):
        made = scatter.draw_costs(board, [table.target])
        says = "Seconds on the machine that ran it. An edit after a training counts only its own seconds."
        yield from _drawn(made, f"c{number}", rows, f"Training time against Avg for {table.target}", says)


def _losses(board: Leaderboard, made: Plan, store: Store, rows: PageRows) -> Iterator[Drawn]:
    looks = scatter.looks(board)
    for number, table in enumerate(board.tables):
        figure = losses.draw(made, store, table.target, looks)
        says = "The mean over seeds and neighbouring updates. A method's penalty is not part of the loss."
        yield from _drawn(figure, f"l{number}", rows, f"Training loss for {table.target}", says)


def _drawn(figure: Figure | None, name: str, rows: PageRows, title: str, says: str) -> Iterator[Drawn]:
    if figure is not None:
        yield Drawn(title, inline(figure, name, rows.marks, title), says)


def written(paths: Sequence[Path], rows: PageRows, titles: Mapping[str, str], says: str = "") -> Iterator[Drawn]:
    """Yield the figures of the SVG files that a command has written; ``titles`` has those of some by their name."""
    for number, path in enumerate(path for path in paths if path.suffix == ".svg"):
        title = titles.get(path.stem, path.stem.replace("_", " "))
        yield Drawn(title, themed(path.read_text(encoding="utf-8"), f"w{number}", rows.marks, title), says)


def origin(made: Plan, store: Store, named: Iterable[tuple[str, str, Trial]], repeat: Repeat) -> dict[str, object]:
    """Return the facts of the environments, the base model's revision, and the command of every trial.

    ``named`` has the id of a row, or nothing, and a name for each trial.
    """
    environments, commands = [], []
    for row, name, trial in named:
        record = store.read(trial)
        if record is not None and trial.target is not None:
            environments.append(record.environment)
            where = f"{name} · {trial.target} · seed {trial.seed}"
            commands.append((row, where, trial.id, shareable(repeat(record))))
    return {
        "facts": known_facts(environments),
        "model": made.request.suite.model_name,
        "revision": made.zero_shot.model,
        "commands": commands,
        "what": "What the trainings of this table ran with:",
        "repeats": "The command that repeats each trial",
    }
