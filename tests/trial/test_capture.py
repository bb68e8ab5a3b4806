"""The inputs of a block are those of a pass from the start, and each block runs a fixed number of times."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.checks.runs import learn, trace, traces
from bench.checks.tiny import RECIPE, Tiny, tiny, with_data
from bench.methods.mixlora import MixLoRA
from bench.methods.model_tailor import ModelTailor
from bench.model import families, holding
from bench.model.change import Change, Delta, Dense, LowRank
from bench.model.families import block_of
from bench.model.resident import Base, Form
from bench.model.states import decoder_blocks
from bench.plugins.method import EditContext
from bench.trial import capture as module
from bench.trial.capture import Capture
from bench.trial.edit import edit, layers_of
from bench.trial.stages import calibration
from tests.making.deep import deep, random_change
from tests.making.second_family import Second, write_second
from tests.perf.before import capture as before

BLOCKS, COUNT = 4, 40  # 40 examples are two batches, of which one is padded
_NOTHING = Change({})


def captures(bench: Tiny, change: Change, earlier: Change = _NOTHING) -> tuple[Capture, before.Capture]:
    """Return the capture of an edit, and the one that runs from the start each time."""
    layers = layers_of(bench.base.model, RECIPE, change, earlier)
    batches = partial(calibration, bench.train, RECIPE)
    return Capture(bench.base, layers, batches, earlier), before.Capture(bench.base, layers, batches, earlier)


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(value, other[name]) for name, value in one.items())


def moved(change: Change, block: int | None, seed: int = 7) -> Change:
    """Return the change with other values in one block, or in the connector if ``block`` is None."""
    generator = torch.Generator().manual_seed(seed)
    names = [name for name in change if block_of(name) == block]
    return change.replace({name: Dense(0.1 * torch.randn(SHAPES[name], generator=generator)) for name in names})


SHAPES = {name: value.shape for name, value in deep(BLOCKS).base.pristine.items()}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stages", [False, True])
def test_an_edit_in_order_sees_what_passes_from_the_start_see(dtype: str, stages: bool) -> None:
    bench = deep(BLOCKS, dtype)
    change = random_change(bench.base)
    new, old = captures(bench, change, random_change(bench.base, seed=3) if stages else _NOTHING)

    for block in range(BLOCKS):
        assert equal(new(block, change, COUNT), old(block, change, COUNT))
        change = moved(change, block)


def test_some_of_the_examples_are_padded() -> None:
    masks = [batch["attention_mask"] for batch in calibration(tiny().train, RECIPE, COUNT)]

    assert [len(mask) for mask in masks] == [32, 8]
    assert not masks[0].bool().all()


STEPS: dict[str, tuple[Callable[[Change], Change], int, int]] = {
    "a lower block": (lambda change: change, 1, COUNT),
    "the same block": (lambda change: change, 2, COUNT),
    "the same block with another change of its own": (lambda change: moved(change, 2), 2, COUNT),
    "a skipped block": (lambda change: moved(change, 2), 4, COUNT),
    "an earlier layer": (lambda change: moved(change, 1), 3, COUNT),
    "the connector": (lambda change: moved(change, None), 3, COUNT),
    "an earlier layer without a change": (lambda change: without(change, 1), 3, COUNT),
    "fewer examples": (lambda change: change, 3, 5),
    "more examples": (lambda change: change, 3, 45),
}


def without(change: Change, block: int) -> Change:
    return Change({name: delta for name, delta in change.items() if block_of(name) != block})


@pytest.mark.parametrize("kind", STEPS)
def test_whatever_an_author_asks_next_is_answered_as_from_the_start(kind: str) -> None:
    bench, (alter, block, count) = deep(5), STEPS[kind]
    change = random_change(bench.base)
    new, old = captures(bench, change)
    new(2, change, COUNT)

    asked = alter(change)

    assert equal(new(block, asked, count), old(block, asked, count))
    assert equal(new(4, asked, count), old(4, asked, count))


def test_a_delta_that_is_written_in_place_is_noticed() -> None:
    bench = deep(BLOCKS)
    change = random_change(bench.base)
    new, old = captures(bench, change)
    first = new(2, change, COUNT)

    delta = next(delta for name, delta in change.items() if block_of(name) == 0)
    assert isinstance(delta, LowRank)
    delta.b.mul_(2)

    assert equal(again := new(2, change, COUNT), old(2, change, COUNT))
    assert not equal(again, first)


def test_a_pass_that_fails_leaves_nothing_to_continue_from(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = deep(BLOCKS)
    change = random_change(bench.base)
    new, old = captures(bench, change)
    new(1, change, COUNT)
    left = trace(bench)
    with monkeypatch.context() as broken:
        broken.setattr(module.Inputs, "end_batch", lambda inputs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            new(2, change, COUNT)
    handle = decoder_blocks(bench.base.model)[2].register_forward_pre_hook(lambda _, __: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        new(3, change, COUNT)
    handle.remove()

    assert traces(left, trace(bench)) == []
    assert all("forward" not in vars(block) for block in decoder_blocks(bench.base.model))
    assert equal(new(2, change, COUNT), old(2, change, COUNT))


def test_a_block_without_adapted_layers_has_no_inputs() -> None:
    bench = deep(2)
    change = random_change(bench.base)

    assert captures(bench, change)[0](7, change, COUNT) == {}


def test_the_inputs_of_one_block_are_in_memory_at_a_time() -> None:
    bench = deep(BLOCKS)
    change = random_change(bench.base)
    capture = captures(bench, change)[0]
    held = capture(1, change, COUNT)
    alive = [weakref.ref(tensor) for tensor in held.values()]
    name = next(iter(held))
    during = list[int]()
    block = decoder_blocks(bench.base.model)[2]
    handle = block.register_forward_pre_hook(lambda *_: during.append(sum(each() is not None for each in alive)))

    capture(2, change, COUNT)
    handle.remove()

    assert set(during) == {0}
    with pytest.raises(KeyError, match="another capture has emptied"):
        held[name]


def test_layers_that_shared_an_input_only_in_an_earlier_batch_have_their_own() -> None:
    masks = [{"attention_mask": torch.tensor([[0, 1, 1]])}, {"attention_mask": torch.tensor([[1, 1, 0]])}]
    one, two, three = (torch.randn(1, 3, 4) for _ in range(3))
    inputs = module.Inputs(masks)
    for each in ("q", "k"):
        inputs.add(each, one)
    inputs.end_batch()
    inputs.add("q", two)
    inputs.add("k", three)
    inputs.end_batch()

    assert torch.equal(inputs["q"], torch.cat([one[0, 1:], two[0, :2]]))
    assert torch.equal(inputs["k"], torch.cat([one[0, 1:], three[0, :2]]))


def test_layers_that_read_the_same_tensor_share_it() -> None:
    bench = deep(2)
    change = random_change(bench.base)

    inputs = {name.split(".")[-2]: value for name, value in captures(bench, change)[0](1, change, COUNT).items()}

    assert inputs["q_proj"] is inputs["k_proj"] is inputs["v_proj"]
    assert inputs["gate_proj"] is inputs["up_proj"]
    assert len({id(value) for value in inputs.values()}) == 4


@pytest.mark.slow
def test_a_change_that_is_held_and_not_merged_is_measured() -> None:
    bench = tiny()
    change = learn(MixLoRA(), bench)
    assert change.live
    new, old = captures(bench, change)

    for block in (0, 1):
        assert equal(new(block, change, COUNT), old(block, change, COUNT))


def test_another_family_whose_model_has_its_own_positions_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, Second()))
    write_second(tmp_path)
    bench = with_data(Base.load(tmp_path, Form(), torch.device("cpu")))
    change = random_change(bench.base)
    new, old = captures(bench, change)

    assert equal(new(0, change, COUNT), old(0, change, COUNT))
    tailored = change.replace({name: Dense(torch.zeros(())) for name in change if block_of(name) == 0})
    assert equal(new(1, tailored, COUNT), old(1, tailored, COUNT))


@pytest.mark.slow
@pytest.mark.parametrize("layers", ["all", "last_12"])
def test_model_tailor_gives_the_change_that_passes_from_the_start_give(
    layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = deep(14)
    change = random_change(bench.base)
    method = ModelTailor(layers=layers, n_samples=COUNT, blocksize=16)
    _, old = captures(bench, change)
    context = EditContext(torch.Generator(), old._layers, old._calibration, old)

    edited = edit(method, change, 0, RECIPE, bench.train).change

    for name, delta in method.edit(change, context).items():
        assert type(edited[name]) is type(delta)
        for part, tensor in delta.tensors().items():
            assert torch.equal(edited[name].tensors()[part], tensor)


class Counts:
    """How often each block was entered and left, by block, and how often each parameter was merged, by name."""

    def __init__(self, model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.left, self.merged = Counter[int](), Counter[int](), Counter[str]()
        for number, block in enumerate(decoder_blocks(model)):
            first, last = block.get_submodule("input_layernorm"), block.get_submodule("mlp.down_proj")
            first.register_forward_hook(lambda *_, number=number: self.entered.update([number]))
            last.register_forward_hook(lambda *_, number=number: self.left.update([number]))
        write = holding.write

        def noted(model: nn.Module, change: Mapping[str, Delta], pristine: Mapping[str, Tensor]) -> None:
            self.merged.update(list(change))
            write(model, change, pristine)

        monkeypatch.setattr(holding, "write", noted)


@pytest.mark.parametrize("blocks", [3, 6, 12])
def test_each_block_runs_and_is_merged_a_fixed_number_of_times_at_any_depth(
    blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = deep(blocks)
    change = random_change(bench.base)
    new, _ = captures(bench, change)
    counts = Counts(bench.base.model, monkeypatch)

    for block in range(blocks):
        new(block, change, COUNT)
        names = [name for name in change if block_of(name) == block]
        change = change.replace({name: Dense(torch.zeros(())) for name in names})

    batches, last = 2, blocks - 1
    # with its own change, to be measured, and with the edited one, to pass on; the last block is only measured
    assert counts.entered == {number: batches * (1 if number == last else 2) for number in range(blocks)}
    assert counts.left == {number: batches for number in range(last)}
    # the connector is merged for every pass
    passes = {None: blocks, last: 1}
    assert counts.merged == {name: passes.get(block_of(name), 2) for name in change}
