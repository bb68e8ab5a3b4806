"""The interface of a model family, such as LLaVA; bench.model.families lists all families."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError
from bench.text import did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from bench.values.recipe import ImageMode

# The linear layers of a decoder block, in the order that figures use. All families tried so far have these layers.
ROLES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

# Those of these layers that read the same input.
SHARING = (ROLES[:3], ROLES[4:6])

# Groups of these layers by name, for recipe.adapt.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": ROLES,
    "attention": ROLES[:4],
    "mlp": ROLES[4:],
    "gate_up": ("gate_proj", "up_proj"),
    "q_v": ("q_proj", "v_proj"),
}

# Objects of transformers, which has no types.
Config = Any
Processor = Any

Features = Mapping[str, "Tensor"]  # one image's features, on the CPU, under names that the family chooses
Pixels = Mapping[str, "Tensor"]  # one image as its tower takes it, on the CPU, under names that the family chooses


def linears_of(decoder: str) -> str:
    """Return a regular expression for a decoder's linear layers; ``decoder`` is the one of its module."""
    parts = "|".join(role.removesuffix("_proj") for role in ROLES)
    return rf".*{decoder}\.layers\.\d+\.(?:self_attn|mlp)\.(?:{parts})_proj"


def adapted_roles(adapt: str) -> tuple[str, ...]:
    """Return the roles that ``recipe.adapt`` names, in the order of ``ROLES``.

    Raises:
        UsageError: it is neither a group nor roles joined by +.

    >>> adapted_roles("q_v"), adapted_roles("down_proj+q_proj")
    (('q_proj', 'v_proj'), ('q_proj', 'down_proj'))
    """
    named = GROUPS.get(adapt) or tuple(part.strip() for part in adapt.split("+"))
    for role in named:
        if role not in ROLES:
            like = did_you_mean(role, ROLES if len(named) > 1 else (*GROUPS, *ROLES))
            raise UsageError(
                f"recipe.adapt is {adapt!r}, but {role!r} is not a layer of the decoder.{like} Give one of "
                f"{', '.join(GROUPS)}, or layers joined by +: {', '.join(ROLES)}. Groups cannot be joined."
            )
    return tuple(role for role in ROLES if role in named)


def adapt_name(adapt: str) -> str:
    """Return the one way to write ``recipe.adapt``, so that equal layers give equal ids.

    >>> adapt_name("v_proj+q_proj"), adapt_name("up_proj+q_proj")
    ('q_v', 'q_proj+up_proj')
    """
    roles = adapted_roles(adapt)
    return next((name for name, group in GROUPS.items() if group == roles), "+".join(roles))


def role_of(name: str) -> str:
    """Return a layer's own name from its weight's name: q_proj, …, down_proj, or a connector layer's."""
    return name.split(".")[-2]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A task's prompt, the recipe's template that the prompt goes into, and the answer that is taught, if one is."""

    prompt: str
    template: str
    answer: str | None = None


class Family(ABC):
    """A kind of vision-language model: a frozen tower, a connector, a decoder, and their inputs.

    ``config`` is the transformers configuration in every method except ``refuse_config``, ``refuse_files`` and
    ``connector_shapes``, which get the contents of config.json. Importing a family does not load torch; its methods do.
    """

    title: ClassVar[str]
    model_type: ClassVar[str]  # as in config.json

    # Regular expressions for the whole names of a live model's modules; the connector's may match nothing.
    decoder_linears: ClassVar[str]
    connector_linears: ClassVar[str]
    # The name of the connector's module, or an ending that no other module has; peft finds the module to save by it.
    connector: ClassVar[str]
    # Matches inside the names of a decoder block's parameters, never of a tower's; its group is the block's number.
    blocks: ClassVar[re.Pattern[str]]

    # Tensors of a checkpoint: the decoder's linear layers, and tensors that may be missing because nothing reads them.
    stored_linears: ClassVar[re.Pattern[str]]
    unread: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    # The decoder's sizes that transformers assumes if config.json omits them.
    decoder_sizes: ClassVar[Mapping[str, int]] = {}

    @property
    @abstractmethod
    def model_class(self) -> Any:
        """The class of the model, which names the class of its configuration."""

    @abstractmethod
    def refuse_config(self, config: Mapping[str, Any]) -> str | None:
        """Return why a checkpoint with this config.json cannot be adapted, or None."""

    @abstractmethod
    def refuse_files(self, folder: Path, config: Mapping[str, Any]) -> str | None:
        """Return why a checkpoint's files cannot be adapted, or None; the files are complete and undamaged."""

    @abstractmethod
    def connector_shapes(self, config: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of all the connector's parameters; ``config`` is config.json, which may omit defaults."""

    @abstractmethod
    def processor(self, folder: Path, image: ImageMode) -> Processor:
        """Return a checkpoint's processor, which has a ``tokenizer`` and prepares images as ``image`` says.

        It is whole: plain transformers makes a prompt with an image from what it saves.
        """

    @abstractmethod
    def take_tower(self, model: Any) -> nn.Module:
        """Remove the frozen tower from a model and return it; then the model takes features, not images."""

    @abstractmethod
    def pixels(self, processor: Processor, images: Sequence[Image]) -> Sequence[Pixels]:
        """Return each image as the tower takes it: resized and normalised, for itself alone.

        Several threads call this at once, ahead of the tower.
        """

    @abstractmethod
    def encode(self, tower: nn.Module, config: Config, pixels: Sequence[Pixels]) -> Sequence[Features]:
        """Return each image's features: hidden states before the connector, and what else the family needs."""

    @abstractmethod
    def feature_values(self, config: Config) -> int:
        """Return the largest number of values that the features of one image can have."""

    @abstractmethod
    def image_tokens(self, config: Config) -> int:
        """Return the largest number of decoder tokens that an image can take."""

    def tokens_of(self, config: Config, processor: Processor, picture: Callable[[], Image]) -> int:
        """Return the number of tokens of one image; a family that must see the image calls ``picture``."""
        return self.image_tokens(config)

    @abstractmethod
    def placeholder(self, config: Config) -> int:
        """Return the token that a prompt contains once for each token of the image."""

    @abstractmethod
    def ids(self, processor: Processor, config: Config, exchange: Exchange, count: int) -> tuple[list[int], list[int]]:
        """Return a prompt's tokens with ``count`` placeholders, and its answer's tokens with the end token.

        Raises:
            DataError: the text cannot be taught; the message says why.
        """

    @abstractmethod
    def inputs(self, config: Config, ids: Tensor, features: Sequence[Features]) -> dict[str, Tensor]:
        """Return a forward pass's inputs other than ids, mask and labels, on the device of ``ids``."""

    def positions(self, config: Config, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the positions [..., n, length] of prompts that are padded on the left."""
        return (batch["attention_mask"].long().cumsum(-1) - 1).clamp(min=0)

    def next_positions(self, positions: Tensor) -> Tensor:
        """Return the positions [..., n, 1] of the tokens that follow."""
        return positions[..., -1:] + 1
