"""``bench compare``: a finished leaderboard beside a paper's published table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from bench.cli.options import Cells, Command, Mix, Output, arg
from bench.cli.reports import board
from bench.cli.request import read_request
from bench.console import say, tell
from bench.errors import UsageError
from bench.papers.comparable import reasons
from bench.plan.plan import make
from bench.plan.request import Request
from bench.plugins.paper import Paper
from bench.plugins.registry import Registry
from bench.store import last_run
from bench.store.run_folder import Store


@dataclass(frozen=True, kw_only=True)
class _Compared:
    paper: str = arg("", "the paper, for instance lorasculpt", "NAME", required=True)
    tolerance: float | None = arg(
        None,
        "points within which a number counts as reproduced (default: the paper's own)",
        "POINTS",
        type=float,
    )
    format: str = arg("table", "default: table", choices=("table", "markdown", "csv"))


@dataclass(frozen=True, kw_only=True)
class CompareOptions(Output, Mix, _Compared, Command):
    """The options of ``bench compare``."""


def compare(options: CompareOptions) -> int:
    """Print the last run's numbers beside the published ones, with a verdict on each; refuse what is not comparable."""
    from bench.papers import comparison, comparison_text  # here: pandas, which refusals do not need

    paper: Paper = Registry().paper(options.paper)
    tolerance = _tolerance(options.tolerance, paper)
    store = Store(options.output.resolve())
    store.check()
    last = last_run.needed(store, options.output)
    asked = read_request(Cells.selected(last.selection), options.output)
    _refuse(paper, asked, options.output)
    ours = board(make(asked, store), store, last.command, mixed=options.mix)
    found = comparison.compare(paper, ours, tolerance)
    tell(comparison_text.FORMS[options.format](found))
    if options.format == "csv":
        for line in (found.summary, *found.remarks):
            say(line)
    return 0


def _tolerance(asked: float | None, paper: Paper) -> float:
    """Return the tolerance in points: the paper's own unless the command gives another."""
    if asked is None:
        return paper.tolerance
    if not (math.isfinite(asked) and asked >= 0):
        raise UsageError(f"--tolerance is {asked:g}; give points of the x100 scale, 0 or more.")
    return asked


def _refuse(paper: Paper, asked: Request, output: Path) -> None:
    found = reasons(paper, asked)
    if len(found) == 1:
        raise UsageError(f"{output} cannot be compared with the paper {paper.name}: {found[0]}.")
    if found:
        lines = "".join(f"\n  {reason}." for reason in found)
        raise UsageError(f"{output} cannot be compared with the paper {paper.name}:{lines}")
