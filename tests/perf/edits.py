"""Time of Model Tailor as it is, whose captures continue at a block's door, and as it was before that.

    python -m tests.perf.edits --depths 8,16,32 --examples 8 --width 128

Both edit the same random change of a LLaVA with 576 image tokens a picture, in one process, in turns, on one thread.
Seconds are the process's own, medians of the rounds. "captures" is the time within captures, also in forward passes of
the calibration examples through all blocks. "difference" is the largest of an entry that both edits keep, and "kept
apart" the share of the entries that only one of them keeps.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from bench.checks.tiny import RECIPE
from bench.methods import model_tailor
from bench.methods.model_tailor import ModelTailor
from bench.model.change import Change, Sparse
from bench.model.llava.tiny import Side
from bench.model.resident import Base
from bench.plugins.method import EditContext
from bench.trial.capture import Capture
from bench.trial.edit import layers_of
from tests.making.deep import random_change
from tests.perf import scaled
from tests.perf.before.capture import Capture as Before
from tests.perf.before.tailor import tailor as tailor_before
from tests.perf.timing import show


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A base model, and one batch of calibration examples."""

    base: Base
    batch: Mapping[str, Tensor]


def made(blocks: int, options: argparse.Namespace) -> Made:
    """Return a scaled LLaVA with a number of blocks, and examples of which all but the first are padded."""
    width = options.width
    decoder = Side(width, width * 11 // 4, blocks, max(1, width // 64))
    shape = dataclasses.replace(scaled.SHAPE, decoder=decoder)
    model = scaled.model(shape).to(getattr(torch, options.dtype))
    pristine = {name: value.detach().clone() for name, value in model.named_parameters()}
    batch = scaled.batch(model, options.examples)
    for row in range(1, options.examples):
        batch["attention_mask"][row, len(batch["labels"][row]) - row :] = 0
    batch["pixel_values"] = batch["pixel_values"].to(getattr(torch, options.dtype))
    processor: Any = None  # no picture is read
    return Made(Base(model, scaled.tower(), processor, pristine, torch.device("cpu")), batch)


Kind = tuple[Callable[..., Callable[[int, Change, int], Mapping[str, Tensor]]], Callable[..., Any]]
KINDS: Mapping[str, Kind] = {"before": (Before, tailor_before), "after": (Capture, model_tailor.tailor)}


class Timed:
    """A capture that notes the seconds within its calls."""

    def __init__(self, capture: Callable[[int, Change, int], Mapping[str, Tensor]]) -> None:
        self._capture, self.seconds = capture, 0.0

    def __call__(self, block: int, change: Change, count: int) -> Mapping[str, Tensor]:
        began = time.process_time()
        inputs = self._capture(block, change, count)
        self.seconds += time.process_time() - began
        return inputs


def edited(kind: Kind, made: Made, change: Change) -> tuple[float, float, Change]:
    """Edit the change, and return the seconds of the edit, those within its captures, and the edited change."""
    layers, batches = layers_of(made.base.model, RECIPE, change), [made.batch]
    captures, tailoring = kind
    capture = Timed(captures(made.base, layers, lambda _: batches))
    context = EditContext(torch.Generator(), layers, lambda _: batches, capture)
    began = time.process_time()
    with torch.no_grad(), mock.patch.object(model_tailor, "tailor", tailoring):
        result = ModelTailor().edit(change, context)
    return time.process_time() - began, capture.seconds, result


def whole_pass(made: Made, change: Change) -> float:
    """Return the seconds of one forward pass of the examples through the decoder, with the change merged."""
    batch = {name: value for name, value in made.batch.items() if name != "labels"}
    with torch.no_grad(), made.base.holding(change) as model:
        began = time.process_time()
        model(**batch, use_cache=False, logits_to_keep=1)
        return time.process_time() - began


def difference(one: Change, other: Change, made: Made) -> tuple[float, float]:
    """Return the largest difference of an entry that both changes keep, and the share of entries that one alone keeps.

    A difference of rounding decides which of two entries with almost the same score is kept.
    """
    largest, apart, kept = 0.0, 0, 0
    for name, delta in one.items():
        against, shape = other[name], made.base.pristine[name].shape
        if not isinstance(delta, Sparse) or not isinstance(against, Sparse):
            continue
        left, right = (each.merged(torch.zeros(shape)) for each in (delta, against))
        both = delta.keep(shape) & against.keep(shape)
        largest = max(largest, float((left - right).abs()[both].max()))
        kept += int(delta.keep(shape).sum())
        apart += int((delta.keep(shape) & ~both).sum())
    return largest, apart / kept


def measured(blocks: int, options: argparse.Namespace) -> tuple[str, ...]:
    """Return a line of the table: an edit at one depth, with both captures in turns."""
    model = made(blocks, options)
    change = random_change(model.base, size=1e-3)
    results: dict[str, list[tuple[float, float, Change]]] = {"before": [], "after": []}
    for _ in range(options.rounds):
        for name, kind in KINDS.items():
            results[name].append(edited(kind, model, change))
    one = statistics.median(whole_pass(model, change) for _ in range(3))
    (whole, passes), (whole_after, passes_after) = (
        (statistics.median(item[0] for item in found), statistics.median(item[1] for item in found))
        for found in results.values()
    )
    largest, apart = difference(results["before"][0][2], results["after"][0][2], model)
    return (
        f"{blocks}",
        f"{whole:.2f}",
        f"{whole_after:.2f}",
        f"{whole / whole_after:.1f}",
        f"{passes:.2f}",
        f"{passes_after:.2f}",
        f"{passes / passes_after:.1f}",
        f"{passes / one:.1f}",
        f"{passes_after / one:.1f}",
        f"{largest:.1e}",
        f"{apart:.1e}",
    )


_HEADS = (
    "blocks",
    "edit, s",
    "now",
    "ratio",
    "captures, s",
    "now",
    "ratio",
    "in passes",
    "now",
    "difference",
    "kept apart",
)


def main(words: Sequence[str] | None = None) -> None:
    """Print the table of all depths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", default="8,16,32", help="decoder blocks")
    parser.add_argument("--examples", type=int, default=8)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    title = (
        f"Model Tailor, {options.examples} examples of 639 tokens, width {options.width}, {options.dtype}, one thread"
    )
    show(title, _HEADS, (measured(int(depth), options) for depth in options.depths.split(",")))


if __name__ == "__main__":
    main()
