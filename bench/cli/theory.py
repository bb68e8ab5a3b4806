"""``bench theory``: draw random masks, and test whether LoRASculpt's theorems hold for them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench.cli.arguments import Command, arg, split_list
from bench.console import say, tell
from bench.errors import UsageError
from bench.papers.lorasculpt.theorems import as_csv, measure, table, verdicts
from bench.papers.lorasculpt.theory import MASKS, Case
from bench.store.drafts import replace_file
from bench.store.places import place
from bench.store.run_folder import Store

FILE = "theory.csv"

_MOST_ENTRIES = 1 << 26  # of both factors; a draw then takes half a gigabyte


@dataclass(frozen=True, kw_only=True)
class TheoryOptions(Command):
    """The options of ``bench theory``."""

    shapes: str = arg("64x64,128x512", "shapes of BA, rows x columns (default: 64x64,128x512)", "PxQ,…")
    ranks: str = arg("4,16,64", "ranks (default: 4,16,64)", "R,…")
    densities: str = arg("0.05,0.1,0.3", "share of entries that A and B keep (default: 0.05,0.1,0.3)", "S,…")
    draws: int = arg(200, "pairs of masks per line (default: 200)", "N", least=2)
    seed: int = arg(0, "random seed of the draws (default: 0)", "N", least=0)
    output: Path | None = arg(None, "folder to write theory.csv to (default: not written)", "DIR|URL", type=place)


def theory(options: TheoryOptions) -> int:
    """Draw masks, print predicted and measured densities, and say whether the theorems hold."""
    cases, store = _cases(options), Store(options.output.resolve()) if options.output else None
    if store:
        store.check()
        store.prepare()
    findings = [measure(case, options.draws, options.seed) for case in cases]
    tell(table(findings))
    tell(verdicts(findings))
    if store:
        replace_file(store.root / FILE, as_csv(findings))
        say(f"wrote {store.root / FILE}")
    return 0 if all(finding.holds for finding in findings) else 1


def _cases(options: TheoryOptions) -> list[Case]:
    """Return every combination that the options name.

    Raises:
        UsageError: a list is empty or malformed, or a number is out of range.
    """
    shapes = split_list("--shapes", options.shapes, _shape, "ROWSxCOLUMNS, whole numbers from 1, as in 64x64,128x512")
    ranks = split_list("--ranks", options.ranks, _whole, "whole numbers from 1, separated by commas")
    densities = split_list(
        "--densities", options.densities, _density, "numbers above 0 and at most 1, separated by commas"
    )
    for (rows, columns), rank in product(shapes, ranks):
        if rank * (rows + columns) > _MOST_ENTRIES:
            raise UsageError(f"{rows}x{columns} of rank {rank} is too large to draw; give a smaller shape or rank.")
    return [
        Case(rows, columns, rank, density, mask)
        for (rows, columns), rank, density, mask in product(shapes, ranks, densities, MASKS)
    ]


def _shape(word: str) -> tuple[int, int]:
    rows, columns = word.lower().split("x")
    return _whole(rows), _whole(columns)


def _whole(word: str) -> int:
    number = int(word)
    if number < 1:
        raise ValueError(word)
    return number


def _density(word: str) -> float:
    number = float(word)
    if not 0 < number <= 1:
        raise ValueError(word)
    return number
