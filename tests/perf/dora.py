"""DoRA's time over LoRA's: peft's over peft's LoRA; ours, and ours with dropout on the low-rank path alone, over ours.

    python -m tests.perf.dora

A layer's rows have the forward and backward pass of 512 or 256 tokens, the row norms once, and from both the ratio of
an update of 10,240 tokens (16 examples), which computes the norms once; peft computes them in each pass, and an update
without checkpointing is one pass. The model's rows have whole updates of a LLaVA of the real proportions. All ways are
timed in turns on one thread, in CPU time; a ratio is the median over rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch

from bench.model.adapters import insert_lora
from tests.perf.before.adapted import pefts
from tests.perf.layers import DECODER, MODEL_RANK, RANK, SIZES, llava, ours, passes, plain, recipe, update
from tests.perf.timing import dtypes, each_round, ratio, show

UPDATE = 10_240
# each way, and the LoRA that its time is divided by
WAYS = {"peft's dora": "peft's lora", "dora": "lora", "dora, low_rank": "lora"}
NAMES = ("peft's lora", "lora", *WAYS)


def layer(name: str, shape: tuple[int, int], dropout: float, dtype: torch.dtype) -> Any:
    """Return a layer of real size, wrapped in one of the ways."""
    frozen, dora = plain(*shape, dtype), "dora" in name
    if name.startswith("peft"):
        return pefts(frozen, "0", RANK, dropout, dora=dora)
    return ours(frozen, dropout, dora=dora, drop_base="low_rank" not in name)


def model(name: str, dropout: float, dtype: torch.dtype) -> Any:
    """Return a LLaVA, wrapped in one of the ways."""
    tree, dora = llava(dtype), "dora" in name
    if name.startswith("peft"):
        return pefts(tree, DECODER, MODEL_RANK, dropout, dora=dora)
    return insert_lora(tree, MODEL_RANK, recipe(dropout), dora=dora, drop_base="low_rank" not in name).train()


def norms(wrapped: Any, name: str) -> Callable[[], object]:
    """Return a function that computes a layer's row norms as one of the ways does."""
    inner = wrapped.base_model.model[0]
    a, b, weight = inner.lora_A["default"], inner.lora_B["default"], inner.get_base_layer().weight
    magnitude = inner.lora_magnitude_vector["default"]
    if name == "peft's dora":
        return lambda: magnitude.get_weight_norm(weight, magnitude.get_lora_weight(a, b).detach(), 2.0)

    def own() -> None:
        magnitude._known = None
        magnitude.norms(weight, a.weight, b.weight, 2.0)

    return own


def milliseconds(found: Mapping[str, list[float]]) -> list[str]:
    """Return the cells of both LoRAs' times."""
    return [f"{1000 * statistics.median(found[name]):.0f}" for name in NAMES[:2]]


def layer_row(shape: tuple[int, int], dropout: float, dtype: torch.dtype, rounds: int) -> list[str]:
    """Return a row of the table: milliseconds, and ratios at an update's tokens."""
    tokens = 512 if shape[0] == shape[1] else 256
    wrapped = {name: layer(name, shape, dropout, dtype) for name in NAMES}
    found = each_round({name: passes(each, shape[1], tokens, dtype) for name, each in wrapped.items()}, rounds)
    own = each_round({name: norms(wrapped[name], name) for name in WAYS}, rounds)
    row = [f"{shape[0]}x{shape[1]} r{RANK} {_named(dtype)}", f"{dropout:g}", *milliseconds(found)]
    for name, baseline in WAYS.items():
        lora, norm = statistics.median(found[baseline]), statistics.median(own[name])
        passed = ratio(found, name, baseline) * lora
        passed -= norm if name == "peft's dora" else 0.0  # ours kept the norms of the first call
        row += [f"{1000 * norm:.0f}", f"{(passed * UPDATE / tokens + norm) / (lora * UPDATE / tokens):.2f}"]
    return row


def model_row(dropout: float, dtype: torch.dtype, rounds: int) -> list[str]:
    """Return a row of the table for whole updates of one example."""
    found = each_round({name: update(model(name, dropout, dtype), dtype) for name in NAMES}, rounds)
    row = [f"LLaVA r{MODEL_RANK} {_named(dtype)}", f"{dropout:g}", *milliseconds(found)]
    for name, baseline in WAYS.items():
        row += ["", f"{ratio(found, name, baseline):.2f}"]
    return row


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    fast, rows = dtypes(), list[list[str]]()
    for dtype in fast:
        rows += [layer_row(shape, dropout, dtype, 2) for shape in SIZES for dropout in (0.0, 0.05)]
    rows += [model_row(dropout, dtype, 3) for dtype in fast for dropout in (0.0, 0.05)]
    head = ["", "dropout", "peft's lora, ms", "our lora, ms"]
    head += ["norm, ms", "peft's dora", "norm, ms", "dora", "norm, ms", "low_rank"]
    show(
        "DoRA over LoRA: peft's over peft's, ours over ours; layers at 10,240 tokens, models at one example", head, rows
    )


if __name__ == "__main__":
    main()
