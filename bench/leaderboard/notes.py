"""Write the texts about rows and the notes under tables, which most report formats share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import TYPE_CHECKING

from scipy.special import stdtrit

from bench.leaderboard.stats import LEVEL, RESAMPLES, SEEDS_ADVISED
from bench.sizes import GB, readable_count

if TYPE_CHECKING:
    from bench.leaderboard.tables import Leaderboard, Problem, Table
    from bench.plan.row_key import RowKey
    from bench.values.record import Cost

FOREIGN = "†"  # in every report
GIVEN = "‡"

_TUNED = (
    "tries: how many configurations were tried on validation to choose the row; each try includes its training. The "
    "other rows use the defaults. Tuned rows are compared with the tuned baseline."
)
_CONTROLS = (
    "Rows in brackets are controls: trivial baselines that every method should beat. not above: the controls that the "
    "row's Avg is not shown to exceed."
)
FOREIGN_ROWS = (
    f"{FOREIGN}: the row was trained or scored in a different environment than the row it is compared with. The "
    "difference may come from the environment, so the table calls the difference neither a tie nor significant, and "
    "the row neither best nor tied. Add --mix to compare such rows anyway."
)
MIXED = (
    f"{FOREIGN}: the row was trained or scored in a different environment than the other rows of its rank. It is "
    "compared with them anyway (--mix), so a difference may come from the environment."
)
GIVEN_ROWS = (
    f"{GIVEN}: the row was given what other rows were not; a remark under its table says what. It competes only with "
    "rows that were given the same, so it is neither best nor tied among the others. As a control it counts only for "
    "rows that were given the same."
)


def trouble(problems: Sequence[Problem]) -> str:
    """Return why a row lacks numbers, on one line: each reason once, with its seeds."""
    found: dict[str, list[int]] = {}
    for problem in problems:
        found.setdefault(f"{problem.status}: {' '.join(problem.error.split())}", []).append(problem.seed)
    return "; ".join(f"{seeds(of)} {reason}" for reason, of in found.items())


def cost_texts(cost: Cost | None) -> tuple[str, str, str]:
    """Return training seconds, peak memory in GB and trainable parameters, or "-" if unknown."""
    if cost is None:
        return ("-", "-", "-")
    count = cost.trainable_parameters
    seconds = f"{cost.train_seconds:.0f}" if cost.train_seconds else "-"
    return (seconds, f"{cost.peak_memory_bytes / GB:.1f}", readable_count(count) if count else "-")


def remarks(table: Table) -> Iterator[str]:
    """Yield the remarks under a table, one line each. Rows with the same mismatch or method share a line."""
    labels: dict[str, list[str]] = {}
    for row in table.rows:
        if row.notes:
            yield f"{row.label}: {'; '.join(row.notes)}"
        if row.unbeaten:
            yield f"{row.label}: not above {', '.join(row.unbeaten)}"
        if row.scores and row.problems:
            yield f"{row.label}: {row.trouble}"
        if row.same_as:
            yield f"{row.label}: answered exactly as {row.same_as} on every example, so the row measures nothing"
        for text in dict.fromkeys(row.foreign.values()):
            labels.setdefault(text, []).append(row.label)
    for text, of in labels.items():
        yield f"{FOREIGN} {', '.join(of)}: {text}"
    yield from given_lines([row.key for row in table.rows])
    methods = {row.method: row.key.remark for row in table.rows if row.key.remark}
    yield from (f"{method}: {text}" for method, text in methods.items())


def given_lines(rows: Sequence[RowKey]) -> Iterator[str]:
    """Yield a line for each thing that rows were given, with these rows."""
    for what in dict.fromkeys(key.given for key in rows if key.given):
        yield f"{GIVEN} {', '.join(key.label for key in rows if key.given == what)}: {what}"


def setting(board: Leaderboard) -> str:
    """Return suite, connector, seeds, the suite's own settings, and whether environments are mixed, on one line."""
    mixed = ", environments mixed (--mix)" if board.foreign and board.heading.mixed else ""
    parts = (f"suite {board.heading.suite}", f"connector {'/'.join(board.connectors)}", seeds(board.seeds))
    return ", ".join([*parts, *board.heading.settings]) + mixed


def legend(board: Leaderboard) -> Iterator[str]:
    """Yield the notes under all tables."""
    yield (
        "Scores are x100. Source = mean of the source scores; Avg = (Source + Target) / 2; "
        "Source lost (forgetting) = zero-shot Source minus Source."
    )
    yield from board.heading.at_chance
    yield board.covered
    if board.heading.parts:
        yield in_part(board.heading.parts)
    if board.tuned:
        yield _TUNED
    if board.controlled:
        yield _CONTROLS
    if board.foreign:
        yield MIXED if board.heading.mixed else FOREIGN_ROWS
    if board.given:
        yield GIVEN_ROWS
    if older := board.heading.older:
        yield older_trials(older)


def in_part(parts: Sequence[str]) -> str:
    """Return the note on tasks of which only a part was scored."""
    return (
        f"Scored in part: {', '.join(parts)}. Do not compare these scores with scores on all examples. CIDEr is "
        "affected most, because the scored examples decide which words count as rare."
    )


def older_trials(count: int) -> str:
    """Return the note on trials of an older version."""
    return f"{count} trials in this run folder are of an older version and not in the tables. See bench ls trials."


def resolution(baseline: str, table: Table) -> str:
    """Return what a table can resolve, and how much its highest Avg is too high."""
    smallest = f"The smallest Avg difference from {baseline} that this table can resolve is"
    if not any(row.ranked and row.scores and row.method != baseline for row in table.rows):
        shown = any(row.given and row.difference for row in table.rows)  # a row that sees source data, not ranked
        row = "No ranked row" if shown else "No row"
        return f"{row} has a difference from {baseline}, so nothing says how small a difference the table can resolve."
    if table.resolution is None:
        text = f"{smallest} unknown, because no row of the same rank differs measurably from {baseline}."
    else:
        text = f"{smallest} about {100 * table.resolution:.2f} points (the median half-width of the paired intervals)."
    if not table.too_high:
        return text
    return (
        f"{text} The highest Avg of a rank is up to {100 * table.too_high:.2f} points too high on average, because it "
        "is the highest of several."
    )


def seeds(numbers: Sequence[int]) -> str:
    """Return seeds in words."""
    return f"seed{'s' * (len(numbers) != 1)} {', '.join(map(str, numbers))}"


def tie(count: int, best: str = "highest") -> str:
    """Return what a tie with the ``best`` means if there are ``count`` seeds, for the legend of a mark."""
    noise = "by test sampling only" if count == 1 else "by test sampling and training noise"
    return (
        f"cannot be told apart from the {best} {noise}. Each row is tested at 5 %, so up to one table in five has a "
        "row that is wrongly told apart if seven rows are all equal"
    )


def covered(count: int) -> str:
    """Return what the intervals cover if there are ``count`` seeds."""
    over = (
        f"Intervals ({LEVEL:.0%}) are over the test examples: Clopper and Pearson's for a share of right answers, else "
        f"a bootstrap of {RESAMPLES:,} resamples."
    )
    if count == 1:
        return (
            f"{over} With one seed, they and the marks cover test sampling only, not training noise, so they cannot "
            f"show that one method is better than another. Give {SEEDS_ADVISED} seeds for that."
        )
    wider = f"{over} They also cover the noise between the {count} trainings, by Student's t"
    if count >= SEEDS_ADVISED:
        return f"{wider}."
    factor = float(stdtrit(count - 1, (1 + LEVEL) / 2) / stdtrit(SEEDS_ADVISED - 1, (1 + LEVEL) / 2))
    factor *= sqrt(SEEDS_ADVISED / count)
    return (
        f"{wider}, which makes this part about {factor:.1f} times as wide as with {SEEDS_ADVISED} seeds. Give "
        f"{SEEDS_ADVISED} seeds."
    )
