"""The memory that a method takes on each GPU by component, and the largest micro-batch that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.plugins.method import Dimensions, Method, TrainMethod
from bench.prepare.price.blueprint import Adapted, Blueprint
from bench.trial.hooks import called
from bench.values.recipe import Recipe

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# nf4 with double quantisation: 4 bits, one byte per 64 weights, one float32 per 256 of these (Dettmers et al., QLoRA)
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
RUNTIME = 10**9  # assumed: the device's own libraries, and memory that the allocator cannot use
# bytes per logit: the logit in the train dtype; in float32, its log-softmax and both gradients
_LOGITS_BYTES = {"float32": 12, "bfloat16": 16, "float16": 16}


@dataclass(frozen=True, slots=True)
class Footprint:
    """The bytes of one method, or of a control, at one rank: a fixed part, and a part per example of a micro-batch.

    ``own`` holds the bytes that the method declares for itself. ``trained`` counts parameters; it is 0 for an edit.
    """

    method: str
    rank: int
    trained: int
    fixed: Mapping[str, int]
    example: Mapping[str, int] = field(default_factory=dict)
    own: Mapping[str, int] = field(default_factory=dict)

    def at(self, micro_batch: int) -> dict[str, int]:
        """Return the bytes by component, for a micro-batch of ``micro_batch`` examples."""
        parts = {name: size + micro_batch * self.example.get(name, 0) for name, size in self.fixed.items()}
        return {**parts, "own": sum(self.own.values())}

    def total(self, micro_batch: int) -> int:
        """Return the sum of all bytes, for a micro-batch of ``micro_batch`` examples."""
        return sum(self.at(micro_batch).values())

    def largest(self, memory_bytes: int, batch: int) -> int:
        """Return the largest micro-batch up to ``batch`` that fits, or 0 if none fits."""
        return max((count for count in range(1, batch + 1) if self.total(count) <= memory_bytes), default=0)


def base_bytes(blueprint: Blueprint, recipe: Recipe, dimensions: Dimensions) -> int:
    """Return the bytes of the base model during training; ``4bit`` quantises the decoder's linear layers."""
    whole = blueprint.parameters
    if recipe.quantization == "none":
        return whole * BYTES[recipe.train_dtype]
    linear = sum(layer.entries for layer in dimensions.decoder)
    return (whole - linear) * BYTES[recipe.train_dtype] + int(linear * NF4_BYTES)


def training(
    method: TrainMethod,
    blueprint: Blueprint,
    recipe: Recipe,
    dimensions: Dimensions,
    adapted: Adapted,
    *,
    plain: int,
) -> Footprint:
    """Return the memory of training; trained weights, gradients and both AdamW moments are float32.

    An example has logits only where a token is learnt. The first ``plain`` decoder blocks keep all their activations.
    With gradient checkpointing, each of the others keeps only its input, and one of them at a time its activations.
    """
    text, size = blueprint.config.text_config, BYTES[recipe.train_dtype]
    graphs = called(method.graphs)
    checkpointed = max(0, blueprint.blocks - plain)
    every = graphs * (blueprint.blocks - checkpointed) + (checkpointed > 0)
    inputs = graphs * checkpointed * dimensions.tokens * text.hidden_size * size
    return Footprint(
        method.name,
        dimensions.rank,
        adapted.trained,
        {
            "base": base_bytes(blueprint, recipe, dimensions),
            "trained": 4 * adapted.trained,
            "gradients": 4 * adapted.trained,
            "optimizer": 8 * adapted.trained,
            "activations": every * adapted.fixed_bytes,
            "logits": 0,
        },
        {
            "activations": every * adapted.example_bytes + inputs,
            "logits": graphs * dimensions.learnt * text.vocab_size * _LOGITS_BYTES[recipe.train_dtype],
        },
        called(method.memory, dimensions),
    )


def editing(method: Method, blueprint: Blueprint, recipe: Recipe, dimensions: Dimensions) -> Footprint:
    """Return the GPU memory of an edit: the base model and what the method declares, without changes."""
    weights = blueprint.parameters * BYTES[recipe.train_dtype]
    return Footprint(method.name, dimensions.rank, 0, {"base": weights}, {}, called(method.memory, dimensions))


def evaluation(blueprint: Blueprint, recipe: Recipe, tokens: int, new_tokens: int, live: int = 0) -> Footprint:
    """Return the memory of generation: the base in ``eval_dtype``, each answer's keys, values and prefill.

    ``live`` is the size of a change that is held next to the base, because it cannot be merged. It adds to the output
    of each layer in float32: its own output and the sum are there at once, the largest those of the MLP's branches.
    """
    text, size = blueprint.config.text_config, BYTES[recipe.eval_dtype]
    heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    cache = 2 * text.num_hidden_layers * (text.num_key_value_heads or heads) * head * size * (tokens + new_tokens)
    # the widest point of a block: the MLP's two branches and their product, plus the residual stream
    prefill = tokens * (3 * text.intermediate_size + 2 * text.hidden_size) * size
    prefill += 2 * tokens * text.intermediate_size * BYTES["float32"] if live else 0
    fixed = {"base": blueprint.parameters * size, "cache": 0, "prefill": 0}
    fixed |= {"live change": live} if live else {}
    return Footprint("evaluation", 0, 0, fixed, {"cache": cache, "prefill": prefill})


def change_bytes(method: Method, parent: int | None, dimensions: Dimensions, trained: int) -> int:
    """Return the bytes of a change on disk, in float32, including a fully tuned connector."""
    declared = called(method.change_bytes, dimensions)
    if declared is not None:
        return declared + 4 * dimensions.connector
    return 4 * trained if parent is None else parent
