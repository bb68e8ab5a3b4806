"""The words of a leaderboard: what reports write of a row, and under the tables. A format may choose its own."""

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
    "tries: configurations tried on validation to choose the row, each with its training; the others are defaults. "
    "Differences of tuned rows are to the tuned baseline."
)
_CONTROLS = (
    "Controls, in brackets, are trivial; a method should beat them. not above: the controls whose Avg the row's is not "
    "shown to exceed."
)
_FOREIGN = (
    f"{FOREIGN}: trained or scored in another environment than what it is held against, which may be where the "
    "difference comes from: it is called neither a tie nor significant, and such a row neither best nor tied. "
    "--mix compares them all the same."
)
_MIXED = (
    f"{FOREIGN}: trained or scored in another environment than the others of its rank, and compared with them all the "
    "same (--mix): differences may come from there."
)


def trouble(row: Row) -> str:
    """Return what a row lacks, on one line: equal reasons once, with their seeds."""
    seeds: dict[str, list[int]] = {}
    for problem in row.problems:
        seeds.setdefault(f"{problem.status}: {' '.join(problem.error.split())}", []).append(problem.seed)
    return "; ".join(f"{_seeds(of)} {reason}" for reason, of in seeds.items())


def sign(row: Row) -> str:
    """Return what follows a row's name: the mark of another environment than that of its rank, or nothing."""
    return f" {FOREIGN}" if row.foreign.keys() & {"rank", "difference"} else ""


def cost_texts(cost: Cost | None) -> tuple[str, str, str]:
    """Return training seconds, peak memory in GB and trainable parameters as tables show them; "-" is none."""
    if cost is None:
        return ("-", "-", "-")
    count = cost.trainable_parameters
    parameters = f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.0f}k"
    seconds = f"{cost.train_seconds:.0f}" if cost.train_seconds else "-"
    return (seconds, f"{cost.peak_memory_bytes / GB:.1f}", parameters if count else "-")


def remarks(table: Table) -> Iterator[str]:
    """Yield what has to be said of a table's rows below it, a sentence each; equal environments once."""
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
    """Return a leaderboard's suite, connector policy and seeds, as one line; and whether environments are mixed."""
    mixed = ", environments mixed (--mix)" if board.foreign and board.heading.mixed else ""
    return f"suite {board.heading.suite}, connector {'/'.join(board.connectors)}, {_seeds(board.seeds)}{mixed}"


def legend(board: Leaderboard) -> Iterator[str]:
    """Yield a sentence or two on each thing a leaderboard has; what the intervals cover is the second."""
    yield (
        "Scores are x100. Source = mean of the sources; Avg = (Source + Target) / 2; "
        "Source lost (forgetting) = zero-shot Source minus Source."
    )
    covered = _seed_note(len(board.seeds))
    yield f"Intervals: {LEVEL:.0%} bootstrap, {RESAMPLES:,} resamples of the test examples{covered}"
    if board.heading.parts:
        yield (
            f"Scored in part: {', '.join(board.heading.parts)}. Not to be held against scores of the whole, captions' "
            "CIDEr least of all: what is scored decides which words count as rare."
        )
    if board.tuned:
        yield _TUNED
    if board.controlled:
        yield _CONTROLS
    if board.foreign:
        yield _MIXED if board.heading.mixed else _FOREIGN


def resolution(baseline: str, smallest: float | None) -> str:
    """Return the sentence that says what a table can tell apart: the smallest difference, a fraction."""
    if smallest is None:
        return f"No differences to {baseline} at the same rank from which to say what can be resolved."
    return (
        f"Smallest difference of Avg to {baseline} that this table can resolve: about "
        f"{100 * smallest:.2f} points (median half-width of the paired intervals)."
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"


def _seed_note(count: int) -> str:
    if count >= SEEDS_TO_RESAMPLE:
        return f" and of the {count} seeds; they cover test sampling and training noise."
    if count > 1:
        return (
            f". Numbers are means over {count} seeds; the intervals hold the trainings fixed and cover test "
            "sampling only. The range over the seeds shows the training noise."
        )
    return ". One seed: they cover test sampling only, not training noise, so no method is called better than another."
