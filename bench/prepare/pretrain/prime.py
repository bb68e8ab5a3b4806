"""Where the decoder starts from: weights that can nearly look an option up.

A decoder this small does not find out by itself, in a pretraining of minutes, that the letter of an option stands two
tokens before its word: the loss stays at chance for thousands of steps. So the two steps of it are laid down:

1. the first layer copies the word one, two and three tokens back, each into a part of the token's own;
2. the next layers let a token attend to those whose word is the one copied from two back, or gathered from anywhere,
   and read what was copied there: the letter.

All else starts small and random, and every weight is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import LlamaModel

_SPREAD = 0.1  # of the words, and of what is copied
_NOISE = 0.02  # of every other weight
_PULL = 3.0  # how strongly a head looks back: larger is sharper
_SHARP = 2.0  # how strongly a head attends to an equal word
_FAST = 4  # the rotary pairs that tell neighbours apart


@torch.no_grad()
def prime(decoder: LlamaModel) -> None:
    """Overwrite the decoder's weights. It needs three layers, four heads, width 4 heads, and biases in the attention.

    Of the width, the first head's share holds a token's word; the shares after it, the words one, two and three back.
    """
    layers: Any = decoder.layers
    size = layers[0].self_attn.head_dim
    frequencies: Any = decoder.rotary_emb.inv_freq
    for name, parameter in decoder.named_parameters():
        if parameter.dim() == 2:  # norms and biases stay
            adds = name.endswith(("o_proj.weight", "down_proj.weight"))  # what a layer adds is as small as a word
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
    """Make a head write one part of what it attends to into another part."""
    size = attention.head_dim
    attention.v_proj.weight[_part(head, size), _part(source, size)] += torch.eye(size)
    attention.o_proj.weight[_part(to, size), _part(head, size)] += _SPREAD / 2 * torch.eye(size)


def _match(attention: Any, head: int, *, asked: int, found: int) -> None:
    """Make a head attend to the tokens whose part ``found`` equals the token's own part ``asked``, far or near."""
    size = attention.head_dim
    slow = (torch.arange(size) % (size // 2) >= _FAST).float()
    attention.q_proj.weight[_part(head, size), _part(asked, size)] += _SHARP * slow.diag()
    attention.k_proj.weight[_part(head, size), _part(found, size)] += _SHARP * slow.diag()


def _look_back(attention: Any, head: int, distance: int, frequencies: Tensor) -> None:
    """Make a head attend by position alone, to the token ``distance`` places before."""
    size = attention.head_dim
    half = torch.zeros(size // 2)
    half[:_FAST] = _PULL
    angles = -distance * frequencies
    attention.k_proj.bias[_part(head, size)] = torch.cat([half, half])
    attention.q_proj.bias[_part(head, size)] = torch.cat(
        [half * (angles.cos() - angles.sin()), half * (angles.cos() + angles.sin())]
    )
