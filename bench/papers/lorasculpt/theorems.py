"""Compare LoRASculpt's theorems with random masks, a line per shape, rank, density and mask."""

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
    *("delta", "beyond", "allowed", "exact_k_delta", "exact_k_beyond", "eq_34", "bound"),
)
_HEADS = (
    *("p", "q", "r", "s", " mask", "predicted", "exact", "mean", "s.e.", "|d-E d|"),
    *("3.2: delta", "beyond", "exact k: delta", "beyond"),
)
_WIDTHS = (5, 5, 4, 6, 10, 9, 7, 7, 7, 7, 11, 6, 15, 6)
ALLOWED = 0.05  # the share of draws that may lie beyond a bound's delta

_ERRORS = 4  # standard errors that a mean may be off
# The chance that a normal mean is off by more. The binomial test has the same level, because there are many lines.
_CHANCE = 6.3e-5
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Bound:
    """The delta that at most the share ``ALLOWED`` of draws may reach, and how many draws did."""

    delta: float
    beyond: int
    draws: int

    @property
    def holds(self) -> bool:
        """Whether so many draws beyond delta have a chance of at least 1 in 16,000 by the theorem."""
        return at_least(self.beyond, self.draws, ALLOWED) >= _CHANCE


@dataclass(frozen=True, slots=True)
class TheoremCheck:
    """The theorems' predictions for a case, and the densities of its draws.

    ``predicted`` is 1 - (1 - s_A s_B)^r from the shares that the masks keep: E d by Theorem 3.1 (bernoulli), and the
    bound on E d by Theorem D.1 (uneven). ``exact`` has the moments for the kind of mask; the mean is Eq. 34 for uneven
    masks. ``largest`` is the largest |d - E d|. ``tight`` is our bound for masks of exactly k entries (top-k).
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
        """The distance of the mean from its expectation, in exact standard errors."""
        if self._off <= _ROUNDING:
            return 0.0
        error = math.sqrt(self.exact.variance / self.draws)
        return self._off / error if error else math.inf

    @property
    def mean_holds(self) -> bool:
        """Whether the mean is off by at most 4 standard errors, widened for few draws or rare entries."""
        return self._off <= self._noise

    @property
    def below_bound(self) -> bool:
        """Whether neither E d nor the mean, beyond its noise, is above ``predicted``, as Theorem D.1 says."""
        return self.exact.mean <= self.predicted + _ROUNDING and self.mean <= self.predicted + self._noise

    @property
    def _noise(self) -> float:
        """Four standard errors of the mean, widened as in Bernstein's inequality.

        The widening takes the largest change of d that one entry of a factor causes.
        """
        step = _ERRORS**2 / 2 * max(1 / self.case.rows, 1 / self.case.columns) / (3 * self.draws)
        spread = _ERRORS**2 * self.exact.variance / self.draws
        return step + math.sqrt(step**2 + spread) + _ROUNDING  # rounding counts if all draws are the same

    @property
    def empty(self) -> bool:
        """Whether Theorem 3.2's delta is larger than any possible |d - E d|."""
        return self.bound.delta > max(self.exact.mean, 1 - self.exact.mean)

    @property
    def holds(self) -> bool:
        """Whether the draws contradict no theorem."""
        return self.statement_holds and self.bound.holds

    @property
    def statement_holds(self) -> bool:
        """Whether the draws agree with what is stated for their kind of mask: Theorem 3.1 or D.1, or our statement."""
        bounded = self.below_bound if self.case.mask == "uneven" else self.tight is None or self.tight.holds
        return self.mean_holds and bounded

    @property
    def _off(self) -> float:
        return abs(self.mean - (self.predicted if self.case.mask == "bernoulli" else self.exact.mean))


def measure(case: Case, draws: int, seed: int) -> TheoremCheck:
    """Draw ``draws`` pairs of masks for a case, and compare them with the theorems."""
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
        return 1.0  # an upper bound; the true value is at least a half, and no caller needs it
    log, rest = math.log(share), math.log1p(-share)
    ways = (math.lgamma(draws + 1) - math.lgamma(k + 1) - math.lgamma(draws - k + 1) for k in range(count, draws + 1))
    return math.fsum(math.exp(way + k * log + (draws - k) * rest) for k, way in enumerate(ways, count))


def table(findings: Sequence[TheoremCheck]) -> Iterator[str]:
    """Yield the findings as lines of one width, and a legend."""
    yield from text_table([_HEADS, *map(_cells, findings)], left={4}, least=_WIDTHS, gap=" ")
    yield ""
    yield "B is p x r, and A is r x q. s: the share of its entries that each of them keeps. d: the density of BA."
    yield "bernoulli: each entry is kept independently, with probability s."
    yield "top-k: exactly floor(s n) of n entries are kept, as in LoRASculpt. s_A and s_B are these shares."
    yield "uneven: as bernoulli, but B's rows and A's columns have different probabilities, with mean s."
    yield "predicted: 1 - (1 - s_A s_B)^r. It is E d for bernoulli masks, and an upper bound on E d for uneven masks."
    yield "exact: E d for the kind of mask. For uneven masks it is Eq. 34 of the paper."
    yield f"mean, s.e.: the mean of d over {findings[0].draws:,} draws, and its standard error."
    yield "|d-E d|: the largest of all draws."
    yield f"delta: at most {ALLOWED:.0%} of the draws may reach it. beyond: the share of the draws that did."


def _cells(found: TheoremCheck) -> Sequence[str]:
    case = found.case
    numbers = (found.predicted, found.exact.mean, found.mean, found.standard_error, found.largest)
    return (
        *(f"{case.rows}", f"{case.columns}", f"{case.rank}", f"{case.density:.4g}", f" {case.mask}"),
        *(f"{number:.5f}" for number in numbers),
        *_bound_cells(found.bound),
        *(_bound_cells(found.tight) if found.tight else ("-", "-")),
    )


def _bound_cells(bound: Bound) -> tuple[str, str]:
    return f"{bound.delta:.4f}", f"{bound.beyond / bound.draws:.1%}"


def verdicts(findings: Sequence[TheoremCheck]) -> Iterator[str]:
    """Yield a verdict per theorem: in how many lines it holds, and how close the draws come to it."""
    by_mask = {mask: [found for found in findings if found.case.mask == mask] for mask in formulas.MASKS}
    independent, exactly, uneven = by_mask["bernoulli"], by_mask["top-k"], by_mask["uneven"]
    gap = max(abs(found.predicted - found.exact.mean) for found in exactly)
    closest = max(found.largest / found.bound.delta for found in findings)
    below = [found.predicted - found.exact.mean for found in uneven]
    yield ""
    yield f"Theorem 3.1 {_held([found.statement_holds for found in independent])} of bernoulli masks."
    yield f"  E d = 1 - (1 - s_A s_B)^r. The mean is off by at most {_furthest(independent)}."
    yield f"  For top-k masks, the formula is off by at most {gap:.5f}."
    yield f"Theorem 3.2 {_held([found.bound.holds for found in findings])} of all masks."
    yield (
        "  P(|d - E d| >= delta) <= 2 exp(-2 delta^2 p q / (r (p + q))). "
        f"{_beyond([found.bound for found in findings])}."
    )
    yield (
        f"  The furthest draw is at {closest:.0%} of its delta. {sum(found.empty for found in findings)} deltas are so "
        "large that no draw can reach them."
    )
    yield f"Theorem D.1 {_held([found.statement_holds for found in uneven])} of uneven masks."
    yield "  E d = (1 / (p q)) sum_ij [1 - (1 - s_Bi s_Aj)^r] (Eq. 34) <= 1 - (1 - s_A s_B)^r."
    yield f"  The mean is off Eq. 34 by at most {_furthest(uneven)}."
    yield f"  Eq. 34 is {min(below):z.5f} to {max(below):z.5f} below the bound."
    yield (
        "Our statement for exactly k entries (not the paper's) "
        f"{_held([found.statement_holds for found in exactly])} of top-k masks."
    )
    yield "  E d is computed exactly, and |d - E d| is bounded as in Theorem 3.2 with s r in place of r."
    yield (
        f"  The mean is off by at most {_furthest(exactly)}. "
        f"{_beyond([found.tight for found in exactly if found.tight])}."
    )


def _held(held: Sequence[bool]) -> str:
    verdict = "holds" if all(held) else "is CONTRADICTED, because it holds only"
    return f"{verdict} in {sum(held)} of {len(held)} lines"


def _furthest(findings: Sequence[TheoremCheck]) -> str:
    return f"{max(found.errors_off for found in findings):.1f} standard errors"


def _beyond(bounds: Sequence[Bound]) -> str:
    return (
        f"{sum(bound.beyond for bound in bounds):,} of {sum(bound.draws for bound in bounds):,} draws are beyond delta"
    )


def as_csv(findings: Sequence[TheoremCheck]) -> str:
    """Return the findings as CSV with one row per line of the table, at full precision."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for found in findings:
        case, tight, uneven = found.case, found.tight, found.case.mask == "uneven"
        rows.writerow(
            [case.rows, case.columns, case.rank, case.density, case.mask, case.density_b, case.density_a, found.draws]
            + [found.predicted, found.exact.mean, found.mean, found.standard_error, found.largest]
            + [found.bound.delta, found.bound.beyond, ALLOWED]
            + ([tight.delta, tight.beyond] if tight else ["", ""])
            + ([found.exact.mean, found.predicted] if uneven else ["", ""])
        )
    return text.getvalue()
