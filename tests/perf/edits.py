"""Time of Model Tailor as it is, whose captures continue at a block's door, and as it was before that.

    python -m tests.perf.edits --depths 8,16,32 --examples 8 --width 128

Both edit the same random change of a LLaVA with 576 image tokens a picture, in one process, in turns, on one thread.
Seconds are medians of the rounds. "captures" is the time within captures, also in forward passes of the calibration
examples through all blocks. "largest difference" is that of any entry of the two edited changes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from bench.checks.tiny import RECIPE
from bench.methods import model_tailor
from bench.methods.model_tailor import ModelTailor
from bench.model.change import Change
from bench.plugins.method import EditContext
from bench.text import text_table
from bench.trial.capture import Capture
from bench.trial.edit import layers_of
from tests.making.deep import random_change
from tests.making.scaled import Scaled, scaled
from tests.perf.before.capture import Capture as Before
from tests.perf.before.tailor import tailor as tailor_before

Kind = tuple[Callable[..., Callable[[int, Change, int], Mapping[str, Tensor]]], Callable[..., Any]]
KINDS: Mapping[str, Kind] = {"before": (Before, tailor_before), "after": (Capture, model_tailor.tailor)}


class Timed:
    """A capture that notes the seconds within its calls."""

    def __init__(self, capture: Callable[[int, Change, int], Mapping[str, Tensor]]) -> None:
        self._capture, self.seconds = capture, 0.0

    def __call__(self, block: int, change: Change, count: int) -> Mapping[str, Tensor]:
        began = time.perf_counter()
        inputs = self._capture(block, change, count)
        self.seconds += time.perf_counter() - began
        return inputs


def edited(kind: Kind, made: Scaled, change: Change, count: int) -> tuple[float, float, Change]:
    """Edit the change, and return the seconds of the edit, those within its captures, and the edited change."""
    layers, batches = layers_of(made.base.model, RECIPE, change), [made.batch(count)]
    captures, tailoring = kind
    capture = Timed(captures(made.base, layers, lambda _: batches))
    context = EditContext(torch.Generator(), layers, lambda _: batches, capture)
    began = time.perf_counter()
    with torch.no_grad(), mock.patch.object(model_tailor, "tailor", tailoring):
        result = ModelTailor(n_samples=count).edit(change, context)
    return time.perf_counter() - began, capture.seconds, result


def whole_pass(made: Scaled, change: Change, count: int) -> float:
    """Return the seconds of one forward pass of the examples through the decoder, with the change merged."""
    batch = {name: value for name, value in made.batch(count).items() if name != "labels"}
    with torch.no_grad(), made.base.holding(change) as model:
        began = time.perf_counter()
        model(**batch, use_cache=False, logits_to_keep=1)
        return time.perf_counter() - began


def difference(one: Change, other: Change) -> float:
    """Return the largest difference of any entry of two changes."""
    pairs = (
        (value.float(), other[name].tensors()[part].float())
        for name, delta in one.items()
        for part, value in delta.tensors().items()
    )
    return max(
        float((left - right).abs().max()) if left.shape == right.shape else float("inf") for left, right in pairs
    )


def measured(blocks: int, options: argparse.Namespace) -> tuple[str, ...]:
    """Return a line of the table: an edit at one depth, with both captures in turns."""
    made = scaled(blocks, options.width, options.dtype)
    change = random_change(made.base, size=1e-3)
    results: dict[str, list[tuple[float, float, Change]]] = {"before": [], "after": []}
    for _ in range(options.rounds):
        for name, kind in KINDS.items():
            results[name].append(edited(kind, made, change, options.examples))
    one = statistics.median(whole_pass(made, change, options.examples) for _ in range(3))
    (whole, passes), (whole_after, passes_after) = (
        (statistics.median(item[0] for item in found), statistics.median(item[1] for item in found))
        for found in results.values()
    )
    differs = difference(results["before"][0][2], results["after"][0][2])
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
        f"{differs:.1e}",
    )


_HEADS = ("blocks", "edit, s", "now", "ratio", "captures, s", "now", "ratio", "in passes", "now", "largest difference")


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
    rows = [_HEADS, *(measured(int(depth), options) for depth in options.depths.split(","))]
    text = "\n".join(text_table(rows, left=set()))
    sys.stdout.write(
        f"Model Tailor, {options.examples} examples of 640 tokens, width {options.width}, {options.dtype}\n{text}\n"
    )


if __name__ == "__main__":
    main()
