"""Define the rows of the paper's tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.papers.study import GridPoint, Study
from bench.plan.plan import Cell
from bench.plugins.groups import paper_methods
from bench.plugins.registry import Registry
from bench.values.recipe import Connector

_UNNAMED = "full unless named"  # one block, because all rows of Table 2 are compared with each other
_CONNECTORS: tuple[tuple[str, Connector], ...] = (
    ("lora", "full"),
    ("lora", "lora"),
    ("lora", "frozen"),
    ("lorasculpt", "full"),
    ("lorasculpt", "lora"),
)
_BETAS = ("1e-2", "1e-3", "1e-4", "1e-5", "1e-6")


def connectors(point: GridPoint) -> Iterator[Cell]:
    """Yield LoRA and LoRASculpt with the connectors of Table 2.

    If the connector has LoRA, Eq. 10 applies to LoRASculpt.
    """
    for method, connector in _CONNECTORS:
        cell = point.with_connector(connector).cell(method, "" if connector == "full" else f"connector={connector}")
        yield replace(cell, key=replace(cell.key, connector=_UNNAMED))


def ablation(point: GridPoint) -> Iterator[Cell]:
    """Yield LoRA, each part of LoRASculpt alone, and both parts.

    SRR is the sparse factors, and RKH is the penalties.
    """
    quiet = {"alpha": 0.0} | ({"beta": 0.0} if point.request.recipe.connector == "lora" else {})
    yield point.cell("lora")
    yield point.cell("lorasculpt", "srr", **quiet)
    yield point.cell("lorasculpt", "rkh", density=1.0)
    yield point.cell("lorasculpt")


def betas(point: GridPoint) -> Iterator[Cell]:
    """Yield LoRASculpt with every beta of Table I and with LoRA on the connector.

    The default beta is the method's own row.
    """
    point = point.with_connector("lora")
    own = point.cell("lorasculpt")
    for text in _BETAS:
        cell = point.cell("lorasculpt", f"beta={text}", beta=float(text))
        yield own if cell.trial == own.trial else cell


TABLES = (
    Study(
        name="table1",
        title="Table 1: every method, rank and target",
        methods=paper_methods(Registry()),
        ranks="16,32,64",
        cells_at=lambda point: map(point.cell, point.request.methods),
        tables=("1",),
        caption="Every method has its default hyperparameters and the recipe's learning rate.",
    ),
    Study(
        name="table2",
        title="Table 2: the connector tuned in full, with LoRA, or frozen, under LoRA and LoRASculpt",
        methods=("lora", "lorasculpt"),
        ranks="64",
        targets="first",
        cells_at=connectors,
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
        cells_at=ablation,
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
        cells_at=betas,
        tables=("I",),
        caption="lorasculpt without a variant has the default, beta = 1e-5. The connector has LoRA.",
    ),
)
