"""The price of a plan on GPUs of a fleet."""

from __future__ import annotations

from bench.prepare.price.blueprint import Blueprint
from bench.prepare.price.draft import Draft
from bench.prepare.price.quote import Quote
from bench.prepare.price.rates import REFERENCE, Fleet, published
from bench.values.resources import Resources

RATE = 665_000 / 36_000 / 8  # samples a second of one A100
ONE = Fleet(REFERENCE, 1)


def quoted(found: Draft, fleet: Fleet = ONE, workers: int = 1) -> Quote:
    blueprint = Blueprint.of(found.plan.request.suite.model, found.folder)
    rates = published(blueprint.parameters, fleet.gpu)
    return Quote(found.plan, blueprint, Resources(workers=workers), fleet, rates)
