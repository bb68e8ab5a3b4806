"""``bench study``: an experiment of the paper as one command; trials are shared with every other through the store."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from bench.cli import study_options
from bench.cli.reports import board, list_failures, print_board, write_reports
from bench.cli.work import check_lanes, check_output, note_data, perform
from bench.console import say, tell
from bench.leaderboard import plots
from bench.papers import comparison_text, published, study_record
from bench.papers.lorasculpt import STUDIES
from bench.papers.study import Drawing, Found, Study, folder_of, wrapped
from bench.plan.listing import listing, summary
from bench.plan.plan import assemble
from bench.store import last_run
from bench.store.places import staged
from bench.store.run_folder import Store
from bench.track import Mirror


def study(words: Namespace) -> int:
    """Run an experiment of the paper, and write its table or figure."""
    if words.name == "ls":
        tell(each.line for each in STUDIES.values())
        return 0
    chosen = study_options.find(words.name)
    asked = study_options.read(chosen, words)
    check_lanes(words)
    check_output(words)
    cells = chosen.cells(asked)
    store = Store(words.output.resolve())
    store.check()
    if words.dry_run:
        tell(listing(assemble(asked, cells, store)))
        return 0
    with store.locked():
        made = assemble(asked, cells, store)
        say(summary(made))
        note_data(asked, store)
        study_record.save(folder_of(store, chosen.name), chosen.name, last_run.line(words), made)
        with Mirror(store, made, last_run.line(words)) as mirror:
            perform(made, store, words, mirror)
            ranked = board(made, store, last_run.line(words), mixed=words.mix)
            found = Found(made, store, ranked, published.rows(asked))
            folder = folder_of(store, chosen.name)
            with staged(folder) as here:
                names = [path.name for path in _show(chosen, found, here)]
            paths = [folder / name for name in names]
            mirror.finish(found.board, paths)
    for path in paths:
        say(f"wrote {path}")
    return list_failures(made, store)


def _show(chosen: Study, found: Found, folder: Path) -> Sequence[Path]:
    """Print what was found, and write it into a folder."""
    if chosen.draw is None:
        return _table(chosen, found, folder)
    with plots.style():
        drawing = chosen.draw(found)
    if drawing is None:
        say(f"There is nothing to draw for {chosen.name}: no trial has what it shows.")
        return []
    return _figure(chosen, drawing, folder)


def _table(chosen: Study, found: Found, folder: Path) -> Sequence[Path]:
    """Print the leaderboard, with the published numbers beside it; write both."""
    paths = write_reports(found.board, folder)
    pairs = published.beside(chosen.tables, found)
    paths += comparison_text.write_pairs(pairs, folder) if pairs else []
    links = [f"* [{path.name}]({path.name})" for path in paths]
    paths.append(_page(chosen, folder, chosen.caption, links))
    print_board(found.board)
    tell(["", *wrapped(chosen.caption)])
    if pairs:
        tell(["", *comparison_text.pair_lines(pairs)])
    return paths


def _figure(chosen: Study, drawing: Drawing, folder: Path) -> Sequence[Path]:
    """Write a figure and its numbers; print these, or what sums them up."""
    paths = [*plots.save(drawing.figure, folder, chosen.name), plots.save_data(drawing.frame, folder, chosen.name)]
    body = [f"![{chosen.title}]({chosen.name}.png)", "", "```", *drawing.lines, "```"]
    paths.append(_page(chosen, folder, drawing.caption, body))
    tell([*drawing.lines, "", *wrapped(drawing.caption)])
    return paths


def _page(chosen: Study, folder: Path, caption: str, body: Sequence[str]) -> Path:
    """Write what has to be read with a result into a page of its own."""
    path = folder / f"{chosen.name}.md"
    path.write_text("\n".join([f"# {chosen.title}", "", caption, "", *body]) + "\n", encoding="utf-8")
    return path
