"""Time of Model Tailor as it is, whose captures continue at a block's door, and as it was before that.

    python -m tests.perf.edits --depths 8,15,30 --examples 8 --width 128

Both edit the same random change of a LLaVA with 576 image tokens a picture, in one process, on one thread. Seconds are
the process's own, medians of the rounds; a depth has one round unless ``--rounds`` asks for more, because the old way
takes most of the time. "captures" is the time within captures, also in forward passes of the calibration examples
through all blocks.

The last columns compare old and new part by part, each on the same inputs, outside the timing: "inputs" is the largest
relative difference of what a block's layers read, from the old and from the new capture, with the old tailoring before
it. "changes" is that of a row of a tailored change from the old and the new tailoring, of which both keep the same
entries, and "kept apart" the share of entries that one alone keeps. The results of two whole edits would differ more:
an entry whose score lies within rounding of the last that is kept may fall on either side, then the later entries of
its row compensate for another error, and later blocks read other inputs.
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
from bench.model.change import Change
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


Captures = Callable[[int, Change, int], Mapping[str, Tensor]]
Tailoring = Callable[..., tuple[Tensor, Tensor]]


@dataclass(slots=True)
class Seen:
    """What an edit saw of its parts: the seconds within captures and beside the edit, and the largest differences."""

    captures: float = 0.0
    beside: float = 0.0
    inputs: float = 0.0
    changes: float = 0.0
    kept: int = 0
    apart: int = 0

    def capturing(self, capture: Captures, other: Captures | None) -> Captures:
        """Return a capture that notes its seconds; ``other`` captures the same beside it, to be compared."""

        def captured(block: int, change: Change, count: int) -> Mapping[str, Tensor]:
            began = time.process_time()
            inputs = capture(block, change, count)
            ended = time.process_time()
            self.captures += ended - began
            for name, value in other(block, change, count).items() if other else ():
                self.inputs = max(self.inputs, relative(value, inputs[name]))
            self.beside += time.process_time() - ended
            return inputs

        return captured

    def tailoring(self, tailor: Tailoring, other: Tailoring | None) -> Tailoring:
        """Return a tailoring; ``other`` tailors the same beside it, to be compared."""

        def tailored(*given: Any) -> tuple[Tensor, Tensor]:
            result, keep = tailor(*given)
            began = time.process_time()
            if other is not None:
                against, kept = other(*given)
                alike, base = (kept == keep).all(dim=1), given[1]
                self.changes = max(self.changes, relative(*((each - base)[alike] for each in (result, against))))
                self.kept += int(keep.sum())
                self.apart += int((keep & ~kept).sum())
            self.beside += time.process_time() - began
            return result, keep

        return tailored


def relative(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two rows over the second one's norm."""
    return float(((one - other).norm(dim=1) / other.norm(dim=1).clamp(min=1e-30)).max()) if len(one) else 0.0


def edited(name: str, made: Made, change: Change) -> tuple[float, Seen]:
    """Edit the change in one of the ways, and return the seconds of the edit, and what it saw.

    The old way also compares captures, and the new way tailorings, because either has the old inputs for it.
    """
    layers, batches, seen = layers_of(made.base.model, RECIPE, change), [made.batch], Seen()
    before, after = (kind(made.base, layers, lambda _: batches) for kind in (Before, Capture))
    if name == "before":
        capture, tailoring = seen.capturing(before, after), seen.tailoring(tailor_before, None)
    else:
        capture, tailoring = seen.capturing(after, None), seen.tailoring(model_tailor.tailor, tailor_before)
    context = EditContext(torch.Generator(), layers, lambda _: batches, capture)
    began = time.process_time()
    with torch.no_grad(), mock.patch.object(model_tailor, "tailor", tailoring):
        ModelTailor().edit(change, context)
    return time.process_time() - began - seen.beside, seen


def whole_pass(made: Made, change: Change) -> float:
    """Return the seconds of one forward pass of the examples through the decoder, with the change merged."""
    batch = {name: value for name, value in made.batch.items() if name != "labels"}
    with torch.no_grad(), made.base.holding(change) as model:
        began = time.process_time()
        model(**batch, use_cache=False, logits_to_keep=1)
        return time.process_time() - began


def measured(blocks: int, options: argparse.Namespace) -> tuple[str, ...]:
    """Return a line of the table: an edit at one depth, in both ways in turns."""
    model = made(blocks, options)
    change = random_change(model.base, size=1e-3)
    found = [[edited(name, model, change) for name in ("before", "after")] for _ in range(options.rounds)]
    one = whole_pass(model, change)
    whole, now = (statistics.median(seconds for seconds, _ in each) for each in zip(*found, strict=True))
    passes, passes_now = (statistics.median(seen.captures for _, seen in each) for each in zip(*found, strict=True))
    (_, before), (_, after) = found[0]
    return (
        f"{blocks}",
        f"{whole:.2f}",
        f"{now:.2f}",
        f"{whole / now:.1f}",
        f"{passes:.2f}",
        f"{passes_now:.2f}",
        f"{passes / passes_now:.1f}",
        f"{passes / one:.1f}",
        f"{passes_now / one:.1f}",
        f"{before.inputs:.0e}",
        f"{after.changes:.0e}",
        f"{after.apart / after.kept:.0e}",
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
    "inputs",
    "changes",
    "kept apart",
)


def main(words: Sequence[str] | None = None) -> None:
    """Print the table of all depths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", default="8,15,30", help="decoder blocks")
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
