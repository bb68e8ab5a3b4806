"""Compute the density of BA by LoRASculpt's theorems, and draw random masks (arXiv 2503.16843).

B [rows, rank] and A [rank, columns] keep a share of their entries. The density d of BA [rows, columns] is the share
of its entries that at least one pair of kept entries contributes to. (The paper writes p, q, r for rows, columns, rank,
and calls a kept share the sparsity s.)

Theorem 3.1 is ``expected_density``, Theorem 3.2 is ``deviation_at``, and Theorem D.1 is ``uneven_density``. LoRASculpt
keeps exactly k entries, which is not what the theorems assume. For such masks, the moments in ``exact_moments`` and the
bound ``exact_deviation_at`` are our own statement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
MaskArray = npt.NDArray[np.float32]
Mask = Literal["bernoulli", "top-k", "uneven"]
MASKS: tuple[Mask, ...] = get_args(Mask)  # a mask's place is part of the seed of its draws: add new ones at the end

# The limit of one matrix product. OpenBLAS starts its threads for larger products, and on busy cores the threads wait
# for each other (200 products of 128 x 16 x 512 took 3 s on two threads and 0.01 s on one).
_MULTIPLICATIONS = 1 << 18


def expected_density(density_a: float, density_b: float, rank: int) -> float:
    """Return E d = 1 - (1 - s_A s_B)^r, for factors whose entries are kept independently (Theorem 3.1).

    >>> round(expected_density(0.1, 0.1, 64), 4)
    0.4744
    """
    return 1 - (1 - density_a * density_b) ** rank


def uneven_density(shares_b: FloatArray, shares_a: FloatArray, rank: int) -> float:
    """Return E d = (1 / (p q)) sum_ij [1 - (1 - s_Bi s_Aj)^r], for shares that vary (Theorem D.1, Eq. 34).

    Row i of B keeps each entry independently with probability ``shares_b[i]``, and column j of A with ``shares_a[j]``.
    By Theorem D.1, E d is at most ``expected_density`` of the mean shares: 1 - (1 - x)^r is concave, and the mean of
    s_Bi s_Aj over all i and j is s_B s_A (Jensen).

    >>> round(uneven_density(np.array([0.2, 0.8]), np.array([0.1, 0.5]), 2), 4), expected_density(0.3, 0.5, 2)
    (0.2558, 0.2775)
    """
    return float(np.mean([np.mean(1 - (1 - share * shares_a) ** rank) for share in shares_b]))


def deviation_at(probability: float, rows: int, columns: int, rank: int) -> float:
    """Return the delta that |d - E d| reaches with at most ``probability``, in (0, 2] (Theorem 3.2).

    P(|d - E d| >= delta) <= 2 exp(-2 delta^2 p q / (r (p + q))), which is McDiarmid's inequality: one entry of B moves
    d by at most 1 / p, and one entry of A by at most 1 / q. No draw can be off by 1 or more, so the theorem says
    nothing for shapes with such a delta. The inequality needs independent entries but not equal shares, so it holds for
    uneven masks as well (the paper says so after Theorem D.1).
    """
    return _deviation(probability, rank / rows + rank / columns)


def exact_deviation_at(probability: float, case: Case) -> float:
    """Return the delta that masks of exactly k entries exceed with at most ``probability``.

    P(|d - E d| >= delta) <= 2 exp(-2 delta^2 / (k_B / p^2 + k_A / q^2)). This is Theorem 3.2 with s r in place of r, so
    a mask that keeps a tenth of its entries stays 3.2 times as close. Proof: name the kept entries one after the other.
    Exchanging one kept entry for another clears one entry and sets one. Clearing lowers d by at most 1 / p, and setting
    raises d by at most as much (1 / q in A). So each of the k steps moves E d within a range of that width (Azuma,
    Hoeffding). The statement is ours, not the paper's.
    """
    return _deviation(probability, case.kept_b / case.rows**2 + case.kept_a / case.columns**2)


def _deviation(probability: float, squares: float) -> float:
    """Return the delta at which 2 exp(-2 delta^2 / squares) is ``probability``."""
    return math.sqrt(math.log(2 / probability) * squares / 2)


@dataclass(frozen=True, slots=True)
class Case:
    """A shape, a rank, the share that each factor keeps, and how the kept entries are chosen.

    ``bernoulli``  each entry is kept independently with probability ``density``, as Theorems 3.1 and 3.2 assume.
    ``top-k``      exactly floor(density * n) of n entries are kept, at least one, as in LoRASculpt (Eq. 3). The
                   largest of independent entries are a uniformly random choice of that many entries.
    ``uneven``     each entry is kept independently, as Theorem D.1 assumes. The probability grows linearly from row to
                   row of B and from column to column of A. ``density`` is its mean.
    """

    rows: int
    columns: int
    rank: int
    density: float
    mask: Mask

    @property
    def kept_a(self) -> int:
        """The number of entries of A that a top-k mask keeps."""
        return max(1, int(self.density * self.rank * self.columns))

    @property
    def kept_b(self) -> int:
        """The number of entries of B that a top-k mask keeps."""
        return max(1, int(self.density * self.rank * self.rows))

    @property
    def density_a(self) -> float:
        """The share that A keeps; a top-k mask rounds it down to whole entries."""
        return self.kept_a / (self.rank * self.columns) if self.mask == "top-k" else self.density

    @property
    def density_b(self) -> float:
        """The share that B keeps; a top-k mask rounds it down to whole entries."""
        return self.kept_b / (self.rank * self.rows) if self.mask == "top-k" else self.density

    @property
    def shares_b(self) -> FloatArray:
        """The probability that an entry in each row of B is kept [rows], for independent entries."""
        return self._shares(self.rows)

    @property
    def shares_a(self) -> FloatArray:
        """The probability that an entry in each column of A is kept [columns], for independent entries."""
        return self._shares(self.columns)

    def _shares(self, count: int) -> FloatArray:
        """Return s + m (2 (i + 1/2) / n - 1) for i < n: m is min(s, 1 - s) for uneven masks and 0 for others."""
        reach = min(self.density, 1 - self.density) if self.mask == "uneven" else 0.0
        return self.density + reach * ((2 * np.arange(count) + 1) / count - 1)


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance of d, exact up to rounding."""

    mean: float
    variance: float


def exact_moments(case: Case) -> Moments:
    """Return the mean and variance of d for a case's masks.

    They follow from the probability that two entries of BA are both zero.
    """
    if case.mask == "uneven":
        return uneven_moments(case.shares_b, case.shares_a, case.rank)
    rows, columns = case.rows, case.columns
    one, in_row, in_column, apart = _both_zero(case) if case.mask == "top-k" else _both_zero_independent(case)
    pairs = one + (columns - 1) * in_row + (rows - 1) * in_column + (rows - 1) * (columns - 1) * apart
    return Moments(1 - one, max(0.0, pairs / (rows * columns) - one**2))


def uneven_moments(shares_b: FloatArray, shares_a: FloatArray, rank: int) -> Moments:
    """Return the mean and variance of d for masks as in ``uneven_density``.

    Two entries of BA depend on each other only if they share a row or a column. So the variance of the number of zero
    entries is the sum of the variances in all rows and in all columns, less the sum of the variances of all entries.
    An entry that is zero with probability z has the variance z - z^2, and z^2 is the same probability at rank 2 r.
    """
    entries = len(shares_b) * len(shares_a)
    mean = uneven_density(shares_b, shares_a, rank)
    lines = _zeros_by_row(shares_b, shares_a, rank) + _zeros_by_row(shares_a, shares_b, rank)
    alone = entries * (uneven_density(shares_b, shares_a, 2 * rank) - mean)
    return Moments(mean, max(0.0, lines - alone) / entries**2)


def _zeros_by_row(shares: FloatArray, others: FloatArray, rank: int) -> float:
    """Return the sum over the rows of BA of the variance of the number of zero entries in a row.

    If row i of B keeps h of its entries, entry j of the product is zero with probability (1 - s_Aj)^h, independently of
    the rest of its row. With the two factors exchanged, the rows are the columns of BA.
    """
    powers = np.array([np.sum((1 - others) ** kept) for kept in range(2 * rank + 1)])
    zeros, variances = powers[: rank + 1], powers[: rank + 1] - powers[::2]
    chances = _kept_of(rank, shares)
    return float(np.sum(chances * ((zeros - (chances @ zeros)[:, None]) ** 2 + variances)))


def _kept_of(rank: int, shares: FloatArray) -> FloatArray:
    """Return P(h of ``rank`` entries are kept) [shares, h = 0 .. rank]: a binomial distribution for each share."""
    kept = np.arange(rank + 1)
    ways = np.concatenate([[0.0], np.cumsum(np.log((rank - kept[:-1]) / (kept[:-1] + 1)))])
    keep, clear = (np.log(np.maximum(share, np.finfo(float).tiny))[:, None] for share in (shares, 1 - shares))
    chances: FloatArray = np.exp(ways + kept * keep + (rank - kept) * clear)
    return chances


def _both_zero_independent(case: Case) -> tuple[float, float, float, float]:
    """Return P(all zero) of one entry, two in a row, two in a column, and two that share neither."""
    a, b, rank = case.density_a, case.density_b, case.rank
    one = (1 - a * b) ** rank
    return one, (1 - b * a * (2 - a)) ** rank, (1 - a * b * (2 - b)) ** rank, one**2


def _both_zero(case: Case) -> tuple[float, float, float, float]:
    """Return the probabilities of ``_both_zero_independent`` for masks of exactly k entries.

    If a row of B keeps h of its entries, the h matching entries in a column of A must all be cleared. For two columns,
    2 h entries must be cleared.
    """
    rank, in_a, in_b = case.rank, case.rank * case.columns, case.rank * case.rows
    clear_a, clear_b = _cleared(in_a, case.kept_a, 2 * rank), _cleared(in_b, case.kept_b, 2 * rank)
    row, column = _kept_among(in_b, case.kept_b, rank), _kept_among(in_a, case.kept_a, rank)
    two_rows = _kept_among(in_b, case.kept_b, min(2 * rank, in_b))
    return (
        float(row @ clear_a[: rank + 1]),
        float(row @ clear_a[::2]),
        float(column @ clear_b[::2]),
        float(two_rows @ clear_a[: len(two_rows)]),
    )


def _cleared(total: int, kept: int, most: int) -> FloatArray:
    """Return P(m given entries are all cleared) for m = 0 .. most, if ``kept`` of ``total`` are kept."""
    before = np.arange(most)
    shares = np.maximum(total - kept - before, 0) / np.maximum(total - before, 1)
    return np.concatenate([[1.0], np.cumprod(shares)])


def _kept_among(total: int, kept: int, drawn: int) -> FloatArray:
    """Return P(h of ``drawn`` given entries are kept) for h = 0 .. drawn: the hypergeometric distribution."""
    least, most = max(0, drawn - (total - kept)), min(drawn, kept)
    h = np.arange(least, most, dtype=np.float64)
    ratios = (kept - h) * (drawn - h) / ((h + 1) * (total - kept - drawn + h + 1))
    logs = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    weights = np.exp(logs - logs.max())
    shares = np.zeros(drawn + 1)
    shares[least : most + 1] = weights / weights.sum()
    return shares


def simulate(case: Case, draws: int, seed: int) -> FloatArray:
    """Return d [draws] for new pairs of masks; the numbers depend only on the case and the seed."""
    words = [seed, case.rows, case.columns, case.rank, int(case.density * 2**53), MASKS.index(case.mask)]
    generator = np.random.default_rng(words)
    return np.array([product_density(*_draw(generator, case)) for _ in range(draws)])


def product_density(b: MaskArray, a: MaskArray) -> float:
    """Return the density of the product of two masks of 0 and 1, B [rows, rank] and A [rank, columns]."""
    height = max(1, _MULTIPLICATIONS // a.size)
    reached = sum(int(np.count_nonzero(b[top : top + height] @ a > 0.5)) for top in range(0, len(b), height))
    return reached / (len(b) * len(a.T))


def _draw(generator: np.random.Generator, case: Case) -> tuple[MaskArray, MaskArray]:
    if case.mask != "top-k":
        return independent_masks(generator, case.shares_b, case.shares_a, case.rank)
    b = _exactly(generator, (case.rows, case.rank), case.kept_b)
    return b, _exactly(generator, (case.rank, case.columns), case.kept_a)


def independent_masks(
    generator: np.random.Generator, shares_b: FloatArray, shares_a: FloatArray, rank: int
) -> tuple[MaskArray, MaskArray]:
    """Return a mask of B and one of A whose entries are kept with the probability of their row (B) or column (A)."""
    b = generator.random((len(shares_b), rank)) < shares_b[:, None]
    a = generator.random((rank, len(shares_a))) < shares_a
    return b.astype(np.float32), a.astype(np.float32)


def _exactly(generator: np.random.Generator, shape: tuple[int, int], kept: int) -> MaskArray:
    mask = np.zeros(shape, dtype=np.float32)
    mask.flat[generator.choice(mask.size, kept, replace=False, shuffle=False)] = 1
    return mask
