"""``bench compare``: compare a finished run or sequence with a paper's published table."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.arguments import Command, arg
from bench.cli.chained import chains_of
from bench.cli.options import Mix, Output
from bench.cli.reports import board, sequences
from bench.cli.which_run import OneRun, request_of, shown_run
from bench.console import tell, warn
from bench.errors import UsageError
from bench.papers.comparable import reasons, sources_differ
from bench.papers.comparison_text import FORMS
from bench.plan.chance import counted
from bench.plan.plan import make
from bench.plan.request import Request
from bench.plugins.paper import Paper, SequencePaper
from bench.plugins.registry import Registry
from bench.store.places import local_path

if TYPE_CHECKING:
    from bench.papers.comparison import Comparison


@dataclass(frozen=True, kw_only=True)
class _Compared:
    paper: str = arg("", "the paper, such as lorasculpt", "NAME")
    others: Path | None = arg(
        None, "a run that somebody published with bench publish", "FOLDER", name="--with", type=local_path
    )
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
    """Print a run's or sequence's numbers next to published ones, with a verdict on each.

    Raises:
        UsageError: the run is not comparable, ``--tolerance`` is out of range, or the options do not say what to
            compare with.
    """
    if (options.others is None) == (not options.paper):
        raise UsageError("Give one of --paper NAME and --with FOLDER.")
    if options.others is not None:
        return _with_other(options, options.others)
    paper = Registry().paper(options.paper)
    tolerance = _tolerance(options.tolerance, paper)
    found = _of_run(options, paper, tolerance) if isinstance(paper, Paper) else _of_sequence(options, paper, tolerance)
    tell(FORMS[options.format](found))
    if options.format == "csv":
        for line in (found.summary, *found.remarks):
            warn(line)
    return 0


def _with_other(options: CompareOptions, folder: Path) -> int:
    """Print a run's leaderboard next to the one that somebody published.

    Raises:
        UsageError: the two runs are not comparable.
    """
    from bench.papers import other_run, run_differences  # imported here because a refusal needs no pandas

    if options.format != "table" or options.tolerance is not None:
        raise UsageError("--with prints a table without verdicts. Drop --format and --tolerance.")
    other, store = other_run.read_other(folder), options.store()
    run = shown_run(store, options.output, options.run)
    made = make(request_of(run, options.output), store)
    ours = board(made, store, run.command, mixed=options.mix)
    if differences := list(other_run.refusals(other, ours, made)):
        raise UsageError(f"{folder} cannot be compared with this run: {'; '.join(differences)}.")
    tell(other_run.lines(ours, other, run_differences.differences(other, ours, made)))
    for line in other_run.remarks(other, ours):
        warn(line)
    return 0


def _of_run(options: CompareOptions, paper: Paper, tolerance: float) -> Comparison:
    """Return the comparison of a run's leaderboard with the paper."""
    from bench.papers import comparison  # imported here because a refusal needs no pandas

    store = options.store()
    run = shown_run(store, options.output, options.run, for_what=f"the paper {paper.name}")
    asked = request_of(run, options.output)
    _refuse(paper, asked, options.output)
    made = make(asked, store)
    left_out = counted(asked, store.read(made.zero_shot), made.asked[None]).left_out
    _refuse(paper, asked, options.output, left_out)
    return comparison.compare(paper, board(made, store, run.command, mixed=options.mix), tolerance)


def _of_sequence(options: CompareOptions, paper: SequencePaper, tolerance: float) -> Comparison:
    """Return the comparison of a sequence's tables with the paper."""
    from bench.papers.sequence_comparison import compare_sequences  # imported here because a refusal needs no pandas

    store = options.store()
    run = shown_run(store, options.output, options.run, ["sequence"], f"the paper {paper.name}")
    chains = chains_of(run, options.output)
    _refuse(paper, chains.request, options.output)
    ours = sequences(chains, store, run.command, mixed=options.mix)
    differ = sources_differ(paper, chains.request, ours.left_out) if paper.sources else ()
    return compare_sequences(paper, ours, tolerance, tuple(differ))


def _tolerance(asked: float | None, paper: Paper | SequencePaper) -> float:
    """Return the tolerance in points: the command's if it gives one, else the paper's."""
    if asked is None:
        return paper.tolerance
    if not (math.isfinite(asked) and asked >= 0):
        raise UsageError(f"--tolerance is {asked:g}; give 0 or more points on the scale from 0 to 100.")
    return asked


def _refuse(paper: Paper | SequencePaper, asked: Request, output: Path, left_out: Collection[str] = ()) -> None:
    found = reasons(paper, asked, left_out)
    if found:
        text = f" {found[0]}." if len(found) == 1 else "".join(f"\n  {reason}." for reason in found)
        raise UsageError(f"{output} cannot be compared with the paper {paper.name}:{text}")
