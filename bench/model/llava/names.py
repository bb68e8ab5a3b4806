"""The names of a LLaVA's linear layers, in a live model and in a checkpoint's files."""

from __future__ import annotations

import re

from bench.model.family import linears_of

CONNECTOR = "multi_modal_projector"

# These match modules of a live model's decoder only; the vision tower also has suffixes q_proj, k_proj and v_proj.
LANGUAGE_LINEARS = linears_of("language_model")
CONNECTOR_LINEARS = rf".*{CONNECTOR}\.linear_\d+"
BLOCKS = re.compile(r"language_model\.layers\.(\d+)\.")

# Tensors of a checkpoint's files; older files have language_model.model.layers, not language_model.layers.
STORED_LINEARS = re.compile(linears_of(r"language_model(?:\.model)?") + r"\.weight")
STORED_CONNECTOR = re.compile(rf".*{CONNECTOR}\.linear_[12]\.weight")

_STORED_BLOCK = re.compile(r"(.*language_model\.(?:model\.)?layers\.\d+)\..*")


def stored_block_of(name: str) -> str | None:
    """Return the decoder block of a checkpoint's tensor as a prefix of its name; None outside the decoder."""
    found = _STORED_BLOCK.fullmatch(name)
    return found.group(1) if found else None
