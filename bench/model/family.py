"""What the engine asks of a family of models: LLaVA is one, and bench.model.families lists them all."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from bench.spec import ImageMode

# The linear layers of a decoder block, in the order in which they are drawn: all families tried have these.
ROLES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

Features = Mapping[str, "Tensor"]  # what a family keeps of one picture, on the CPU, by names of its own


def linears_of(decoder: str) -> str:
    """Return the regular expression of the linear layers of a decoder; ``decoder`` is the expression of its module."""
    parts = "|".join(role.removesuffix("_proj") for role in ROLES)
    return rf".*{decoder}\.layers\.\d+\.(?:self_attn|mlp)\.(?:{parts})_proj"


def role_of(name: str) -> str:
    """Return a layer's own name from its weight's name: q_proj, …, down_proj, or a name of the connector's."""
    return name.split(".")[-2]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A task's prompt, the recipe's template that the prompt goes into, and the answer that is taught."""

    prompt: str
    template: str
    answer: str


class Family(ABC):
    """A kind of vision-language models: a frozen tower, a connector, a decoder, and how they are fed.

    ``config`` is the configuration of transformers in every method except ``refuse_config`` and ``refuse_files``, which
    get the contents of config.json. Importing a family loads no torch: the methods do.
    """

    title: ClassVar[str]
    model_type: ClassVar[str]  # of config.json

    # Modules of a live model, as regular expressions of whole names; those of the connector may match nothing.
    decoder_linears: ClassVar[str]
    connector_linears: ClassVar[str]
    # The name of the connector's module, or the end of it that no other module has; peft saves the module by it.
    connector: ClassVar[str]
    # Found in the names of a decoder block's parameters; its group is the block's number. No tower's name has it.
    blocks: ClassVar[re.Pattern[str]]

    # Tensors of a checkpoint's files: the decoder's linear layers, and those that may be missing as nothing reads them.
    stored_linears: ClassVar[re.Pattern[str]]
    unread: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    # The sizes of the decoder that transformers takes if a config.json leaves them out.
    decoder_sizes: ClassVar[Mapping[str, int]] = {}

    @property
    @abstractmethod
    def config_class(self) -> Any:
        """The class of the configuration."""

    @property
    @abstractmethod
    def model_class(self) -> Any:
        """The class of the model."""

    @abstractmethod
    def refuse_config(self, config: Mapping[str, Any]) -> str | None:
        """Return why a checkpoint of this config.json cannot be adapted, or None."""

    @abstractmethod
    def refuse_files(self, folder: Path, config: Mapping[str, Any]) -> str | None:
        """Return why a checkpoint's files cannot be adapted, or None; they are complete, and none is damaged."""

    @abstractmethod
    def processor(self, folder: Path, image: ImageMode) -> Any:
        """Return a checkpoint's processor, which has a ``tokenizer`` and prepares images as ``image`` says."""

    @abstractmethod
    def take_tower(self, model: Any) -> nn.Module:
        """Take the frozen tower out of a model and return it; from then on the model takes features for pictures."""

    @abstractmethod
    def encode(self, tower: nn.Module, config: Any, processor: Any, images: Sequence[Image]) -> Sequence[Features]:
        """Return the features of each image: hidden states before the connector, and what else the family needs."""

    @abstractmethod
    def feature_values(self, config: Any) -> int:
        """Return how many numbers the features of one picture have, at most."""

    @abstractmethod
    def image_tokens(self, config: Any) -> int:
        """Return how many tokens of the decoder a picture takes, at most."""

    def tokens_of(self, config: Any, processor: Any, picture: Callable[[], Image]) -> int:
        """Return how many tokens this picture takes; ``picture`` opens it, which not every family has to."""
        return self.image_tokens(config)

    @abstractmethod
    def placeholder(self, config: Any) -> int:
        """Return the token that a prompt has for each token of the picture."""

    @abstractmethod
    def ids(self, processor: Any, config: Any, exchange: Exchange, count: int) -> tuple[list[int], list[int]]:
        """Return the tokens of a prompt, ``count`` placeholders among them, and of its answer with the end token.

        Raises:
            DataError: the text cannot be taught; the message says why.
        """

    @abstractmethod
    def inputs(self, config: Any, ids: Tensor, features: Sequence[Features]) -> dict[str, Tensor]:
        """Return what a forward pass over prompts takes besides ids, mask and labels, on the device of ``ids``."""

    def positions(self, config: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the positions [..., n, length] of prompts that are padded on the left."""
        return (batch["attention_mask"].long().cumsum(-1) - 1).clamp(min=0)

    def next_positions(self, positions: Tensor) -> Tensor:
        """Return the positions [..., n, 1] of the tokens that follow."""
        return positions[..., -1:] + 1
