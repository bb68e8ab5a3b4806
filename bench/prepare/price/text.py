"""Format a quote for the terminal: GPU memory in GiB, disk in GB."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bench.plugins.method import EditMethod
from bench.prepare.price.fitting import fitting_options, most_plain
from bench.prepare.price.memory import RUNTIME, Footprint
from bench.prepare.price.quote import LEARNT_TOKENS, TEXT_TOKENS, Quote
from bench.prepare.price.rates import EDIT_PASSES, Rates
from bench.prepare.price.work import gpu_hours
from bench.sizes import GB, GIB, MB, MIB
from bench.text import text_table

_RANKS = 6  # columns of ranks that fit the screen; of more, the lowest, one in the middle and the highest are shown
_PARTS = ("base", "trained", "gradients", "optimizer", "activations", "logits", "own")


def lines(quote: Quote) -> Iterator[str]:
    """Yield all lines of a quote: work, parameters and disk, memory, time."""
    for block in (_work, _changes, _memory):
        yield from block(quote)
        yield ""
    yield from _time(quote)


def _work(quote: Quote) -> Iterator[str]:
    plan, todo = quote.plan, quote.todo
    yield f"Work: {plan.what or f'{len(plan.cells)} cells = {_grid(quote)}'}"
    trains = [item for item in todo if item.trains]
    registry = plan.request.registry
    edits = sum(issubclass(registry.method(cell.trial.method), EditMethod) for cell in plan.cells)
    shared = f"; {edits} cell{' edits' if edits == 1 else 's edit'} another cell's training" if edits else ""
    updates = sum(item.trial.recipe.updates for item in trains)
    yield f"  {len(trains)} of {len(plan.trainings)} trainings to do{shared}"
    yield f"  {updates:,} updates of {plan.request.recipe.batch_size} examples"
    answers = sum(item.answers for item in todo)
    models = len([item for item in todo if item.scores])
    yield f"  {answers:,} answers to generate, for {sum(len(item.scores) for item in todo)} scores of {models} models"
    if once := sum(item.answers for item in todo if item.trial.id == plan.zero_shot.id):
        yield f"  {once:,} of them by the untouched model, once for all cells"


def _grid(quote: Quote) -> str:
    asked = quote.plan.request
    counts = {"method": asked.methods, "rank": asked.ranks, "target": asked.targets, "seed": asked.seeds}
    text = " x ".join(f"{len(items)} {name}{'s' if len(items) > 1 else ''}" for name, items in counts.items())
    extra = len(quote.plan.cells) - len(asked.methods) * len(asked.ranks) * len(asked.targets) * len(asked.seeds)
    return f"{text}{f' + {extra} more rows' if extra else ''}"


def _changes(quote: Quote) -> Iterator[str]:
    ranks = quote.ranks
    if len(ranks) > _RANKS:
        ranks = (ranks[0], ranks[len(ranks) // 2], ranks[-1])
    heads = [f"rank {rank}" for rank in ranks]
    rows = [("Trained parameters", *heads, "change, MB:", *heads)]
    for name in quote.methods:
        counts = [quote.adapted.get((name, rank)) for rank in ranks]
        trials = [quote.trials.get((name, rank)) for rank in ranks]
        sizes = [f"{quote.changes.of(trial) / MB:,.1f}" if trial else "-" for trial in trials]
        rows.append((f"  {name}", *(f"{count.trained:,}" if count else "-" for count in counts), "", *sizes))
    yield from text_table(rows, least=[18, *(11 for _ in ranks), 11, *(8 for _ in ranks)])
    if between := len(quote.ranks) - len(ranks):
        yield f"  {between} more ranks lie between these"
    parts = list(quote.disk())
    unit, name = (GB, "GB") if _unit(quote)[0] == GIB else (MB, "MB")
    named = ", ".join(f"{part} {size / unit:,.2f}" for part, size in parts)
    yield f"Disk: {sum(size for _, size in parts) / unit:,.2f} {name}: {named}; without data sets"


def _memory(quote: Quote) -> Iterator[str]:
    if quote.ranks:
        yield from _methods(quote, max(quote.ranks))
    item, count = quote.evaluation, quote.resources.eval_batch_size
    size = _unit(quote)[0]
    at = item.at(count)
    names = [name for name in ("base", "live change", "cache", "prefill") if name in at]
    parts = ", ".join(f"{name} {at[name] / size:.2f}" for name in names)
    yield f"  evaluation, {count} answers at once: {parts}, total {item.total(count) / size:.2f}"
    if quote.fleet is not None and quote.ranks:
        found = fitting_options(quote, quote.methods, max(quote.ranks))
        others = "the others fit" if found.unfit else "everything fits"
        unfit = f"{', '.join(found.unfit)} will not fit {quote.fleet.gpu.name}; " if found.unfit else ""
        yield f"  {unfit}{others} {quote.fleet.gpu.name} with {' '.join(found.options) or 'the given options'}"
    yield from _captures(quote)
    yield from _features(quote)


def _captures(quote: Quote) -> Iterator[str]:
    """Yield the main memory of each edit that captures the inputs of blocks, at the highest rank."""
    unit, called = _unit(quote)
    for name in quote.methods:
        if parts := quote.captures(name):
            each = ", ".join(f"{part} {size / unit:.2f}" for part, size in parts.items())
            yield f"Main memory of {name} per lane, {called}: {each}"


def _features(quote: Quote) -> Iterator[str]:
    """Yield the memory that all vision features would take, if a lane keeps only a part of them."""
    (unit, name), most = _unit(quote), quote.pictures
    whole, kept = most * quote.feature_bytes, quote.resources.feature_cache_bytes
    if whole <= kept:
        return
    rest = "the rest is read from the files that all lanes share"
    if whole > quote.resources.feature_file_bytes:
        rest = f"the rest is computed again in every trial, unless --feature-files {math.ceil(whole / GB)} keeps it"
    yield (
        f"Vision features of {most:,} images at most: {whole / unit:,.1f} {name} of main memory per lane, "
        f"of which --feature-cache keeps {kept / unit:,.1f}; {rest}"
    )


def _methods(quote: Quote, rank: int) -> Iterator[str]:
    prints = [quote.footprint(name, rank) for name in quote.methods if (name, rank) in quote.trials]
    unit, called = _unit(quote)
    runtime = f"; with {RUNTIME / GIB:.1f} GiB for the runtime" if quote.fleet else ""
    yield (
        f"Memory at rank {rank}, {called}: micro-batch {quote.micro_batch} of {quote.tokens} tokens "
        f"(assuming {TEXT_TOKENS} text tokens, {LEARNT_TOKENS} of them learnt), {_checkpointing(quote)}{runtime}"
    )
    fits = ""
    if quote.fleet is not None:
        gib = quote.fleet.gpu.memory_bytes / GIB
        fits = f" largest micro-batch in {gib:.0f}, and with checkpointing (after this many blocks)"
    heads = ("method's own" if name == "own" else name for name in _PARTS)
    rows: list[Sequence[str]] = [("", *heads, "total", fits)]
    for item in prints:
        parts = item.at(quote.micro_batch)
        sizes = [f"{parts[name] / unit:.2f}" if parts.get(name) else "-" for name in _PARTS]
        rows.append((f"  {item.method}", *sizes, f"{item.total(quote.micro_batch) / unit:.2f}", _fit(quote, item)))
    yield from text_table(rows, left={0, len(rows[0]) - 1}, least=[15, *(9 for _ in _PARTS), 8], gap=" ")
    for item in prints:
        if item.own:
            named = ", ".join(f"{name} {size / unit:.2f}" for name, size in item.own.items())
            yield f"  {item.method}'s own: {named}"


def _checkpointing(quote: Quote) -> str:
    """Return which blocks are checkpointed."""
    if quote.plain_blocks == quote.blueprint.blocks:
        return "without checkpointing"
    return f"with checkpointing{f' of all but the first {quote.plain_blocks} blocks' if quote.plain_blocks else ''}"


def _unit(quote: Quote) -> tuple[int, str]:
    """Return the unit for a model's size: GiB, or MiB if the model is too small for GiB."""
    return (GIB, "GiB") if quote.blueprint.parameters * 4 > GIB else (MIB, "MiB")


def _fit(quote: Quote, item: Footprint) -> str:
    """Return the largest micro-batch, up to a GPU's share of an update, without and with checkpointing.

    Behind it stands the most blocks without checkpointing with which it fits, if they are neither all nor none.
    """
    if quote.fleet is None:
        return ""
    memory = quote.fleet.gpu.memory_bytes
    if not item.trained:
        return " fits" if item.total(0) <= memory else " does not fit"
    blocks = quote.blueprint.blocks
    without, saving = (
        quote.footprint(item.method, item.rank, plain=plain).largest(memory, quote.share) for plain in (blocks, 0)
    )
    if not saving:
        return " does not fit"
    plain = most_plain(quote, item.method, item.rank, saving, blocks)
    return f" {without or 'none'}, {saving}{f' ({plain})' if 0 < plain < blocks else ''}"


def _time(quote: Quote) -> Iterator[str]:
    rates, fleet = quote.rates, quote.fleet
    if rates is None:
        yield "Time: not known for this model and device. --probe measures 20 updates per method and 64 answers."
        return
    whole = gpu_hours(quote.todo, rates)
    training = sum(item.training_seconds(rates) for item in quote.todo) / 3600
    edits = sum(item.edit_seconds(rates) for item in quote.todo) / 3600
    edited = f"{_hours(edits)} of edits" if edits else ""
    device = f"{fleet.count} x {fleet.gpu.name}" if fleet else "this machine's CPU"
    yield (
        f"Time, estimated: {_hours(whole)} {quote.unit}, {_hours(training)} of training"
        f"{f', {edited}' if edited else ''} and {_hours(whole - training - edits)} of evaluation; "
        f"{_hours(quote.wall_hours)} hours on {device}, {quote.lanes} lane{'s' if quote.lanes > 1 else ''}"
    )
    each = [f"{rate:.2f} ({name})" for name, rate in rates.methods.items()] or [f"{rates.train:.2f}"]
    yield f"  at {', '.join(each)} examples/s in training and {rates.answer:.2f} answers/s ({rates.origin})"
    yield from _edits(quote, rates)
    adds = ", and what gradient checkpointing or a small micro-batch adds" if fleet else ""
    yield f"  not included: loading{adds}"
    if quote.priced_elsewhere:
        yield f"  no GPU here, so priced for {device}; choose others with --gpu NAME:N, or run --probe on their machine"


def _edits(quote: Quote, rates: Rates) -> Iterator[str]:
    """Yield what the seconds of the edits come from, if there are edits to do."""
    known, passes, others = dict[str, str](), dict[str, str](), dict[str, str]()
    for item in quote.todo:
        name = item.trial.method
        if item.edits and name in rates.edits:
            known[name] = name
        elif item.edits and item.captured:
            passes[name] = f"{name} ({item.captured} examples, {EDIT_PASSES} passes each)"
        elif item.edits:
            others[name] = name
    parts = [
        (known, "measured"),
        (passes, "estimated from their passes through the decoder"),
        (others, "as the fastest that was measured" if rates.edits else "only weights are read, not included"),
    ]
    if found := [f"{', '.join(names.values())}: {origin}" for names, origin in parts if names]:
        yield f"  time of edits: {'; '.join(found)}"


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.3f}"
