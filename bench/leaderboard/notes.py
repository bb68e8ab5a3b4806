"""What has to stand under a leaderboard's tables, so that they are read for what they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench.leaderboard.stats import LEVEL, RESAMPLES, SEEDS_TO_RESAMPLE

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


def notes(
    seeds: int, parts: Sequence[str] = (), *, tuned: bool, controlled: bool, foreign: bool, mixed: bool
) -> Iterator[str]:
    """Yield a sentence or two on each thing a leaderboard has; what the intervals cover is the second."""
    yield (
        "Scores are x100. Source = mean of the sources; Avg = (Source + Target) / 2; "
        "Source lost (forgetting) = zero-shot Source minus Source."
    )
    yield f"Intervals: {LEVEL:.0%} bootstrap, {RESAMPLES:,} resamples of the test examples{_seed_note(seeds)}"
    if parts:
        yield (
            f"Scored in part: {', '.join(parts)}. Not to be held against scores of the whole, captions' CIDEr least of "
            "all: what is scored decides which words count as rare."
        )
    if tuned:
        yield _TUNED
    if controlled:
        yield _CONTROLS
    if foreign:
        yield _MIXED if mixed else _FOREIGN


def resolution(baseline: str, smallest: float | None) -> str:
    """Return the sentence that says what a table can tell apart: the smallest difference, a fraction."""
    if smallest is None:
        return f"No differences to {baseline} at the same rank from which to say what can be resolved."
    return (
        f"Smallest difference of Avg to {baseline} that this table can resolve: about "
        f"{100 * smallest:.2f} points (median half-width of the paired intervals)."
    )


def environments(rows: Iterable[tuple[str, Iterable[str]]]) -> Iterator[str]:
    """Yield what sets rows apart, each thing once, from rows by label with all that does."""
    labels: dict[str, list[str]] = {}
    for label, texts in rows:
        for text in dict.fromkeys(texts):
            labels.setdefault(text, []).append(label)
    for text, of in labels.items():
        yield f"{FOREIGN} {', '.join(of)}: {text}"


def _seed_note(count: int) -> str:
    if count >= SEEDS_TO_RESAMPLE:
        return f" and of the {count} seeds; they cover test sampling and training noise."
    if count > 1:
        return (
            f". Numbers are means over {count} seeds; the intervals hold the trainings fixed and cover test "
            "sampling only. The range over the seeds shows the training noise."
        )
    return ". One seed: they cover test sampling only, not training noise, so no method is called better than another."
