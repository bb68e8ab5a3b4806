"""The names of a LLaVA's linear layers, in a live model and in a checkpoint's files, and what a name says."""

from __future__ import annotations

import re

CONNECTOR = "multi_modal_projector"
# The linear layers of a decoder block, in the order in which they are drawn.
ROLES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

_PARTS = "|".join(role.removesuffix("_proj") for role in ROLES)
_LINEAR = rf"layers\.\d+\.(?:self_attn|mlp)\.(?:{_PARTS})_proj"

# Modules of a live model. The decoder alone: the suffixes q_proj, k_proj and v_proj stand in the vision tower too.
LANGUAGE_LINEARS = rf".*language_model\.{_LINEAR}"
CONNECTOR_LINEARS = rf".*{CONNECTOR}\.linear_\d+"

# Tensors of a checkpoint's files: older files have language_model.model.layers for language_model.layers.
STORED_LINEARS = re.compile(rf".*language_model\.(?:model\.)?{_LINEAR}\.weight")
STORED_CONNECTOR = re.compile(rf".*{CONNECTOR}\.linear_[12]\.weight")

_BLOCK = re.compile(r"language_model\.layers\.(\d+)\.")
_STORED_BLOCK = re.compile(r"(.*language_model\.(?:model\.)?layers\.\d+)\..*")


def role_of(name: str) -> str:
    """Return a layer's own name from its weight's name: q_proj, …, down_proj, linear_1, linear_2."""
    return name.split(".")[-2]


def block_of(name: str) -> int | None:
    """Return the decoder block of a parameter of a live model, counted from 0; None outside the decoder."""
    found = _BLOCK.search(name)
    return int(found.group(1)) if found else None


def stored_block_of(name: str) -> str | None:
    """Return the decoder block of a checkpoint's tensor, as its name begins; None outside the decoder."""
    found = _STORED_BLOCK.fullmatch(name)
    return found.group(1) if found else None
