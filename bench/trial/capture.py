"""Measure what a decoder block's linear layers read, on calibration examples and with a change in the model.

The model runs its own forward pass, so that each block gets the masks, positions and other arguments that the model
gives it. The hidden states at the door of the measured block, which are what the block itself gets, stay on the CPU.
The next capture continues there if it may: the blocks before the door hand on what they get, the block at the door
reads the kept states, and only the changes of the blocks that run are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.model.adapters import Layer
from bench.model.change import Change, Delta
from bench.model.families import block_of
from bench.model.joining import plus
from bench.model.resident import Base
from bench.model.states import decoder_blocks
from bench.plugins.method import Batch

_START = -1  # the place before the first block, where nothing is kept and the whole model runs
_STATES = "hidden_states"  # what transformers calls a block's input, if the model passes it by name


class _Stop(Exception):  # noqa: N818  it ends a forward pass early and is not an error
    """Raised inside a forward pass as soon as all wanted inputs are recorded."""


class Inputs(dict[str, Tensor]):
    """The inputs [tokens, in] of a block's layers by name, float32, on the CPU, without padding.

    Layers that read the same tensor share theirs. Each batch is written to its rows, so that nothing is held twice.
    """

    def __init__(self, batches: Sequence[Batch] = ()) -> None:
        super().__init__()
        self._masks = [batch["attention_mask"].bool() for batch in batches]
        self._tokens = sum(int(mask.sum()) for mask in self._masks)
        self._start = 0  # the row of the batch's first token
        self._latest: tuple[Tensor, str] | None = None  # what the layer before read, and its name
        self._owners: dict[str, str] = {}  # by layer, the first one that reads the same tensor

    def __missing__(self, name: str) -> Tensor:
        raise KeyError(f"{name}: another capture has emptied these inputs. Use them before, or keep the tensors.")

    def add(self, name: str, read: Tensor) -> None:
        """Add what a layer read of the current batch [n, length, in]."""
        if self._latest is not None and self._latest[0] is read and self._owners.get(name) in (None, self._latest[1]):
            self._owners[name] = self._latest[1]
            self[name] = self[self._latest[1]]
            return
        rows = read[self._masks[0]]
        if self._owners.setdefault(name, name) != name:  # it shared in an earlier batch
            self._owners[name], self[name] = name, self[name].clone()
        elif name not in self:
            self[name] = torch.empty(self._tokens, rows.shape[-1])
        self[name][self._start : self._start + len(rows)] = rows
        self._latest = (read, name)

    def end_batch(self) -> None:
        """Go on with the rows of the next batch."""
        self._start += int(self._masks.pop(0).sum())
        self._latest = None


@dataclass(frozen=True, slots=True, eq=False)
class _Door:
    """What a decoder block gets: hidden states [n, length, width] of each batch, on the CPU, in the model's dtype.

    ``earlier`` has the deltas of all that comes before the block, and the versions of their tensors.
    """

    block: int
    count: int
    batches: Sequence[Batch]
    earlier: Mapping[str, tuple[Delta, tuple[int, ...]]] = field(default_factory=dict)
    states: list[Tensor] = field(default_factory=list)

    def leads_to(self, block: int, change: Change, count: int) -> bool:
        """Whether a pass with ``change`` may continue here: all that comes before the door is as it was."""
        if self.block > block or self.count != count:
            return False
        now = _before(change, self.block)
        return now.keys() == self.earlier.keys() and all(
            delta is self.earlier[name][0] and versions == self.earlier[name][1]
            for name, (delta, versions) in now.items()
        )


class Capture:
    """Measure the inputs of one decoder block's layers, as ``EditContext.capture`` says.

    An edit that goes through D blocks in order runs each block at most twice: with the block's own change up to its
    last layer, to measure it, and with the edited change, to pass on its output. Its change is merged as often. An edit
    that goes back, alters an earlier layer or asks for another number of examples starts from the model's inputs again.

    In main memory it holds the inputs of one block, 4 * tokens * (sum of the widths) bytes, where layers that read the
    same tensor share it (q_proj, k_proj, v_proj; gate_proj, up_proj), and the hidden states at one door, examples *
    length * width * the bytes of the model's dtype. These are 7.1 GiB and 0.6 GiB for 128 examples of 640 tokens and
    the 7B model in half precision. A capture empties what the one before returned.
    """

    def __init__(
        self,
        base: Base,
        layers: Mapping[str, Layer],
        calibration: Callable[[int], Sequence[Batch]],
        before: Change | None = None,
    ) -> None:
        self._base = base
        self._layers = layers
        self._calibration = calibration
        self._before = before or Change({})
        self._door: _Door | None = None
        self._inputs = Inputs()

    @torch.no_grad()
    def __call__(self, block: int, change: Change, count: int) -> Mapping[str, Tensor]:
        """Return the inputs [tokens, in] of one block's layers by name, float32, on the CPU, without padding."""
        self._inputs.clear()
        names = [name for name, layer in self._layers.items() if layer.block == block]
        if not names:
            return {}
        door, self._door = self._door, None  # a pass that fails leaves no door
        if door is None or not door.leads_to(block, change, count):
            door = _Door(_START, count, self._calibration(count))
        inputs, states = Inputs(door.batches), list[Tensor]()
        with self._base.holding(self._reached(change, door.block, block)) as model:
            for batch in door.batches:
                with _from(model, door), _recording(model, block, names, inputs) as entered:
                    model(**{name: value for name, value in batch.items() if name != "labels"}, use_cache=False)
                states += entered
                inputs.end_batch()
        self._door = _Door(block, count, door.batches, _before(change, block), states)
        self._inputs = inputs
        return inputs

    def _reached(self, change: Change, first: int, last: int) -> Change:
        """Return the change of what a pass from one door to a block runs, with that of the earlier stages."""

        def runs(name: str) -> bool:
            block = block_of(name)
            return block is None or first <= block <= last  # a connector's output may enter later blocks, too

        own, earlier = (
            Change({name: delta for name, delta in each.items() if runs(name)}) for each in (change, self._before)
        )
        return plus(earlier, own) if earlier else own


def _before(change: Change, block: int) -> dict[str, tuple[Delta, tuple[int, ...]]]:
    """Return the deltas of all that comes before a block, with the versions of their tensors."""
    found = {}
    for name, delta in change.items():
        place = block_of(name)
        if place is None or place < block:
            found[name] = (delta, tuple(_version(tensor) for tensor in delta.tensors().values()))
    return found


def _version(tensor: Tensor) -> int:
    """Return a number that grows when the tensor is written in place."""
    return 0 if tensor.is_inference() else tensor._version


@contextmanager
def _from(model: nn.Module, door: _Door) -> Iterator[None]:
    """Let a forward pass continue at a door with the states of its next batch, which the door then forgets."""
    if door.block == _START:
        yield
        return
    blocks, states = decoder_blocks(model), door.states.pop(0)

    def enter(module: nn.Module, arguments: tuple[Any, ...], words: dict[str, Any]) -> Any:
        given = arguments[0] if arguments else words[_STATES]
        kept = states.to(given.device, copy=True)
        return ((kept, *arguments[1:]), words) if arguments else (arguments, {**words, _STATES: kept})

    with ExitStack() as undo:
        for block in blocks[: door.block]:
            setattr(block, "forward", _hand_on)  # noqa: B010  mypy refuses to assign a method
            undo.callback(delattr, block, "forward")
        undo.enter_context(blocks[door.block].register_forward_pre_hook(enter, with_kwargs=True))
        yield


def _hand_on(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    """Return the hidden states that a block gets, as its forward pass."""
    return hidden_states


@contextmanager
def _recording(model: nn.Module, block: int, names: Sequence[str], inputs: Inputs) -> Iterator[list[Tensor]]:
    """Add what the named layers read to the inputs, and end the forward pass at the last layer.

    The value of the context is a list, to which the hidden states that the block gets are added.
    """
    entered: list[Tensor] = []
    seen: set[str] = set()

    def enter(module: nn.Module, arguments: tuple[Any, ...], words: dict[str, Any]) -> None:
        given = arguments[0] if arguments else words[_STATES]
        entered.append(given.to("cpu", copy=True))

    def recorder(name: str) -> Any:
        def record(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs.add(name, arguments[0])
            seen.add(name)
            if len(seen) == len(names):
                raise _Stop

        return record

    with ExitStack() as hooks:
        hooks.enter_context(decoder_blocks(model)[block].register_forward_pre_hook(enter, with_kwargs=True))
        for name in names:
            linear = model.get_submodule(name.removesuffix(".weight"))
            hooks.enter_context(linear.register_forward_pre_hook(recorder(name)))
        with suppress(_Stop):
            yield entered
