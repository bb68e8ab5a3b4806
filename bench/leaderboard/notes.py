"""Write the texts about rows and the notes under tables, which most report formats share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.leaderboard.stats import LEVEL, RESAMPLES, SEEDS_TO_RESAMPLE
from bench.sizes import GB

if TYPE_CHECKING:
    from bench.leaderboard.tables import Leaderboard, Row, Table
    from bench.spec import Cost

FOREIGN = "†"  # in every report

_TUNED = (
    "tries: how many configurations were tried on validation to choose the row; each try includes its training. The "
    "other rows use the defaults. Tuned rows are compared with the tuned baseline."
)
_CONTROLS = (
    "Rows in brackets are controls: trivial baselines that every method should beat. not above: the controls that the "
    "row's Avg is not shown to exceed."
)
_FOREIGN = (
    f"{FOREIGN}: the row was trained or scored in a different environment than the row it is compared with. The "
    "difference may come from the environment, so the table calls the difference neither a tie nor significant, and "
    "the row neither best nor tied. Add --mix to compare such rows anyway."
)
_MIXED = (
    f"{FOREIGN}: the row was trained or scored in a different environment than the other rows of its rank. It is "
    "compared with them anyway (--mix), so a difference may come from the environment."
)


def trouble(row: Row) -> str:
    """Return why a row lacks numbers, on one line: each reason once, with its seeds."""
    seeds: dict[str, list[int]] = {}
    for problem in row.problems:
        seeds.setdefault(f"{problem.status}: {' '.join(problem.error.split())}", []).append(problem.seed)
    return "; ".join(f"{_seeds(of)} {reason}" for reason, of in seeds.items())


def cost_texts(cost: Cost | None) -> tuple[str, str, str]:
    """Return training seconds, peak memory in GB and trainable parameters, or "-" if unknown."""
    if cost is None:
        return ("-", "-", "-")
    count = cost.trainable_parameters
    parameters = f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.0f}k"
    seconds = f"{cost.train_seconds:.0f}" if cost.train_seconds else "-"
    return (seconds, f"{cost.peak_memory_bytes / GB:.1f}", parameters if count else "-")


def remarks(table: Table) -> Iterator[str]:
    """Yield the remarks under a table, one line each. Rows with the same mismatch share a line."""
    labels: dict[str, list[str]] = {}
    for row in table.rows:
        if row.notes:
            yield f"{row.label}: {'; '.join(row.notes)}"
        if row.unbeaten:
            yield f"{row.label}: not above {', '.join(row.unbeaten)}"
        if row.scores and row.problems:
            yield f"{row.label}: {trouble(row)}"
        for text in dict.fromkeys(row.foreign.values()):
            labels.setdefault(text, []).append(row.label)
    for text, of in labels.items():
        yield f"{FOREIGN} {', '.join(of)}: {text}"


def setting(board: Leaderboard) -> str:
    """Return suite, connector policy, seeds, and whether environments are mixed, on one line."""
    mixed = ", environments mixed (--mix)" if board.foreign and board.heading.mixed else ""
    return f"suite {board.heading.suite}, connector {'/'.join(board.connectors)}, {_seeds(board.seeds)}{mixed}"


def legend(board: Leaderboard) -> Iterator[str]:
    """Yield the notes under all tables."""
    yield (
        "Scores are x100. Source = mean of the source scores; Avg = (Source + Target) / 2; "
        "Source lost (forgetting) = zero-shot Source minus Source."
    )
    yield board.covered
    if board.heading.parts:
        yield (
            f"Scored in part: {', '.join(board.heading.parts)}. Do not compare these scores with scores on all "
            "examples. CIDEr is affected most, because the scored examples decide which words count as rare."
        )
    if board.tuned:
        yield _TUNED
    if board.controlled:
        yield _CONTROLS
    if board.foreign:
        yield _MIXED if board.heading.mixed else _FOREIGN


def resolution(baseline: str, smallest: float | None) -> str:
    """Return the sentence on the smallest difference that a table can resolve, given as a fraction."""
    if smallest is None:
        return (
            f"The smallest Avg difference from {baseline} that this table can resolve is unknown, because no row of "
            f"the same rank differs measurably from {baseline}."
        )
    return (
        f"The smallest Avg difference from {baseline} that this table can resolve is about "
        f"{100 * smallest:.2f} points (the median half-width of the paired intervals)."
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"


def covered(count: int) -> str:
    """Return what the intervals cover if there are ``count`` seeds."""
    resampled = f"Intervals are {LEVEL:.0%} bootstrap intervals from {RESAMPLES:,} resamples of the test examples"
    if count >= SEEDS_TO_RESAMPLE:
        return f"{resampled} and of the {count} seeds. They cover test sampling and training noise."
    if count > 1:
        return (
            f"{resampled}. They hold the trainings fixed and cover test sampling only. Numbers are means over {count} "
            "seeds, and the range over the seeds shows the training noise."
        )
    return (
        f"{resampled}. With one seed, they cover test sampling only, not training noise, so they cannot show that one "
        "method is better than another."
    )
