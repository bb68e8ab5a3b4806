"""Build the tables of a sequence from the scores of its chains. Nothing here reads a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bench.leaderboard import comparing
from bench.leaderboard.comparing import answers_alike, differences, estimates, mismatch, resolution
from bench.leaderboard.environments import against, described
from bench.leaderboard.heading import Heading
from bench.leaderboard.marks import Marks
from bench.leaderboard.stats import Draws, estimate
from bench.plan.row_key import RowKey
from bench.plugins.registry import BASELINE
from bench.sequences.board import (
    OrderSummary,
    OverOrders,
    SequenceBlock,
    SequenceBoard,
    SequenceRow,
    StageCost,
    StageScores,
)
from bench.sequences.grouping import ChainScores, RowChains, by_block
from bench.sequences.measure import FALLING, Measured, average_of, measured_rows, only

OVER_ORDERS = ("ap", "bwt", "source")
_DIFFERENCES = ("ap", "source")
_UNMARKED = "source_lost"  # it orders rows as Source does


def build(
    chains: Sequence[ChainScores],
    zero_shot: ChainScores | None,
    *,
    tasks: Sequence[str],
    sources: Sequence[str],
    heading: Heading,
    counted: Sequence[str] | None = None,
) -> SequenceBoard:
    """Return the tables of some chains. Source is the mean of the ``counted`` sources, by default of all.

    Rows keep the order in which they first occur, controls last. A row's numbers are from the seeds whose chains lack
    nothing, and its problems say what the others lack. Rows of different environments are marked and not ranked against
    each other, unless the heading says that they are mixed.
    """
    counted = sources if counted is None else counted
    untouched = [] if zero_shot is None else [RowChains.of([zero_shot])]
    found = {
        place: measured_rows([*untouched, *rows], place[0], sources, counted)
        for place, rows in by_block(chains).items()
    }
    return SequenceBoard(
        heading,
        tuple(tasks),
        tuple(sources),
        BASELINE,
        tuple(sorted({chain.seed for chain in chains})),
        tuple(_block(*place, rows, mixed=heading.mixed) for place, rows in found.items()),
        tuple(_summary(list(found.values()))),
        tuple(name for name in sources if name not in counted),
    )


def _block(
    order: tuple[str, ...], rank: int, connector: str, rows: Sequence[Measured], *, mixed: bool
) -> SequenceBlock:
    marks = _marks(rows, mixed=mixed)
    made = tuple(_row(one, rows, marks, mixed=mixed) for one in rows)
    too_high = [found.too_high for (_, column), found in marks.items() if column == "ap"]
    return SequenceBlock(order, rank, connector, made, resolution(made, "ap"), max(too_high, default=None))


def _row(
    one: Measured, rows: Sequence[Measured], marks: Mapping[tuple[str, str], Marks[RowKey]], *, mixed: bool
) -> SequenceRow:
    """Compare a row with zero-shot, with plain LoRA and with the best of its rivals."""
    row, columns = one.row, one.columns
    key = row.key
    baseline = next((other for other in rows if other.row.key == key.sibling(BASELINE)), None)
    baseline = None if baseline is one or one.reference else baseline
    zero_shot = None if one.reference else next((other for other in rows if other.reference), None)
    here = {column: marks.get((key.given, column), Marks()) for column in columns}
    compared = {column: columns[column] for column in _DIFFERENCES if column in columns}
    foreign = {
        "rank": _foreign(one, rows),
        "difference": _mismatch(row, baseline),
        "zero_shot": _mismatch(row, zero_shot),
        "stages": _within(row),
    }
    return SequenceRow(
        key=key,
        seeds=row.seeds,
        metrics=estimates(columns),
        difference=estimates(differences(compared, baseline.columns if baseline else {})),
        stages=tuple(_stages(one)),
        cost=_cost(row),
        best=frozenset(column for column, found in here.items() if key in found.best),
        tied=frozenset(column for column, found in here.items() if key in found.tied),
        same_as=baseline.row.key.label if baseline and answers_alike(key, row.answers, baseline.row.answers) else "",
        problems=row.problems,
        foreign={quantity: text for quantity, text in foreign.items() if text},
        mixed=mixed,
    )


def _stages(one: Measured) -> Iterator[StageScores]:
    """Yield what a row scores after each stage; the base model has one, number 0, and a joint row only the last."""
    names = ["+".join(one.order)] * len(one.order) if one.row.joint else one.order
    for number, (scores, source) in enumerate(zip(one.stages, one.source, strict=True), 0 if one.reference else 1):
        if one.row.joint and number < len(one.order):
            continue
        learnt = average_of(scores, one.order[:number] if number else one.order)
        yield StageScores(
            number,
            names[number - 1] if number else "",
            estimates({task: scores[task] for task in one.order if task in scores}),
            None if learnt is None else estimate(learnt),
            estimates({name: scores[name] for name in one.sources if name in scores}),
            None if source is None else estimate(source),
        )


def _marks(rows: Sequence[Measured], *, mixed: bool) -> dict[tuple[str, str], Marks[RowKey]]:
    """Mark the rows of a block by what they were given and by column, if at least two of them compete there."""
    rivals: dict[tuple[str, str], dict[RowKey, Draws]] = {}
    for one in rows:
        if one.row.key.ranked and (mixed or not _foreign(one, rows)):
            for column, draws in one.columns.items():
                if column != _UNMARKED:
                    value = _negative(draws) if column in FALLING else draws
                    rivals.setdefault((one.row.key.given, column), {})[one.row.key] = value
    return comparing.marks(rivals)


def _negative(draws: Draws) -> Draws:
    return replace(draws, points=-draws.points, resampled=-draws.resampled, count=None)


def _foreign(one: Measured, rows: Sequence[Measured]) -> str:
    """Return how a ranked row's environment differs from that of its rivals, plain LoRA first, or ""."""
    key = one.row.key
    rivals = (other.row for other in rows if other.row.key.ranked and other.row.key.given == key.given)
    return comparing.foreign(key, one.row.environments, ((other.key, other.environments) for other in rivals))


def _mismatch(row: RowChains, other: Measured | None) -> str:
    """Return how a row's environment differs from that of another row, or ""."""
    if other is None or not other.row.counted:
        return ""
    return mismatch(row.environments, other.row.key, other.row.environments)


def _within(row: RowChains) -> str:
    """Return how the environments of a row's later stages differ from that of its first stage, or ""."""
    found = [
        mismatch
        for chain in row.counted
        for cell in chain.stages[1:]
        for mismatch in against(
            {chain.seed: cell.environments}, [("stage 1", {chain.seed: chain.stages[0].environments})]
        )
    ]
    return described(list(dict.fromkeys(found)))


def _cost(row: RowChains) -> StageCost | None:
    """Return what a row costs; None for the base model, and for a row of which no stage is done."""
    trained = [cell.cost.train_seconds for chain in row.counted for cell in chain.stages if cell.status == "done"]
    if not trained or row.key.rank is None:
        return None
    kept = [chain.kept_bytes for chain in row.counted if chain.kept_bytes is not None]
    return StageCost(sum(trained) / len(trained), row.counted[0].updates, max(kept, default=None))


def _summary(blocks: Sequence[Sequence[Measured]]) -> Iterator[OrderSummary]:
    """Yield a line for each row that is measured on at least two orders."""
    rows: dict[RowKey, list[Measured]] = {}
    for block in blocks:
        for one in block:
            if "ap" in one.columns and not one.reference:
                rows.setdefault(one.row.key, []).append(one)
    for key, found in rows.items():
        if len(found) > 1:
            columns = {column: _over_orders([one.columns.get(column) for one in found]) for column in OVER_ORDERS}
            yield OrderSummary(key, len(found), {name: value for name, value in columns.items() if value is not None})


def _over_orders(parts: Sequence[Draws | None]) -> OverOrders | None:
    """Return a quantity over several orders, on the seeds that all orders have; None if one lacks it."""
    known = [draws for draws in parts if draws is not None]
    seeds = [seed for seed in known[0].seeds if all(seed in draws.seeds for draws in known)] if known else []
    alike = [draws for part in known if (draws := only(part, seeds)) is not None]
    if len(known) < len(parts) or not seeds:
        return None
    averaged = average_of(dict(enumerate(alike)), range(len(alike)))
    assert averaged is not None
    values = [draws.value for draws in alike]
    return OverOrders(estimate(averaged), min(values), max(values))
