"""Time of an update of every method that trains, over LoRA's, and of every edit for a layer.

    python -m tests.perf.methods --rounds 3

An update of each method runs next to one of LoRA's, in one process, on one thread, with the rank of the 7B model's
proportions (32 of 4,096). Seconds are the process's own, so that a busy machine counts less, and the best of the
rounds. Updates of 36 and of 2,556 tokens tell what grows with the tokens from what does not: what a pass computes of
the weights alone, and after the passes penalties, the edits of gradients and weights, and the optimizer. The last
column is that of an update of 10,240 tokens in one pass. A method for sequences of tasks runs its second stage; one
that learns tasks together sees two, of which the first counts.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from bench.model.adapters import Layer
from bench.model.answer_loss import answer_loss
from bench.model.change import Change, LowRank
from bench.model.llava.tiny import Side
from bench.plugins.method import EditContext, EditMethod, Start, Step, TrainMethod
from bench.plugins.registry import BASELINE, Registry
from bench.trial import fit as module
from tests.perf import scaled
from tests.perf.timing import show

TOKENS, WHOLE = 1024, 10_240
_FEW = 36  # tokens of the short batch: one example, of whose picture four tokens are left
_LENGTH = scaled.SYSTEM + scaled.IMAGE_TOKENS + scaled.QUESTION + scaled.ANSWER
RECIPE = dataclasses.replace(scaled.RECIPE, updates=1000)
EXAMPLES = 4
SIZES = (_FEW, EXAMPLES * _LENGTH)  # tokens of an update
NO_CHANGE = Change({})


class Training:
    """A method on a model of its own, ready for updates in the middle of a training."""

    def __init__(self, method: TrainMethod, base: Any, batches: Mapping[int, Mapping[str, Tensor]], rank: int) -> None:
        self._batches = batches
        joint = method.made_for == "joint"
        self._tasks = ("one", "two") if joint else ("",)
        start = Start(("one",), NO_CHANGE, {}, False, self._calibration, generator(), ("one", "two") if joint else ())
        torch.manual_seed(0)
        self._begin(method, copy.deepcopy(base), rank, start)
        if method.made_for == "sequence":
            with torch.no_grad():
                change, kept = method.change(self.model), method.keep(self.model)
            start = Start(("one", "two"), change, kept, method.folds, self._calibration, generator())
            self._begin(type(method)(), copy.deepcopy(base), rank, start)
        self._index = RECIPE.updates // 2

    def _begin(self, method: TrainMethod, tree: Any, rank: int, start: Start) -> None:
        self.method, self.model = method, method.adapt(tree, rank, RECIPE).train()
        with torch.no_grad():
            method.start(self.model, start)
        self._parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimizer, _ = module._optimizer(method, self.model, RECIPE)

    def _calibration(self, count: int) -> Sequence[Mapping[str, Tensor]]:
        return [self._batches[SIZES[1]]]

    def update(self, tokens: int) -> tuple[float, float]:
        """Run one update, as ``bench.trial.fit`` does; return the seconds of its passes, and of what comes after.

        Only the first of several tasks counts; the others have few tokens.
        """
        self._index += 1
        reference = partial(module._reference, self.model)
        step = Step(self._index, 2 * RECIPE.updates, self.model, {}, torch.zeros(()), self._optimizer, generator(),
                    reference, lambda tensors: None)  # fmt: skip
        took = 0.0
        for place, task in enumerate(self._tasks):
            began = time.process_time()
            batch = self._batches[SIZES[0] if place else tokens]
            self.method.on_batch(self.model, task)
            loss = answer_loss(self.model, batch, EXAMPLES * scaled.ANSWER)
            step = dataclasses.replace(step, batch=batch, loss=loss, task=task)
            self.method.backward(step)
            took += 0.0 if place else time.process_time() - began
        began = time.process_time()
        if (penalty := self.method.penalty(step)) is not None:
            penalty.backward()  # type: ignore[no-untyped-call]
        self.method.on_gradients(step)
        clip_grad_norm_(self._parameters, RECIPE.clip or 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.method.on_update(step)
        return took, time.process_time() - began


def short(base: Any) -> Mapping[str, Tensor]:
    """Return one example that has few tokens, of which four are its picture's."""
    whole, picture = scaled.batch(base, 1), scaled.SYSTEM
    places = [*range(picture - 4, picture + 4), *range(picture + scaled.IMAGE_TOKENS, _LENGTH)]
    cut = {name: value[:, places] for name, value in whole.items() if name != "pixel_values"}
    return {**cut, "pixel_values": whole["pixel_values"][:, :5]}  # with the class token, which is dropped


def generator() -> torch.Generator:
    """Return a generator with a seed of its own."""
    return torch.Generator().manual_seed(0)


@dataclass(frozen=True, slots=True)
class Cost:
    """The seconds of 1,024 tokens, of a pass without its tokens, and of what comes after the passes of an update."""

    tokens: float
    passes: float
    after: float

    @classmethod
    def of(cls, seconds: Mapping[int, Sequence[tuple[float, float]]]) -> Cost:
        """Return the costs, from the best seconds of updates of two sizes."""
        passes, once = _line({size: min(first for first, _ in seconds[size]) for size in SIZES})
        after, rest = _line({size: min(last for _, last in seconds[size]) for size in SIZES})
        return cls(passes + after, once, rest)

    @property
    def whole(self) -> float:
        """The seconds of an update of 10,240 tokens in one pass."""
        return WHOLE / TOKENS * self.tokens + self.passes + self.after

    def row(self, name: str, lora: Cost) -> tuple[str, ...]:
        """Return a line of the table."""
        return (
            name,
            f"{self.tokens:.3f}",
            f"{self.tokens / lora.tokens:.2f}",
            f"{1000 * self.passes:.0f}",
            f"{1000 * self.after:.1f}",
            f"{self.whole / lora.whole:.2f}",
        )


def _line(seconds: Mapping[int, float]) -> tuple[float, float]:
    """Return the seconds that each 1,024 tokens add, and those of no token, from the seconds of two sizes."""
    few, many = (seconds[size] for size in SIZES)
    each = max(0.0, many - few) / (SIZES[1] - SIZES[0])
    return each * TOKENS, max(0.0, few - each * SIZES[0])


def trained(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Yield a line for every method that trains, next to LoRA in the same rounds."""
    decoder = Side(options.width, options.width * 11 // 4, options.blocks, max(1, options.width // 64))
    base = scaled.model(dataclasses.replace(scaled.SHAPE, decoder=decoder))
    batches = dict(zip(SIZES, (short(base), scaled.batch(base, EXAMPLES)), strict=True))
    rank, registry = max(2, options.width * 32 // 4096), Registry()
    baseline = registry.method(BASELINE)
    assert issubclass(baseline, TrainMethod)
    lora = Training(baseline(), base, batches, rank)
    every: dict[int, list[tuple[float, float]]] = {size: [] for size in SIZES}
    for name in options.methods.split(",") if options.methods else registry.names("method"):
        kind = registry.method(name)
        if not issubclass(kind, TrainMethod) or name == BASELINE:
            continue
        other = Training(kind(), base, batches, rank)
        seconds = in_turns((other, lora), options.rounds)
        for size in SIZES:
            every[size] += seconds[1][size]
        yield Cost.of(seconds[0]).row(name, Cost.of(seconds[1]))
    whole = Cost.of(every)
    yield whole.row(BASELINE, whole)


def in_turns(trainings: Sequence[Training], rounds: int) -> list[dict[int, list[tuple[float, float]]]]:
    """Return the seconds of updates of each training by the number of examples, after one that is not counted."""
    found: list[dict[int, list[tuple[float, float]]]] = [{size: [] for size in SIZES} for _ in trainings]
    for training in trainings:
        training.update(SIZES[0])
    for size in SIZES * rounds:
        for training, seconds in zip(trainings, found, strict=True):
            seconds[size].append(training.update(size))
    return found


def edits(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Yield the seconds of every edit for one layer of several sizes, with 2,048 tokens for an edit that captures."""
    registry, sizes = Registry(), [int(size) for size in options.sizes.split(",")]
    name = "model.language_model.layers.0.self_attn.o_proj.weight"
    for method in sorted(registry.names("method")):
        kind = registry.method(method)
        if not issubclass(kind, EditMethod):
            continue
        cells = []
        for size in sizes:
            drawn = partial(torch.randn, generator=generator())
            weight, inputs = drawn(size, size) * 0.02, drawn(2048, size)
            change = Change({name: LowRank(drawn(size, 32) * 0.01, drawn(32, size) * 0.01, 2.0)})
            context = EditContext(
                generator(), {name: Layer(name, weight)}, lambda _: [], partial(_given, {name: inputs})
            )
            cells.append(f"{seconds_of(partial(edit, kind(), change, context), options.rounds):.3f}")
        yield (method, *cells)


def _given(inputs: Mapping[str, Tensor], *_: object) -> Mapping[str, Tensor]:
    """Return these inputs, as a capture."""
    return inputs


@torch.no_grad()
def edit(method: EditMethod, change: Change, context: EditContext) -> Change:
    """Return the edited change."""
    return method.edit(change, context)


def seconds_of(call: Callable[[], object], rounds: int) -> float:
    """Return the best seconds of a call."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return min(found)


_HEADS = ("method", "1,024 tokens, s", "over LoRA's", "a pass's own, ms", "after it, ms", "10,240 tokens over LoRA's")


def main(words: Sequence[str] | None = None) -> None:
    """Print a table of the methods that train, and one of the edits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="", help="only these, joined by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--sizes", default="512,1024,2048", help="sides of the layers that are edited")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    title = (
        f"Updates over LoRA's, {options.blocks} blocks of width {options.width}, dropout {RECIPE.dropout}, one thread"
    )
    show(title, _HEADS, trained(options))
    if not options.methods:
        head = ["edit, seconds a layer", *(f"{size} x {size}" for size in options.sizes.split(","))]
        show("", head, edits(options))


if __name__ == "__main__":
    main()
