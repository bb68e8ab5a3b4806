"""What adapters keep for the backward pass, and their time, as peft's own layers and as ours.

    python -m tests.perf.adapters

Bytes are those that autograd keeps of one pass, each storage once, without the parameters. On a CPU, peft's dropout
keeps a float32 mask; a GPU's takes one byte, as ours does everywhere. Both ways are timed in turns on one thread, in
CPU time; a ratio is the median over rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.model.adapter_input import Casts, Factor, Reads
from bench.model.adapters import insert_lora
from tests.perf.before.adapted import pefts
from tests.perf.layers import DECODER, MODEL_RANK, RANK, SIZES, llava, passes, plain, recipe, update
from tests.perf.timing import dtypes, each_round, ratio

TOKENS, DROPOUT, ROUNDS = 256, 0.05, 3
NAMES = ("peft", "ours")


def kept(run: Callable[[], object], model: nn.Module) -> int:
    """Return the bytes that autograd keeps of what ``run`` does, each storage once, without the parameters."""
    own = {value.untyped_storage().data_ptr() for value in model.parameters()}
    storages: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(storage.nbytes() for place, storage in storages.items() if place not in own)


def layer(name: str, shape: tuple[int, int], dtype: torch.dtype) -> Any:
    """Return a layer of real size, wrapped in one of the ways."""
    wrapped = pefts(plain(*shape, dtype), "0", RANK, DROPOUT)
    if name == "ours":
        inner = wrapped.base_model.model[0]
        factor = Factor(inner.lora_A["default"].weight)
        inner.lora_A["default"], inner.lora_dropout["default"] = factor, Reads(DROPOUT, factor, Casts(), last=True)
        inner.cast_input_dtype_enabled = False
    return wrapped


def row(label: str, wrapped: dict[str, Any], calls: dict[str, Callable[[], object]]) -> list[str]:
    """Return a row of the table."""
    found = each_round(calls, ROUNDS)
    bytes_ = [kept(calls[name], wrapped[name]) for name in NAMES]
    times = [f"{1000 * statistics.median(found[name]):.0f}" for name in NAMES]
    return [label, *times, f"{ratio(found, 'ours', 'peft'):.2f}", *(f"{size / 2**20:.1f}" for size in bytes_)]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    line = "{:<28}" + "{:>10}" * 5
    print(line.format("", "peft ms", "ours ms", "ratio", "peft MiB", "ours MiB"))
    for dtype in dtypes():
        name = str(dtype).removeprefix("torch.")
        for shape in SIZES:
            wrapped = {way: layer(way, shape, dtype) for way in NAMES}
            calls = {way: passes(each, shape[1], TOKENS, dtype) for way, each in wrapped.items()}
            print(line.format(*row(f"{shape[0]}x{shape[1]} r{RANK} {name}", wrapped, calls)), flush=True)
        wrapped = {"peft": pefts(llava(dtype), DECODER, MODEL_RANK, DROPOUT)}
        wrapped["ours"] = insert_lora(llava(dtype), MODEL_RANK, recipe(DROPOUT)).train()
        calls = {way: update(each, dtype) for way, each in wrapped.items()}
        print(line.format(*row(f"LLaVA r{MODEL_RANK} {name}", wrapped, calls)), flush=True)


if __name__ == "__main__":
    main()
