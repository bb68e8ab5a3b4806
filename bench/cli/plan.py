"""``bench plan``: print what a run would do, and what the run costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bench.cli.arguments import arg, flag, words_of
from bench.cli.chained import Chained
from bench.cli.launch_options import HowTrialsRun
from bench.cli.options import Output, TextOrJson
from bench.cli.request import check_curves, read_request
from bench.console import say, tell
from bench.errors import UsageError
from bench.plugins.registry import Registry
from bench.prepare.price.draft import Draft, draft
from bench.prepare.price.measured import measured, this_machine
from bench.prepare.price.rates import GPUS, REFERENCE, Fleet, ProbeResult, Rates, here, published
from bench.store.json_note import json_text
from bench.store.run_folder import Store

if TYPE_CHECKING:
    from bench.prepare.price.quote import Quote

_COST = "what the run costs"
_PROPOSED = ("methods", "ranks", "targets", "seeds", "limit", "budget", "gpu", "probe")
_FITTED = ("micro_batch", "eval_batch", "gradient_checkpointing")
_LISTED = 24  # trials that the text lists; of more it gives the totals, and --format json has each
_LARGE = 1e9  # parameters; a smaller model runs well on a CPU


@dataclass(frozen=True, kw_only=True)
class PlanOptions(TextOrJson, HowTrialsRun, Output, Chained):
    """The options of ``bench plan``; if they name tasks, those of ``bench sequence``."""

    lanes: int | None = arg(
        None, "number of lanes of the run (default: as in bench run)", "N", type=int, group=_COST, least=0
    )
    gpu: str | None = arg(
        None,
        "price the run for N GPUs of type NAME (default: this machine's, else one A100 40GB)",
        "NAME:N",
        group=_COST,
    )
    probe: bool = flag(
        "measure 20 updates per method and 64 answers here, and store the result in the run folder", group=_COST
    )
    budget: str | None = arg(
        None, "propose runs that fit into a number of GPU-hours, such as 40h", "HOURS", group=_COST
    )

    def others(self, *, fitted: bool) -> list[str]:
        """Return the words of the options that a proposal keeps; a ``fitted`` one sets the batch sizes."""
        replaced = (*_PROPOSED, *_FITTED) if fitted else _PROPOSED
        return words_of(self, (name for name in self.typed if name not in replaced))


def plan(options: PlanOptions) -> int:
    """Print what a run would do, and what the run costs."""
    from bench.prepare.price.as_json import as_json  # imported here because these load torch
    from bench.prepare.price.text import lines

    store = options.store()
    fleet = read_fleet(options.gpu) if options.gpu else None
    options.launch()  # refuses values out of range before anything is printed
    hours = None if options.budget is None else _hours(options.budget)
    if hours is not None and options.format == "json":
        raise UsageError("--budget proposes runs as text. Drop --format json or --budget.")
    found = _draft(options, store)
    if options.format == "text":
        tell(_head(found, whole=not (options.gpu or options.probe or options.budget)))
    if options.probe:
        from bench.prepare.price.probe import probe

        how = options.fitted(options.launch(), lambda: found.plan).resources
        say(f"wrote {probe(found, how, store)}")
    quote = _quote(options, found, store, fleet)
    if options.format == "json":
        print(json_text(as_json(quote, tuple(found.missing))))
        return 0
    tell(lines(quote))
    if hours is not None:
        tell(["", *_proposals(quote, hours, options)])
    return 0


def _quote(options: PlanOptions, found: Draft, store: Store, fleet: Fleet | None) -> Quote:
    """Return the price of a plan on a fleet, or else on this machine.

    Raises:
        UsageError: a trial needs more GPUs than there are.
    """
    from bench.prepare.price.blueprint import Blueprint
    from bench.prepare.price.fitting import fitted
    from bench.prepare.price.quote import Quote

    how = options.launch().resources
    blueprint = Blueprint.of(found.plan.request.suite.model, found.folder)
    if options.address and fleet is None:
        say(
            f"bench plan does not ask the cluster at --address {options.address} for its GPUs. "
            "Name all of them with --gpu NAME:N."
        )
    known = fleet or here()
    fleet = known or (Fleet(REFERENCE, 1) if blueprint.parameters >= _LARGE else None)
    if fleet is not None and how.workers > fleet.count:
        raise UsageError(
            f"--gpus-per-trial is {how.workers}, but there are only {fleet.count} x {fleet.gpu.name}. "
            "Name more with --gpu NAME:N."
        )
    elsewhere = known is None and fleet is not None
    rates = _rates(found, store, fleet, blueprint.parameters, recorded=not (options.gpu or elsewhere))
    quote = Quote(found.plan, blueprint, how, fleet, rates, priced_elsewhere=elsewhere, most_lanes=options.lanes)
    return replace(quote, resources=fitted(quote)) if options.fits_blocks else quote


def _draft(options: PlanOptions, store: Store) -> Draft:
    """Return the plan of the cells, or of the sequence if the options name tasks.

    Raises:
        UsageError: the options mean no plan, or a sequence is to fit into a budget.
    """
    if not options.is_sequence:
        check_curves(options)
        return draft(read_request(options, options.output), store)
    if options.budget:
        raise UsageError("--budget proposes runs, not sequences of tasks. Drop --budget or --tasks.")
    registry = Registry(options.plugin)
    asked = read_request(options.chain_cells(registry), options.output, registry)
    return draft(
        asked, store, lambda request, store: options.chain_request(registry, request, options.output).plan(store)
    )


def _proposals(quote: Quote, hours: float, options: PlanOptions) -> Iterator[str]:
    """Yield runs that fit into a number of GPU-hours, with the methods that fit in the GPUs' memory.

    Raises:
        UsageError: the speed of the device is unknown.
    """
    from bench.prepare.price.budget import Budget, proposals
    from bench.prepare.price.fitting import fitting_options

    if quote.rates is None:
        raise UsageError(
            "--budget needs a rate, and the rate of this model on this device is unknown. Measure it with --probe."
        )
    asked = quote.plan.request
    unfit = fitting_options(quote, quote.methods, min(quote.ranks)).unfit
    kept = tuple(name for name in asked.methods if name not in unfit)
    if kept and kept != asked.methods:
        yield f"Left out because a GPU cannot hold them: {', '.join(name for name in asked.methods if name in unfit)}."
        asked = replace(asked, methods=kept)
    others = options.others(fitted=quote.fleet is not None)
    yield from proposals(Budget.of(asked, quote.rates, quote.unit), hours, others, partial(fitting_options, quote))


def _head(found: Draft, *, whole: bool) -> Iterator[str]:
    """Yield what is missing or the plan itself, and what the plan leaves out.

    The trials of an assumed plan have no ids yet.
    """
    if found.missing:
        yield f"Missing here: {'; '.join(found.missing)}."
        yield from found.faults
        yield "The plan uses declared sizes and published shapes, and counts nothing as cached."
        yield ""
    elif whole:
        yield from found.plan.lines() if len(found.plan.jobs) <= _LISTED else found.plan.totals()
        yield ""
        return
    if found.plan.notes:  # lines() has them too
        yield from found.plan.notes
        yield ""


def _rates(found: Draft, store: Store, fleet: Fleet | None, parameters: int, *, recorded: bool) -> Rates | None:
    """Return a probe's rates if there is one for this model, else those of the records, else published rates.

    Records count if they are of this machine; ``recorded`` is whether the run is priced for it.
    """
    from bench.prepare.price.work import declared

    gpu, slowdown = fleet.gpu if fleet else None, partial(declared, found.plan.request)
    probe = ProbeResult.read(store.root)
    rates = probe.rates(found.model, gpu, slowdown) if probe else None
    if rates is None and recorded:
        rates = measured(store.records(), found.plan.zero_shot.model, this_machine(), slowdown)
    return rates or (published(parameters, gpu) if gpu else None)


def read_fleet(text: str) -> Fleet:
    """Return the GPUs that ``--gpu NAME[:N]`` means.

    Raises:
        UsageError: the kind is not known, or the number is not a positive integer.
    """
    name, _, count = text.partition(":")
    known = {item.upper(): gpu for item, gpu in GPUS.items()}
    gpu = known.get(name.strip().upper()) or known.get(f"{name.strip().upper()} 80GB")
    if gpu is None:
        raise UsageError(f"--gpu {name.strip()!r} is not known. Known: {', '.join(GPUS)}.")
    if count and not (count.strip().isdigit() and int(count) > 0):
        raise UsageError(f"--gpu {text!r} needs a number of GPUs after the colon. Give it as in {gpu.name}:4.")
    return Fleet(gpu, int(count or 1))


def _hours(text: str) -> float:
    try:
        hours = float(text.strip().lower().removesuffix("h"))
    except ValueError:
        hours = 0.0
    if not 0 < hours < float("inf"):
        raise UsageError(f"--budget is {text!r}; give GPU-hours, such as 40h.")
    return hours
