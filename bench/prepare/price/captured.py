"""The main memory of an edit that captures what the decoder's layers read."""

from __future__ import annotations

from bench.plugins.method import Dimensions
from bench.prepare.price.blueprint import Blueprint
from bench.prepare.price.memory import BYTES
from bench.values.recipe import Recipe

_READ_BY = {"q_proj": "attention", "k_proj": "attention", "v_proj": "attention", "gate_proj": "mlp", "up_proj": "mlp"}


def captured_bytes(count: int, blueprint: Blueprint, recipe: Recipe, dimensions: Dimensions) -> dict[str, int]:
    """Return the bytes that ``bench.trial.capture`` holds in main memory for a number of examples.

    The inputs of the widest block are float32; layers that read the same tensor share it. The states at the block's
    door have the training's precision.
    """
    tokens = count * dimensions.tokens
    widths = dict[int, dict[str, int]]()
    for layer in dimensions.decoder:
        assert layer.block is not None
        widths.setdefault(layer.block, {})[_READ_BY.get(layer.role, layer.role)] = layer.columns
    widest = max((sum(found.values()) for found in widths.values()), default=0)
    states = tokens * blueprint.config.text_config.hidden_size * BYTES[recipe.train_dtype]
    return {"inputs of a block": 4 * tokens * widest, "states at its door": states}
