"""The configurations of published checkpoints, so that a run is planned and priced before 14 GB are downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
_DECODERS = {  # hidden size, intermediate size, blocks, heads
    "llava-hf/llava-1.5-7b-hf": (4096, 11008, 32, 32),
    "llava-hf/llava-1.5-13b-hf": (5120, 13824, 40, 40),
}

# The contents of config.json that decide the shapes, by hub id.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    name: {
        "model_type": "llava",
        "text_config": {
            "model_type": "llama",
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": blocks,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "vocab_size": 32064,
        },
        "vision_config": _TOWER,
    }
    for name, (hidden, inner, blocks, heads) in _DECODERS.items()
}


def published(model: str) -> Mapping[str, Any] | None:
    """Return the configuration of a hub id ``owner/name[@revision]``, or None if it is not known here."""
    return PUBLISHED.get(model.partition("@")[0])
