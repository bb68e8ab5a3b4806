"""DoRA's time over LoRA's: peft's DoRA, ours, and ours with dropout on the low-rank path alone.

    python -m tests.perf.dora

A layer's rows have the forward and backward pass of 1,024 or 512 tokens, the row norms once, and from both the ratio
of an update of 10,240 tokens (16 examples), which computes the norms once; peft computes them in each pass, and an
update without checkpointing is one pass. The model's rows have whole updates of a LLaVA of the real proportions. All
ways are timed in turns on one thread, in CPU time; a ratio is the median over rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench.model.adapters import insert_lora
from bench.model.dora_layer import Magnitude
from tests.perf.before.adapted import pefts
from tests.perf.layers import DECODER, MODEL_RANK, RANK, SIZES, llava, passes, plain, recipe, update
from tests.perf.timing import dtypes, each_round, ratio

UPDATE = 10_240
NAMES = ("lora", "peft's dora", "dora", "dora, low_rank")


def layer(name: str, shape: tuple[int, int], dropout: float) -> Any:
    """Return a layer of real size, wrapped in one of the ways."""
    wrapped = pefts(plain(*shape, torch.float32), "0", RANK, dropout, dora=name == "peft's dora")
    if name.startswith("dora"):
        inner = wrapped.base_model.model[0]
        made = Magnitude(inner.get_base_layer().weight, drop_base=name == "dora")
        inner.lora_magnitude_vector["default"] = inner.lora_variant["default"] = made
    return wrapped


def norms(wrapped: nn.Module, name: str) -> Callable[[], object]:
    """Return a function that computes a layer's row norms as one of the ways does."""
    inner: Any = wrapped.base_model.model[0]  # type: ignore[index, union-attr]
    a, b, weight = inner.lora_A["default"], inner.lora_B["default"], inner.get_base_layer().weight
    magnitude = inner.lora_magnitude_vector["default"]
    if name == "peft's dora":
        return lambda: magnitude.get_weight_norm(weight, magnitude.get_lora_weight(a, b).detach(), 2.0)

    def ours() -> None:
        magnitude._known = None
        magnitude.norms(weight, a.weight, b.weight, 2.0)

    return ours


def layer_row(shape: tuple[int, int], dropout: float, rounds: int) -> list[str]:
    """Return a row of the table: milliseconds, and ratios at an update's tokens."""
    wrapped, tokens = {name: layer(name, shape, dropout) for name in NAMES}, 1024 if shape[0] == shape[1] else 512
    found = each_round({name: passes(each, shape[1], tokens, torch.float32) for name, each in wrapped.items()}, rounds)
    own = {name: norms(each, name) for name, each in wrapped.items() if name != "lora"}
    each_norm = {name: statistics.median(times) for name, times in each_round(own, rounds).items()}
    row = [f"{shape[0]}x{shape[1]} r{RANK}", f"{dropout:g}"]
    row += [f"{1000 * statistics.median(found['lora']):.0f}"]
    lora = statistics.median(found["lora"]) * UPDATE / tokens
    for name in NAMES[1:]:
        passed = ratio(found, name, "lora") * statistics.median(found["lora"])
        passed -= each_norm[name] if name == "peft's dora" else 0.0  # ours kept the norms of the first call
        row += [f"{1000 * each_norm[name]:.0f}", f"{(passed * UPDATE / tokens + each_norm[name]) / lora:.2f}"]
    return row


def model_row(dropout: float, dtype: torch.dtype, rounds: int) -> list[str]:
    """Return a row of the table for whole updates of one example."""
    wrapped: dict[str, Any] = {name: pefts(llava(dtype), DECODER, MODEL_RANK, dropout) for name in NAMES[:1]}
    wrapped[NAMES[1]] = pefts(llava(dtype), DECODER, MODEL_RANK, dropout, dora=True)
    for name, drops in ((NAMES[2], True), (NAMES[3], False)):
        wrapped[name] = insert_lora(llava(dtype), MODEL_RANK, recipe(dropout), dora=True, drop_base=drops).train()
    found = each_round({name: update(each, dtype) for name, each in wrapped.items()}, rounds)
    row = [f"LLaVA r{MODEL_RANK} {str(dtype).removeprefix('torch.')}", f"{dropout:g}"]
    row += [f"{1000 * statistics.median(found['lora']):.0f}"]
    for name in NAMES[1:]:
        row += ["", f"{ratio(found, name, 'lora'):.2f}"]
    return row


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    head = ["", "dropout", "lora ms", "norm ms", "peft", "norm ms", "ours", "norm ms", "low_rank"]
    print(("{:<22}" + "{:>9}" * 8).format(*head))
    for shape in SIZES:
        for dropout in (0.0, 0.05):
            print(("{:<22}" + "{:>9}" * 8).format(*layer_row(shape, dropout, 2)), flush=True)
    for dtype in dtypes():
        for dropout in (0.0, 0.05):
            print(("{:<22}" + "{:>9}" * 8).format(*model_row(dropout, dtype, 3)), flush=True)


if __name__ == "__main__":
    main()
