"""``bench compare``: compare a finished leaderboard with a paper's published table."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.cli.arguments import Command, arg
from bench.cli.options import Mix, Output
from bench.cli.reports import board
from bench.cli.which_run import OneRun, request_of, shown_run
from bench.console import say, tell
from bench.errors import UsageError
from bench.papers.comparable import reasons
from bench.papers.comparison_text import FORMS
from bench.plan.chance import counted
from bench.plan.plan import make
from bench.plan.request import Request
from bench.plugins.paper import Paper
from bench.plugins.registry import Registry


@dataclass(frozen=True, kw_only=True)
class _Compared:
    paper: str = arg("", "the paper, such as lorasculpt", "NAME", required=True)
    tolerance: float | None = arg(
        None,
        "a number is reproduced if its interval is within this many points (default: the paper's own)",
        "POINTS",
        type=float,
    )
    format: str = arg("table", "output format (default: table)", choices=tuple(FORMS))


@dataclass(frozen=True, kw_only=True)
class CompareOptions(Output, Mix, OneRun, _Compared, Command):
    """The options of ``bench compare``."""


def compare(options: CompareOptions) -> int:
    """Print a run's numbers next to the published ones, with a verdict on each.

    Raises:
        UsageError: the run is not comparable with the paper, or ``--tolerance`` is out of range.
    """
    from bench.papers import comparison  # imported here because a refusal needs no pandas

    paper: Paper = Registry().paper(options.paper)
    tolerance = _tolerance(options.tolerance, paper)
    store = options.store()
    run = shown_run(store, options.output, options.run)
    asked = request_of(run, options.output)
    _refuse(paper, asked, options.output)
    made = make(asked, store)
    _refuse(paper, asked, options.output, counted(asked, store.read(made.zero_shot), made.asked[None]).left_out)
    ours = board(made, store, run.command, mixed=options.mix)
    found = comparison.compare(paper, ours, tolerance)
    tell(FORMS[options.format](found))
    if options.format == "csv":
        for line in (found.summary, *found.remarks):
            say(line)
    return 0


def _tolerance(asked: float | None, paper: Paper) -> float:
    """Return the tolerance in points: the command's if it gives one, else the paper's."""
    if asked is None:
        return paper.tolerance
    if not (math.isfinite(asked) and asked >= 0):
        raise UsageError(f"--tolerance is {asked:g}; give 0 or more points on the scale from 0 to 100.")
    return asked


def _refuse(paper: Paper, asked: Request, output: Path, left_out: Collection[str] = ()) -> None:
    found = reasons(paper, asked, left_out)
    if found:
        text = f" {found[0]}." if len(found) == 1 else "".join(f"\n  {reason}." for reason in found)
        raise UsageError(f"{output} cannot be compared with the paper {paper.name}:{text}")
