"""Start weights of the decoder, with which it can almost look up the letter of an option.

In a pretraining of minutes, a decoder this small does not discover that the letter of an option comes two tokens before
its word: the loss stays at chance for thousands of steps. So the start weights already do the two steps of a lookup:

1. the first layer copies the words one, two and three tokens back, each into its own part of the width;
2. in the next layers a token attends to the tokens that hold the word which it copied from two back, or gathered from
   anywhere, and reads what these tokens have copied, the letter.

All other weights start small and random, and every weight is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import LlamaModel

_SPREAD = 0.1  # standard deviation of the words' embeddings, and the size of what is copied
_NOISE = 0.02  # standard deviation of every other weight
_PULL = 3.0  # how strongly a head looks back: larger is sharper
_SHARP = 2.0  # how strongly a head attends to an equal word
_FAST = 4  # the number of rotary pairs fast enough to tell neighbouring tokens apart


@torch.no_grad()
def prime(decoder: LlamaModel) -> None:
    """Overwrite the decoder's weights; it needs three layers, four heads and biases in the attention.

    The width has four parts, each as wide as a head: the first part holds the token's own word, and the other parts
    hold the words one, two and three back.
    """
    layers: Any = decoder.layers
    size = layers[0].self_attn.head_dim
    frequencies: Any = decoder.rotary_emb.inv_freq
    for name, parameter in decoder.named_parameters():
        if parameter.dim() == 2:  # norms and biases keep their values
            adds = name.endswith(("o_proj.weight", "down_proj.weight"))  # a layer must add no more than a word's size
            parameter.normal_(0, _NOISE * _SPREAD if adds else _NOISE)
    decoder.get_input_embeddings().weight[:, :size].normal_(0, _SPREAD)
    for distance in (1, 2, 3):
        attention, head = layers[0].self_attn, distance - 1
        _look_back(attention, head, distance, frequencies)
        _copy(attention, head, source=0, to=distance)
    for layer in layers[1:3]:
        attention = layer.self_attn
        _match(attention, 0, asked=2, found=0)
        _copy(attention, 0, source=2, to=0)
        _copy(attention, 3, source=0, to=2)


def _part(number: int, size: int) -> slice:
    return slice(number * size, (number + 1) * size)


def _copy(attention: Any, head: int, *, source: int, to: int) -> None:
    """Make a head copy part ``source`` of the tokens it attends to into part ``to`` of its own token."""
    size = attention.head_dim
    attention.v_proj.weight[_part(head, size), _part(source, size)] += torch.eye(size)
    attention.o_proj.weight[_part(to, size), _part(head, size)] += _SPREAD / 2 * torch.eye(size)


def _match(attention: Any, head: int, *, asked: int, found: int) -> None:
    """Make a head attend to all tokens whose part ``found`` equals this token's part ``asked``."""
    size = attention.head_dim
    slow = (torch.arange(size) % (size // 2) >= _FAST).float()
    attention.q_proj.weight[_part(head, size), _part(asked, size)] += _SHARP * slow.diag()
    attention.k_proj.weight[_part(head, size), _part(found, size)] += _SHARP * slow.diag()


def _look_back(attention: Any, head: int, distance: int, frequencies: Tensor) -> None:
    """Make a head attend by position alone, to the token that is ``distance`` places back."""
    size = attention.head_dim
    half = torch.zeros(size // 2)
    half[:_FAST] = _PULL
    angles = -distance * frequencies
    attention.k_proj.bias[_part(head, size)] = torch.cat([half, half])
    attention.q_proj.bias[_part(head, size)] = torch.cat(
        [half * (angles.cos() - angles.sin()), half * (angles.cos() + angles.sin())]
    )
