"""``bench run``: train, evaluate and rank methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.cli.options import Cells, Command, Mix, Output, Starts
from bench.cli.reports import board as board_of
from bench.cli.reports import list_failures, print_board, write_reports
from bench.cli.request import read_request, start_request
from bench.cli.work import check_output, perform
from bench.console import say, tell
from bench.lanes.setup import note_data
from bench.plan.baselines import finish, make
from bench.plan.listing import listing, summary
from bench.plan.plan import Plan
from bench.store import last_run
from bench.store.last_run import Last
from bench.store.places import staged
from bench.store.run_folder import Store
from bench.track import Mirror


@dataclass(frozen=True, kw_only=True)
class RunOptions(Mix, Starts, Output, Cells, Command):
    """The options of ``bench run``."""


def run(options: RunOptions) -> int:
    """Train, evaluate and rank methods, and skip what the store already has."""
    launch = options.launch(options.lanes)
    check_output(options.output, options.lanes)
    asked = (read_request if options.dry_run else start_request)(options, options.output)
    store = Store(options.output.resolve())
    store.check()
    if options.dry_run:
        tell(listing(make(asked, store)))
        return 0
    with store.locked():
        made = make(asked, store)
        say(summary(made))
        last_run.save(store, Last(options.line, options.selection()))
        note_data(asked, store)
        with Mirror(store, made, options.line) as mirror:
            made = finish(made, store, partial(perform, store=store, launch=launch, mirror=mirror))
            board = board_of(made, store, options.line, mixed=options.mix)
            tradeoff = _curves(made, store, mixed=options.mix)
            paths = [*write_reports(board, store.root), *tradeoff.paths]
            mirror.finish(board, paths)
    print_board(board)
    tell(tradeoff.lines)
    for path in paths:
        say(f"wrote {path}")
    return list_failures(made, store)


@dataclass(frozen=True, slots=True)
class _Curves:
    paths: Sequence[Path] = ()
    lines: Sequence[str] = ()


def _curves(made: Plan, store: Store, *, mixed: bool) -> _Curves:
    """Draw the trade-off curves if ``--rewind`` asks for them."""
    if not made.request.strengths:
        return _Curves()
    from bench.leaderboard import tradeoff

    found, folder = tradeoff.read(made, store), store.root / tradeoff.FOLDER
    with staged(folder) as here:
        names = [path.name for path in tradeoff.write(found, here)]
    return _Curves([folder / name for name in names], list(tradeoff.lines(found, mixed=mixed)))
