"""How fast answers were generated and scored, in examples per second."""

from __future__ import annotations

from collections.abc import Iterable

from bench.spec import Score


def rate(count: float, seconds: float) -> str:
    """Return a rate as it is printed: three digits, and whole numbers from 100 on."""
    per_second = count / seconds
    return f"{per_second:,.0f}" if per_second >= 99.5 else f"{per_second:.3g}"


def pace(score: Score) -> str | None:
    """Return how fast one score was made, or None where it is of before this was noted."""
    return f"{rate(score.asked.count, score.seconds)} examples/s" if score.seconds > 0 else None


def closing_line(scores: Iterable[Score]) -> str | None:
    """Return how many examples were evaluated, how fast, and task by task; None where there were none.

    Seconds are added up over lanes: with two of them, examples come in about twice as fast.
    """
    counts: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for score in scores:
        if score.seconds > 0:
            counts[score.asked.task] = counts.get(score.asked.task, 0) + score.asked.count
            seconds[score.asked.task] = seconds.get(score.asked.task, 0.0) + score.seconds
    if not counts:
        return None
    count, took = sum(counts.values()), sum(seconds.values())
    line = f"evaluated {count:,} examples in {took:.1f} s: {rate(count, took)} examples/s"
    tasks = ", ".join(f"{task} {rate(counts[task], seconds[task])}" for task in counts)
    return f"{line} ({tasks})" if len(counts) > 1 else line
