"""Write the table of what batch 16 needs at 7B into price.md: ``python docs/memory_table.py``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from bench.plan.suite import LORASCULPT
from bench.plugins.groups import paper_methods
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.prepare.price.blueprint import Blueprint
from bench.prepare.price.memory import RUNTIME, training
from bench.prepare.price.quote import LEARNT_TOKENS, TEXT_TOKENS
from bench.sizes import GIB

PAGE = Path(__file__).parent / "price.md"
BEGIN, END = "<!-- memory: written by docs/memory_table.py -->", "<!-- end -->"
RANKS, BATCH, CARDS, PARTLY = (16, 32, 64), 16, (24, 40, 48, 80, 141), (40, 48, 80)

OTHERS = (32,)  # ranks of the methods outside the paper

# GiB by method and rank as bench plan counted them at 8e0c993, without checkpointing and with it: there the head read
# every position, and every adapter kept its input in float32. The methods outside the paper were not counted.
BEFORE = {
    "lora": {16: (119.5, 25.9), 32: (120.2, 26.5), 64: (121.7, 27.7)},
    "dora": {16: (253.6, 31.0), 32: (254.3, 31.6), 64: (255.8, 32.8)},
    "l2": {16: (119.5, 25.9), 32: (120.2, 26.5), 64: (121.7, 27.7)},
    "orth_reg": {16: (119.7, 26.0), 32: (120.4, 26.7), 64: (122.0, 27.9)},
    "lorasculpt": {16: (119.7, 26.1), 32: (120.5, 26.8), 64: (122.2, 28.1)},
}


def needed(blueprint: Blueprint, method: TrainMethod, rank: int) -> list[int]:
    """Return the bytes of a batch on one GPU by the number of decoder blocks that are not checkpointed."""
    recipe, tokens = LORASCULPT.recipe, blueprint.image_tokens + TEXT_TOKENS
    adapted = blueprint.adapt(method, rank, recipe, tokens)
    dimensions = replace(blueprint.dimensions(rank, recipe, tokens), learnt=LEARNT_TOKENS)
    return [
        training(method, blueprint, recipe, dimensions, adapted, plain=plain).total(BATCH) + RUNTIME
        for plain in range(blueprint.blocks + 1)
    ]


def table() -> str:
    """Return the table of the methods that train: first the paper's, then the others."""
    blueprint, registry = Blueprint.of(LORASCULPT.model, None), Registry()
    parts = ("fits", "GiB", "fits, checkpointed", "GiB, checkpointed", *(f"N for {card} GB" for card in PARTLY))
    columns = ("method", "rank", *parts, "GiB before", "before, checkpointed")
    lines = [f"| {' | '.join(columns)} |", f"|---|---:|---|---:|---|---:|{'---:|' * len(PARTLY)}---:|---:|"]
    paper = paper_methods(registry)
    for name in dict.fromkeys((*paper, *registry.names("method"))):
        plugin = registry.method(name)
        if issubclass(plugin, TrainMethod):
            for rank in RANKS if name in paper else OTHERS:
                lines.append(row(name, rank, needed(blueprint, plugin(), rank)))
    return "\n".join(lines)


def row(name: str, rank: int, sizes: list[int]) -> str:
    """Return the row of a method that needs these bytes by the number of blocks that are not checkpointed."""
    cells = [cell for size in (sizes[-1], sizes[0]) for cell in (smallest(size), f"{size / GIB:.1f}")]
    cells += [most_plain(sizes, card * GIB) for card in PARTLY]
    cells += [f"{size:.1f}" for size in BEFORE[name][rank]] if name in BEFORE else ["", ""]
    return f"| `{name}` | {rank} | {' | '.join(cells)} |"


def smallest(size: int) -> str:
    """Return the smallest card that holds ``size`` bytes."""
    return next((f"{card} GB" for card in CARDS if size <= card * GIB), "none")


def most_plain(sizes: list[int], memory: int) -> str:
    """Return the largest N of --gradient-checkpointing N that fits; a dash if no block has to be checkpointed."""
    most = max((plain for plain, size in enumerate(sizes) if size <= memory), default=None)
    return "none" if most is None else "-" if most == len(sizes) - 1 else str(most)


def page() -> str:
    """Return price.md with the table as the code gives it now."""
    text = PAGE.read_text(encoding="utf-8")
    made = f"{BEGIN}\n{table()}\n{END}"
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: made, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
