"""Define the rows of the paper's tables."""

from __future__ import annotations

from dataclasses import replace

from bench.papers.study import Study, places
from bench.plan.plan import Cell
from bench.plan.plan import cells as product
from bench.plan.request import Request
from bench.plugins.registry import BUILT_IN_METHODS
from bench.spec import Connector

_UNNAMED = "full unless named"  # one block, because all rows of Table 2 are compared with each other
_CONNECTORS: tuple[tuple[str, Connector], ...] = (
    ("lora", "full"),
    ("lora", "lora"),
    ("lora", "frozen"),
    ("lorasculpt", "full"),
    ("lorasculpt", "lora"),
)
_BETAS = {"1e-2": 1e-2, "1e-3": 1e-3, "1e-4": 1e-4, "1e-5": 1e-5, "1e-6": 1e-6}


def connectors(request: Request) -> tuple[Cell, ...]:
    """Return LoRA and LoRASculpt with the connectors of Table 2.

    If the connector has LoRA, Eq. 10 applies to LoRASculpt.
    """
    found = []
    for place in places(request):
        for method, connector in _CONNECTORS:
            there = replace(place, request=replace(request, recipe=replace(request.recipe, connector=connector)))
            variant = "" if connector == "full" else f"connector={connector}"
            cell = Cell.of(request.registry, there.trial(method), variant)
            found.append(replace(cell, key=replace(cell.key, connector=_UNNAMED)))
    return tuple(found)


def ablation(request: Request) -> tuple[Cell, ...]:
    """Return LoRA, each part of LoRASculpt alone, and both parts.

    SRR is the sparse factors, and RKH is the penalties.
    """
    quiet = {"alpha": 0.0} | ({"beta": 0.0} if request.recipe.connector == "lora" else {})
    found = []
    for place in places(request):
        found.append(Cell.of(request.registry, place.trial("lora")))
        found.append(Cell.of(request.registry, place.trial("lorasculpt", **quiet), "srr"))
        found.append(Cell.of(request.registry, place.trial("lorasculpt", density=1.0), "rkh"))
        found.append(Cell.of(request.registry, place.trial("lorasculpt")))
    return tuple(found)


def betas(request: Request) -> tuple[Cell, ...]:
    """Return LoRASculpt with every beta of Table I and with LoRA on the connector.

    The default beta is the method's own row.
    """
    found = []
    for place in places(replace(request, recipe=replace(request.recipe, connector="lora"))):
        standard = place.trial("lorasculpt")
        for text, beta in _BETAS.items():
            trial = place.trial("lorasculpt", beta=beta)
            found.append(Cell.of(request.registry, trial, "" if trial == standard else f"beta={text}"))
    return tuple(found)


TABLES = (
    Study(
        name="table1",
        title="Table 1: every method, rank and target",
        methods=BUILT_IN_METHODS,
        ranks="16,32,64",
        cells=product,
        tables=("1",),
        caption="Every method has its default hyperparameters and the recipe's learning rate.",
    ),
    Study(
        name="table2",
        title="Table 2: the connector tuned in full, with LoRA, or frozen, under LoRA and LoRASculpt",
        methods=("lora", "lorasculpt"),
        ranks="64",
        targets="first",
        cells=connectors,
        tables=("2",),
        caption=(
            "A row that names no connector tunes the connector in full. lorasculpt connector=lora adds the penalty of "
            "Eq. 10 on the connector's LoRA. Avg - lora is the difference from lora with the same connector."
        ),
    ),
    Study(
        name="table3",
        title="Table 3: LoRASculpt's two parts, SRR (sparse factors) and RKH (the penalty)",
        methods=("lora", "lorasculpt"),
        ranks="32",
        cells=ablation,
        tables=("3",),
        caption=(
            "srr has sparse factors without the penalty (alpha = 0). rkh has the penalty without sparse factors "
            "(density = 1). The paper's table lacks the row rkh, but without it the effects of the two parts cannot be "
            "told apart. lorasculpt without a variant has both parts (the paper's SRR + RKH)."
        ),
    ),
    Study(
        name="tableI",
        title="Table I: beta, the weight of the penalty on the connector's LoRA",
        methods=("lorasculpt",),
        ranks="64",
        targets="first",
        cells=betas,
        tables=("I",),
        caption="lorasculpt without a variant has the default, beta = 1e-5. The connector has LoRA.",
    ),
)
