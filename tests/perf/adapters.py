"""What adapters keep for the backward pass, and their time, as peft's own layers and as ours.

    python -m tests.perf.adapters

Bytes are those that autograd keeps of the forward pass of a layer or a decoder, each storage once, without the
parameters, for each token. On a CPU, peft's dropout keeps a float32 mask, and a byte an entry on a GPU, as ours does
everywhere: "byte mask" is peft with such a dropout. Both ways are timed in turns on one thread, in CPU time, a decoder
in whole updates; a ratio is the median over rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.model.adapters import insert_lora
from tests.perf.before.adapted import pefts
from tests.perf.layers import DECODER, MODEL_RANK, RANK, SIZES, llava, ours, passes, plain, recipe, update
from tests.perf.timing import dtypes, each_round, ratio, show

TOKENS, DROPOUT, ROUNDS = 256, 0.05, 3
COUNTED = 16  # tokens of a pass whose bytes are counted: few, because a CPU may compute bfloat16 slowly
NAMES = ("peft", "ours")

Calls = Mapping[str, Callable[[], object]]


class ByteMask(nn.Dropout):
    """Dropout that keeps one byte an entry, as peft's does on a GPU."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        return torch.native_dropout(input, self.p, self.training)[0]


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


def with_byte_masks(wrapped: Any) -> Any:
    """Let peft's layers of a model keep one byte an entry for dropout."""
    for module in wrapped.modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = ByteMask(DROPOUT)
    return wrapped.train()


def row(label: str, wrapped: Mapping[str, Any], run: Callable[[Any], Callable[[], object]], calls: Calls) -> list[str]:
    """Return a row of the table: the times of ``calls``, if there are any, and what a pass of ``run`` keeps."""
    times = ["-", "-", "-"]
    if calls:
        found = each_round(calls, ROUNDS)
        times = [f"{1000 * statistics.median(found[name]):.0f}" for name in NAMES]
        times += [f"{ratio(found, 'ours', 'peft'):.2f}"]
    bytes_ = {name: kept(run(each), each) for name, each in wrapped.items()}
    bytes_["byte mask"] = kept(run(masked := with_byte_masks(wrapped["peft"])), masked)
    sizes = (bytes_[name] / 1024 / COUNTED for name in ("peft", "byte mask", "ours"))
    return [label, *times, *(f"{size:.1f}" for size in sizes)]


def layer_row(shape: tuple[int, int], dtype: torch.dtype, *, timed: bool) -> list[str]:
    """Return the row of a layer of real size."""
    wrapped = {"peft": pefts(plain(*shape, dtype), "0", RANK, DROPOUT), "ours": ours(plain(*shape, dtype), DROPOUT)}
    calls = {way: passes(each, shape[1], TOKENS, dtype) for way, each in wrapped.items()} if timed else {}
    x = torch.randn(COUNTED, shape[1]).to(dtype).requires_grad_()
    label = f"{shape[0]}x{shape[1]} r{RANK} {str(dtype).removeprefix('torch.')}"
    return row(label, wrapped, lambda each: lambda: each(x), calls)


def model_row(dtype: torch.dtype, *, timed: bool) -> list[str]:
    """Return the row of a LLaVA's decoder with three blocks of width 512."""
    wrapped: dict[str, Any] = {"peft": pefts(llava(dtype), DECODER, MODEL_RANK, DROPOUT)}
    wrapped["ours"] = insert_lora(llava(dtype), MODEL_RANK, recipe(DROPOUT)).train()
    calls = {way: update(each, dtype) for way, each in wrapped.items()} if timed else {}

    def decoding(model: Any) -> Callable[[], object]:
        decoder = model.get_base_model().model.language_model
        hidden = torch.randn(1, COUNTED, decoder.config.hidden_size).to(dtype).requires_grad_()
        return lambda: decoder(inputs_embeds=hidden, use_cache=False)

    return row(f"LLaVA r{MODEL_RANK} {str(dtype).removeprefix('torch.')}", wrapped, decoding, calls)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    rows, fast = [], dtypes()
    for dtype in (torch.float32, torch.bfloat16):
        rows += [layer_row(shape, dtype, timed=dtype in fast) for shape in SIZES]
        rows.append(model_row(dtype, timed=dtype in fast))
    head = ["", "peft ms", "ours ms", "ratio", "peft KiB", "byte mask", "ours KiB"]
    show("Adapters with dropout 0.05; KiB kept for each token", head, rows)


if __name__ == "__main__":
    main()
