"""Walk the adapted layers of a live model, and read what they have learnt."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from bench.model.adapter_input import Casts, Factor, Reads
from bench.model.change import Change, Decomposed, Delta, LowRank, Replaced
from bench.model.dora_layer import Magnitude, base_norms
from bench.model.families import block_of, connector_of, family_of
from bench.model.family import SHARING, Family, adapted_roles, role_of
from bench.model.four_bit import dequantised
from bench.values.recipe import Recipe

_NAME = "default"  # peft's name for the only adapter we insert


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One adapted linear layer: its parameter's full name, and its frozen W0 as it is stored."""

    name: str
    stored: Tensor

    @property
    def weight(self) -> Tensor:
        """W0 [out, in]; for a base in 4 bits, the dequantised float32 values, computed at each call."""
        return dequantised(self.stored)

    @property
    def role(self) -> str:
        """The last part of the layer's name: q_proj, …, down_proj, or the name of a connector layer."""
        return role_of(self.name)

    @property
    def block(self) -> int | None:
        """The decoder block, counted from 0; None in the connector."""
        return block_of(self.name)

    @property
    def in_connector(self) -> bool:
        """Whether the layer belongs to the connector."""
        return connector_of(self.name) is not None


@dataclass(frozen=True, slots=True, eq=False)
class Adapter(Layer):
    """A layer with its live factors A [rank, in] and B [out, rank], the scale, and DoRA's magnitude [out].

    A factor is a parameter, unless ``compute_factors`` lets the layer compute it.
    """

    a: Tensor
    b: Tensor
    scale: float
    magnitude: nn.Parameter | None = None


def adapted_pattern(family: Family, recipe: Recipe) -> str:
    """Return a regular expression for the linear layers that carry an adapter under ``recipe``."""
    decoder = family.decoder_linears
    if recipe.adapt != "all":
        decoder = rf"(?=.*\.(?:{'|'.join(adapted_roles(recipe.adapt))})$)(?:{decoder})"
    return f"(?:{decoder})|(?:{family.connector_linears})" if recipe.connector == "lora" else decoder


def adapted_layers(model: nn.Module, recipe: Recipe) -> dict[str, Layer]:
    """Return the layers of a plain model that ``recipe`` adapts, by the full name of their weight."""
    pattern = re.compile(adapted_pattern(family_of(model), recipe))
    return {
        f"{name}.weight": Layer(f"{name}.weight", module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and pattern.fullmatch(name)
    }


def insert_lora(
    model: nn.Module,
    rank: int,
    recipe: Recipe,
    *,
    dora: bool = False,
    drop_base: bool = True,
    connector_rank: int | None = None,
) -> nn.Module:
    """Wrap ``model`` with LoRA on the linear layers of the decoder that ``recipe`` names, and on its connector.

    A [rank, in] is drawn uniformly from +-1/sqrt(in) with torch's global generator; B [out, rank] starts at zero.
    The connector's adapters have the ``connector_rank``, if it is given. With ``dora``, each layer trains magnitudes
    [out] as well, which start at |W0|, so that W is W0 before training; ``drop_base`` lets dropout act on what W0
    reads, too.
    """
    from peft import LoraConfig, get_peft_model

    family = family_of(model)
    other = {family.connector_linears: connector_rank} if connector_rank and recipe.connector == "lora" else {}
    config = LoraConfig(
        r=rank,
        lora_alpha=recipe.scale * rank,
        rank_pattern=other,
        alpha_pattern={name: recipe.scale * number for name, number in other.items()},
        lora_dropout=recipe.dropout,
        target_modules=adapted_pattern(family, recipe),
        modules_to_save=[family.connector] if recipe.connector == "full" else None,
    )
    with warnings.catch_warnings():
        # peft 0.21 uses a name that transformers 5.20 has replaced
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        wrapped: nn.Module = get_peft_model(model, config)
    _hold_masters(wrapped, family.connector)
    _read_once(wrapped, recipe.dropout)
    if dora:
        _decompose(wrapped, drop_base=drop_base)
    return wrapped


def _hold_masters(model: nn.Module, connector: str) -> None:
    """Keep a fully tuned connector in float32 on a half-precision base, as peft keeps the factors.

    In bfloat16 an update of less than 1/256 of a weight is rounded away: almost all updates at a learning rate of 2e-5.
    """
    copies = [module for name, module in model.named_modules() if name.endswith(f"{connector}.modules_to_save.{_NAME}")]
    for copy in copies:
        dtype = next(copy.parameters()).dtype
        if dtype != torch.float32:
            copy.float()
            copy.register_forward_pre_hook(lambda module, inputs: tuple(value.float() for value in inputs))
            copy.register_forward_hook(lambda module, inputs, output, dtype=dtype: output.to(dtype))


def _read_once(model: nn.Module, dropout: float) -> None:
    """Let adapters cast and drop out their inputs themselves, so that what they share is cast and kept once."""
    casts, layers = Casts(), list(_adapted(model))
    for (name, layer), (following, _) in zip(layers, [*layers[1:], ("", None)], strict=True):
        shares = any({role_of(f"{each}.weight") for each in (name, following)} <= set(group) for group in SHARING)
        last = not shares or name.rpartition(".")[0] != following.rpartition(".")[0]
        factor = Factor(layer.lora_A[_NAME].weight)
        layer.lora_A[_NAME], layer.lora_dropout[_NAME] = factor, Reads(dropout, factor, casts, last=last)
        layer.cast_input_dtype_enabled = False


def _decompose(model: nn.Module, *, drop_base: bool) -> None:
    """Give every adapted layer magnitudes, which peft then asks for the layer's output."""
    for _, layer in _adapted(model):
        magnitude = Magnitude(layer.get_base_layer().weight, drop_base=drop_base)
        layer.lora_magnitude_vector[_NAME] = layer.lora_variant[_NAME] = magnitude


def lora_adapters(model: nn.Module) -> Iterator[Adapter]:
    """Yield the adapters of a wrapped model, in the model's order."""
    for name, module in _adapted(model):
        vectors = module.lora_magnitude_vector
        yield Adapter(
            name=f"{_plain(name)}.weight",
            stored=module.get_base_layer().weight,
            a=module.lora_A[_NAME].weight,
            b=module.lora_B[_NAME].weight,
            scale=module.scaling[_NAME],
            magnitude=vectors[_NAME].weight if _NAME in vectors else None,
        )


def _adapted(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield peft's layers with an adapter by their names in the wrapped model."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and _NAME in module.lora_A:
            yield name, module


def compute_factors(
    model: nn.Module, adapter: Adapter, *, a: nn.Module | None = None, b: nn.Module | None = None
) -> None:
    """Let a layer compute its factor A or B from what is trained, by a module whose forward takes the trained factor.

    The module returns the factor that takes effect; its own parameters are trained, too. Both factors may get another
    rank, as long as it is the same. From then on, ``lora_adapters`` and ``lora_change`` read the computed factors, and
    the trained one is no longer ``adapter.a`` or ``adapter.b`` of a new walk, so it must not be written in place there.
    """
    layer: Any = model.get_submodule(f"base_model.model.{adapter.name.removesuffix('.weight')}")
    for factors, module in ((layer.lora_A, a), (layer.lora_B, b)):
        if module is not None:
            register_parametrization(factors[_NAME], "weight", module, unsafe=True)


def tuned_connector(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a fully tuned connector by their full names in the plain model."""
    mark = f".modules_to_save.{_NAME}"
    return {_plain(name).replace(mark, ""): parameter for name, parameter in model.named_parameters() if mark in name}


def lora_change(model: nn.Module) -> Change:
    """Return what a model wrapped by ``insert_lora`` has learnt, as float32 copies on the CPU."""
    deltas: dict[str, Delta] = {}
    for adapter in lora_adapters(model):
        b, a = _copy(adapter.b), _copy(adapter.a)
        if adapter.magnitude is None:
            deltas[adapter.name] = LowRank(b, a, adapter.scale)
        else:
            deltas[adapter.name] = Decomposed(b, a, adapter.scale, _copy(adapter.magnitude))
    for name, parameter in tuned_connector(model).items():
        deltas[name] = Replaced(_copy(parameter))
    return Change(deltas)


@torch.no_grad()
def on_pristine(change: Change, model: nn.Module, pristine: Mapping[str, Tensor]) -> Change:
    """Return a change, learnt on the live weights, as it applies to the pristine weights of another precision.

    DoRA's magnitudes are scaled by the quotient of the row norms, so that untrained magnitudes change nothing.
    """
    scaled: dict[str, Delta] = {}
    for adapter in lora_adapters(model):
        delta, weight = change.get(adapter.name), adapter.stored
        if isinstance(delta, Decomposed) and pristine[adapter.name].dtype != weight.dtype:
            rows = base_norms(pristine[adapter.name].to(weight.device)) / base_norms(adapter.stored)
            scaled[adapter.name] = replace(delta, magnitude=delta.magnitude * rows.cpu())
    return change.replace(scaled) if scaled else change


def _copy(parameter: Tensor) -> Tensor:
    return parameter.detach().to("cpu", torch.float32, copy=True)


def _plain(name: str) -> str:
    return name.removeprefix("base_model.model.")
