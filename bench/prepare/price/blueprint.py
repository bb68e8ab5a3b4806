"""A full-size model without weights, to count what a method adapts, trains and keeps for backward."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.model.adapters import adapted_layers
from bench.model.checkpoints import read_json
from bench.model.families import family_with
from bench.model.published import PUBLISHED, published
from bench.plugins.method import Dimensions, LayerShape, TrainMethod
from bench.trial.hooks import called
from bench.values.recipe import Recipe

_ATTENTION = "bench_saved_by_a_kernel"


@dataclass(frozen=True, slots=True)
class Adapted:
    """A model as a method adapts it: its trained parameters, and the activations of a decoder block.

    A micro-batch of m examples keeps ``fixed_bytes`` + m * ``example_bytes`` in each block for the backward pass.
    """

    trained: int
    fixed_bytes: int
    example_bytes: int


@dataclass(frozen=True, eq=False)
class Blueprint:
    """A LLaVA on the meta device: shapes without values. ``config`` is its transformers configuration."""

    config: Any
    _shapes: dict[tuple[str, str], tuple[LayerShape, ...]] = field(default_factory=dict)

    @staticmethod
    def knows(model: str) -> bool:
        """Whether the shapes of a model are known without its checkpoint."""
        return published(model) is not None

    @classmethod
    def of(cls, model: str, folder: Path | None) -> Blueprint:
        """Return the blueprint of a checkpoint in a folder, or of a published one.

        Raises:
            UsageError: the checkpoint is not on this machine and its shapes are not known.
            DataError: the checkpoint's configuration is damaged.
        """
        from transformers import LlavaConfig

        config = published(model) if folder is None else read_json(folder / "config.json")
        if config is None:
            raise UsageError(
                f"The model {model!r} is not on this machine, and its shapes are not known. Download it, or choose "
                f"among {', '.join(PUBLISHED)}."
            )
        return cls(LlavaConfig.from_dict(dict(config)))

    @cached_property
    def model(self) -> Any:
        """The plain model, frozen, in float32, on the meta device."""
        from transformers import LlavaForConditionalGeneration

        with torch.device("meta"):
            model: Any = LlavaForConditionalGeneration(self.config)
        return model.eval().requires_grad_(False)

    @cached_property
    def parameters(self) -> int:
        """How many parameters the whole model has."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def blocks(self) -> int:
        """How many blocks the decoder has."""
        return int(self.config.text_config.num_hidden_layers)

    @property
    def image_tokens(self) -> int:
        """How many tokens of the decoder one image takes."""
        return family_with(self.config).image_tokens(self.config)

    @property
    def feature_values(self) -> int:
        """How many numbers the vision features of one image have at most."""
        return family_with(self.config).feature_values(self.config)

    def dimensions(self, rank: int, recipe: Recipe, tokens: int) -> Dimensions:
        """Return the dimensions that a method's memory depends on."""
        if (key := (recipe.connector, recipe.adapt)) not in self._shapes:
            layers = adapted_layers(self.model, recipe).values()
            self._shapes[key] = tuple(
                LayerShape(item.name, item.weight.shape[0], item.weight.shape[1], item.block) for item in layers
            )
        tuned = (
            self.model.get_submodule(f"model.{family_with(self.config).connector}").parameters()
            if recipe.connector == "full"
            else ()
        )
        return Dimensions(self._shapes[key], sum(value.numel() for value in tuned), rank, tokens)

    def adapt(self, method: TrainMethod, rank: int, recipe: Recipe, tokens: int) -> Adapted:
        """Let a method adapt the model, and run one decoder block to measure what the backward pass keeps."""
        model = copy.deepcopy(self.model).to(getattr(torch, recipe.train_dtype))
        with torch.device("meta"):  # peft creates A and B on the default device, and moves them later
            wrapped: Any = called(method.adapt, model, rank, recipe).train()
        trained = sum(parameter.numel() for parameter in wrapped.parameters() if parameter.requires_grad)
        one, two = (_kept_bytes(wrapped, model.model.language_model, count, tokens) for count in (1, 2))
        return Adapted(trained, 2 * one - two, two - one)


class _Saved:
    """A holder of a tensor that autograd keeps; it lives exactly as long as autograd keeps the tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def _kept_bytes(model: nn.Module, decoder: Any, count: int, tokens: int) -> int:
    """Return the bytes, without the parameters, that the first decoder block keeps for the backward pass."""
    own = {_storage(parameter) for parameter in model.parameters()}
    saved: weakref.WeakSet[_Saved] = weakref.WeakSet()

    def keep(tensor: Tensor) -> _Saved:
        held = _Saved(tensor)
        saved.add(held)
        return held

    dtype = next(decoder.parameters()).dtype
    hidden = torch.empty(count, tokens, decoder.config.hidden_size, device="meta", dtype=dtype, requires_grad=True)
    places = torch.arange(tokens, device="meta").unsqueeze(0)
    with _kernel(decoder), torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor):
        turns = decoder.rotary_emb(hidden, places)
        out = decoder.layers[0](hidden, position_embeddings=turns, position_ids=places, attention_mask=None)
    kept = {_storage(held.tensor): held.tensor.untyped_storage().nbytes() for held in saved}
    del out  # the graph, and with it the saved tensors, had to live until here
    return sum(size for storage, size in kept.items() if storage not in own)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Kernel(torch.autograd.Function):
    """Attention that saves what a fused kernel saves: q, k, v, the output, one float32 per head and token."""

    @staticmethod
    def forward(context: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # type: ignore[override]
        out = torch.empty_like(q)
        context.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out


@contextmanager
def _kernel(decoder: Any) -> Iterator[None]:
    """Use attention that saves what a GPU's saves; on meta, torch's own saves every pair of tokens."""
    from transformers import AttentionInterface

    def attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        out: Tensor = _Kernel.apply(q, k, v)  # type: ignore[no-untyped-call]
        return out.transpose(1, 2).contiguous(), None

    AttentionInterface.register(_ATTENTION, attention)
    before = decoder.config._attn_implementation
    decoder.config._attn_implementation = _ATTENTION
    try:
        yield
    finally:
        decoder.config._attn_implementation = before
