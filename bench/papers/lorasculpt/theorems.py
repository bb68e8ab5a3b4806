"""LoRASculpt's theorems held against drawn masks, one line a shape, rank, density and kind of mask."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.papers.lorasculpt import theory as formulas
from bench.papers.lorasculpt.theory import Case, Moments
from bench.text import text_table

_COLUMNS = (
    *("rows", "columns", "rank", "density", "mask", "density_b", "density_a", "draws"),
    *("predicted", "exact", "mean", "standard_error", "largest_deviation"),
    *("delta", "beyond", "allowed", "exact_k_delta", "exact_k_beyond"),
)
_HEADS = (
    *("p", "q", "r", "s", " mask", "predicted", "exact", "mean", "s.e.", "|d-E d|"),
    *("3.2: delta", "beyond", "allowed", "D.1: delta", "beyond"),
)
_WIDTHS = (5, 5, 4, 6, 10, 10, 7, 8, 7, 9, 12, 6, 7, 11, 6)
ALLOWED = 0.05  # the share of draws that may lie beyond a bound's delta

_ERRORS = 4  # standard errors that a mean may be off, and
_CHANCE = 6.3e-5  # how rarely a normal's is: the level of the binomial test too, as there are many lines


@dataclass(frozen=True, slots=True)
class Bound:
    """The delta that a theorem lets at most the share ``ALLOWED`` of draws reach, and how many of them did."""

    delta: float
    beyond: int
    draws: int

    @property
    def holds(self) -> bool:
        """Whether so many beyond it are no rarer than one in 16,000 if the theorem is true."""
        return at_least(self.beyond, self.draws, ALLOWED) >= _CHANCE


@dataclass(frozen=True, slots=True)
class TheoremCheck:
    """What the theorems say of a case and what its draws were.

    ``predicted`` is Theorem 3.1's, from the shares that the masks keep; ``exact`` holds for the kind of mask. They
    differ only for top-k masks. ``largest`` is the largest |d - E d|; ``tight`` is D.1's bound, of top-k masks alone.
    """

    case: Case
    draws: int
    predicted: float
    exact: Moments
    mean: float
    standard_error: float
    largest: float
    bound: Bound
    tight: Bound | None

    @property
    def errors_off(self) -> float:
        """How many (exact) standard errors the mean lies from what it should be."""
        error = math.sqrt(self.exact.variance / self.draws)
        return self._off / error if error else 0.0

    @property
    def mean_holds(self) -> bool:
        """Whether the mean is off by no more than 4 standard errors, widened for few draws or rare entries.

        As in Bernstein's inequality, with the most that one entry of a factor can move d.
        """
        step = _ERRORS**2 / 2 * max(1 / self.case.rows, 1 / self.case.columns) / (3 * self.draws)
        spread = _ERRORS**2 * self.exact.variance / self.draws
        return self._off <= step + math.sqrt(step**2 + spread) + 1e-12  # rounding, where every draw is the same

    @property
    def empty(self) -> bool:
        """Whether Theorem 3.2's delta is larger than any |d - E d| could be."""
        return self.bound.delta > max(self.exact.mean, 1 - self.exact.mean)

    @property
    def holds(self) -> bool:
        """Whether no theorem is contradicted."""
        return self.mean_holds and self.bound.holds and (self.tight is None or self.tight.holds)

    @property
    def _off(self) -> float:
        return abs(self.mean - (self.predicted if self.case.mask == "bernoulli" else self.exact.mean))


def measure(case: Case, draws: int, seed: int) -> TheoremCheck:
    """Return what ``draws`` pairs of masks say of a case."""
    found, exact = formulas.simulate(case, draws, seed), formulas.exact_moments(case)
    off = np.abs(found - exact.mean)

    def bound(delta: float) -> Bound:
        return Bound(delta, int(np.count_nonzero(off >= delta)), draws)

    return TheoremCheck(
        case=case,
        draws=draws,
        predicted=formulas.expected_density(case.density_a, case.density_b, case.rank),
        exact=exact,
        mean=float(found.mean()),
        standard_error=float(found.std(ddof=1)) / math.sqrt(draws),
        largest=float(off.max()),
        bound=bound(formulas.deviation_at(ALLOWED, case.rows, case.columns, case.rank)),
        tight=bound(formulas.exact_deviation_at(ALLOWED, case)) if case.mask == "top-k" else None,
    )


def at_least(count: int, draws: int, share: float) -> float:
    """Return P(X >= count) for a binomial X of ``draws`` tries with probability ``share`` each."""
    if count <= draws * share:
        return 1.0  # at least a half in truth, and never asked for
    log, rest = math.log(share), math.log1p(-share)
    ways = (math.lgamma(draws + 1) - math.lgamma(k + 1) - math.lgamma(draws - k + 1) for k in range(count, draws + 1))
    return math.fsum(math.exp(way + k * log + (draws - k) * rest) for k, way in enumerate(ways, count))


def table(findings: Sequence[TheoremCheck]) -> Iterator[str]:
    """Yield the findings as lines of one width."""
    yield from text_table([_HEADS, *map(_cells, findings)], left={4}, least=_WIDTHS, gap=" ")
    yield (
        "d: density of BA; s: share that each factor keeps (top-k: floor(s n) of n, and predicted from that); |d-E d|: "
        "the largest;"
    )
    yield f"delta: what at most {ALLOWED:.0%} of the draws may reach; beyond: how many of {findings[0].draws:,} did."


def _cells(found: TheoremCheck) -> Sequence[str]:
    case = found.case
    numbers = (found.predicted, found.exact.mean, found.mean, found.standard_error, found.largest)
    return (
        *(f"{case.rows}", f"{case.columns}", f"{case.rank}", f"{case.density:.4g}", f" {case.mask}"),
        *(f"{number:.5f}" for number in numbers),
        *(*_bound_cells(found.bound), f"{ALLOWED:.1%}"),
        *(_bound_cells(found.tight) if found.tight else ("-", "-")),
    )


def _bound_cells(bound: Bound) -> tuple[str, str]:
    return f"{bound.delta:.4f}", f"{bound.beyond / bound.draws:.1%}"


def verdicts(findings: Sequence[TheoremCheck]) -> Iterator[str]:
    """Yield one line a theorem: in how many lines it holds, and what a reader should know of it."""
    independent = [found for found in findings if found.case.mask == "bernoulli"]
    exactly = [found for found in findings if found.case.mask == "top-k"]
    gap = max(abs(found.predicted - found.exact.mean) for found in exactly)
    yield (
        f"Theorem 3.1, E d = 1 - (1 - s_A s_B)^r: {_held([found.mean_holds for found in independent])} of bernoulli "
        f"masks (mean off by at most {_furthest(independent)}); as a formula for top-k masks it is off by at most "
        f"{gap:.5f}."
    )
    closest = max(found.largest / found.bound.delta for found in findings)
    yield (
        f"Theorem 3.2, P(|d - E d| >= delta) <= 2 exp(-2 delta^2 p q / (r (p + q))): "
        f"{_held([found.bound.holds for found in findings])} of both masks, {_beyond([f.bound for f in findings])}; "
        f"the furthest draw is at {closest:.0%} of its delta, and {sum(found.empty for found in findings)} deltas are "
        "larger than any |d - E d|."
    )
    tight = [found.tight for found in exactly if found.tight]
    held = [found.mean_holds and found.tight is not None and found.tight.holds for found in exactly]
    yield (
        f"Theorem D.1 (our reading; the paper's text of D.1 was not at hand), exact E d and bound where exactly k "
        f"entries are kept: {_held(held)} of top-k masks (mean off by at most {_furthest(exactly)}), {_beyond(tight)}."
    )


def _held(held: Sequence[bool]) -> str:
    verdict = "holds" if all(held) else "CONTRADICTED: it holds only"
    return f"{verdict} in {sum(held)} of {len(held)} lines"


def _furthest(findings: Sequence[TheoremCheck]) -> str:
    return f"{max(found.errors_off for found in findings):.1f} standard errors"


def _beyond(bounds: Sequence[Bound]) -> str:
    return f"{sum(bound.beyond for bound in bounds):,} of {sum(bound.draws for bound in bounds):,} draws beyond delta"


def as_csv(findings: Sequence[TheoremCheck]) -> str:
    """Return the findings as CSV, a row a line of the table, at full precision."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for found in findings:
        case, tight = found.case, found.tight
        rows.writerow(
            [case.rows, case.columns, case.rank, case.density, case.mask, case.density_b, case.density_a, found.draws]
            + [found.predicted, found.exact.mean, found.mean, found.standard_error, found.largest]
            + [found.bound.delta, found.bound.beyond, ALLOWED]
            + ([tight.delta, tight.beyond] if tight else ["", ""])
        )
    return text.getvalue()
