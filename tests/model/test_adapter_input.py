"""What adapters read: the same numbers as peft's, with each shared input cast once and nothing kept twice."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.checks.tiny import RANK, RECIPE, tiny
from bench.model import adapters
from bench.model.adapter_input import Casts, Factor, Reads
from bench.model.adapters import insert_lora
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.trial.fit import Fitted, fit
from bench.trial.updates import MicroBatchSize

DTYPES = ("float32", "bfloat16", "float16")
BLOCKS = 2


@pytest.fixture
def as_peft(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which adapters read their inputs through peft's own layers."""
    return lambda: monkeypatch.setattr(adapters, "_read_once", lambda model, dropout: None)


def trained(name: str, dtype: str, dropout: float, *, checkpointing: bool = False) -> Fitted:
    """Train a method for two updates."""
    method = Registry().method(name)()
    assert isinstance(method, TrainMethod)
    recipe = replace(RECIPE, updates=2, train_dtype=dtype, dropout=dropout)  # type: ignore[arg-type]
    micro, plain = MicroBatchSize(5), 0 if checkpointing else None
    return fit(method, RANK, 0, recipe, tiny(dtype).lessons, micro_batch=micro, plain_blocks=plain)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.05])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_training_has_the_bits_of_pefts_layers(
    dtype: str, dropout: float, checkpointing: bool, as_peft: Callable[[], None]
) -> None:
    own = trained("lora", dtype, dropout, checkpointing=checkpointing)
    as_peft()
    other = trained("lora", dtype, dropout, checkpointing=checkpointing)

    assert own.losses == other.losses
    for name, delta in own.change.items():
        for part, value in delta.tensors().items():
            assert torch.equal(value, other.change[name].tensors()[part]), (name, part)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dac", "mixlora", "dora", "mtl_lora", "lilora", "c_lora", "mdgd"])
def test_methods_that_hook_or_compute_their_factors_have_pefts_bits(method: str, as_peft: Callable[[], None]) -> None:
    own = trained(method, "bfloat16", 0.05)
    as_peft()

    assert trained(method, "bfloat16", 0.05).losses == own.losses


def block_pass(dtype: str, dropout: float) -> tuple[Any, Callable[[], Tensor]]:
    """Return an adapted model in training mode, and a function that runs its first decoder block."""
    wrapped: Any = insert_lora(tiny(dtype).base.tree(), RANK, replace(RECIPE, dropout=dropout)).train()
    decoder = wrapped.get_base_model().model.language_model
    width = decoder.config.hidden_size
    hidden = torch.randn(2, 7, width, dtype=getattr(torch, dtype), requires_grad=True)
    places = torch.arange(7).unsqueeze(0)
    turns = decoder.rotary_emb(hidden, places)
    return decoder, lambda: decoder.layers[0](hidden, position_embeddings=turns, position_ids=places)


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_a_block_casts_four_inputs_for_its_seven_layers(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    _, run = block_pass("bfloat16", dropout)
    call = Casts.__call__

    def counting(self: Casts, x: Tensor, dtype: torch.dtype, *, last: bool) -> Tensor:
        found = call(self, x, dtype, last=last)
        made.append(found.data_ptr())
        kept.append(found)  # so that no address is used twice
        return found

    kept: list[Tensor] = []
    monkeypatch.setattr(Casts, "__call__", counting)
    run()

    assert len(made) == 7
    assert len(set(made)) == 4


def saved_bytes(run: Callable[[], Tensor], parameters: set[int]) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, each storage once, without the parameters."""
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.05])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_keeps_its_inputs_once_and_as_they_came(
    dtype: str, dropout: float, as_peft: Callable[[], None]
) -> None:
    sizes = []
    for turn in range(2):
        if turn:
            as_peft()
        decoder, run = block_pass(dtype, dropout)
        sizes.append(saved_bytes(run, {each.untyped_storage().data_ptr() for each in decoder.parameters()}))
    width, inner = decoder.config.hidden_size, decoder.config.intermediate_size
    size = torch.finfo(getattr(torch, dtype)).bits // 8

    # peft's layers keep a float32 input each, and with dropout on a CPU a float32 mask next to it
    before = (6 * width + inner) * 4 * (1 if dropout == 0 else 2)
    if dropout == 0 and dtype == "float32":
        before = 0  # then there is nothing that they cast
    # ours keep the inputs of q, k and v, of gate and up, and of down; the attention has kept that of o
    after = (2 * width + inner) * size + ((6 * width + inner) if dropout else 0)
    assert sizes[1] - sizes[0] == 14 * (before - after if before else 0)


def test_a_cast_is_made_again_after_a_write_and_let_go_after_the_last_reader() -> None:
    casts, x = Casts(), torch.ones(3, dtype=torch.bfloat16)

    one = casts(x, torch.float32, last=False)
    assert casts(x, torch.float32, last=False) is one
    x.add_(1)
    two = casts(x, torch.float32, last=False)
    assert two.tolist() == [2.0, 2.0, 2.0]
    assert casts(x, torch.float32, last=True) is two
    assert casts(x, torch.float32, last=False) is not two
    assert casts(x.clone(), torch.float32, last=True) is not two
    assert casts._cast is None


def test_a_cast_that_a_failed_pass_has_left_is_let_go_before_the_next_is_made() -> None:
    alive: list[bool] = []

    class Smaller(Tensor):
        def detach(self) -> Tensor:  # type: ignore[override]
            alive.append(left() is not None)
            return super().detach()

    casts = Casts()
    left = weakref.ref(casts(torch.ones(4, dtype=torch.bfloat16), torch.float32, last=False))  # memory runs out here

    casts(torch.ones(2, dtype=torch.bfloat16).as_subclass(Smaller), torch.float32, last=False)

    assert alive == [False]


def test_an_adapted_model_can_be_copied() -> None:
    wrapped: Any = insert_lora(tiny("bfloat16").base.tree(), RANK, RECIPE).train()
    batch = tiny("bfloat16").batch()
    wrapped(**batch)

    copied = copy.deepcopy(wrapped)

    torch.manual_seed(0)
    own = wrapped(**batch).logits
    torch.manual_seed(0)
    assert torch.equal(copied(**batch).logits, own)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_of_a_gradient_is_that_of_plain_layers(dropout: float, dtype: torch.dtype) -> None:
    weight = nn.Parameter(torch.randn(2, 5))
    x = torch.randn(4, 5).to(dtype).requires_grad_()
    factor = Factor(weight)

    def second(read: Callable[[Tensor], Tensor]) -> Tensor:
        torch.manual_seed(0)
        loss = (nn.functional.linear(read(x), weight) if read is plain else factor(read(x))).square().sum()
        (first,) = torch.autograd.grad(loss, weight, create_graph=True)
        (found,) = torch.autograd.grad(first.square().sum(), x)
        return found.float()

    def plain(value: Tensor) -> Tensor:
        return nn.functional.dropout(value.float(), dropout)

    found, expected = second(Reads(dropout, factor, Casts(), last=True)), second(plain)
    rounding = 1e-6 if dtype == torch.float32 else 1e-2
    assert (found - expected).norm() <= rounding * expected.norm()


def test_a_factor_casts_what_another_dropout_hands_it() -> None:
    wrapped: Any = insert_lora(tiny("bfloat16").base.tree(), RANK, RECIPE).train()
    layer = next(module for module in wrapped.modules() if isinstance(getattr(module, "lora_A", None), nn.ModuleDict))
    layer.lora_dropout["default"] = nn.Dropout(0.2)

    assert layer(torch.randn(1, 3, layer.in_features, dtype=torch.bfloat16)).dtype == torch.bfloat16
