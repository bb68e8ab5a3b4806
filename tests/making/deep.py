"""The tiny model of the checks with more decoder blocks, and random changes of it."""

from __future__ import annotations

import dataclasses

import torch

from bench.checks import tiny as checks
from bench.checks.tiny import RECIPE, Tiny, tiny, with_data
from bench.model.adapters import adapted_layers
from bench.model.change import Change, LowRank, Replaced
from bench.model.families import family_of
from bench.model.llava.tiny import fresh
from bench.model.resident import Base


def deep(blocks: int, dtype: str = "float32") -> Tiny:
    """Return the tiny model of the checks with ``blocks`` decoder blocks and other weights, and its data."""
    processor = tiny().base.processor
    shape = dataclasses.replace(checks._SHAPE, decoder=dataclasses.replace(checks._SHAPE.decoder, layers=blocks))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(blocks)
        model = fresh(processor.tokenizer, shape).eval().requires_grad_(requires_grad=False)
    tower = family_of(model.to(getattr(torch, dtype))).take_tower(model)
    pristine = {name: value.detach().clone() for name, value in model.named_parameters()}
    return with_data(Base(model, tower, processor, pristine, torch.device("cpu")))


def random_change(base: Base, seed: int = 0, size: float = 0.05) -> Change:
    """Return a low-rank change of every adapted layer of a base model, and a connector that is tuned in full."""
    generator = torch.Generator().manual_seed(seed)
    change = {}
    for name, layer in adapted_layers(base.model, RECIPE).items():
        (rows, columns), scale = layer.stored.shape, size**0.5
        b, a = (torch.randn(shape, generator=generator) * scale for shape in ((rows, 2), (2, columns)))
        change[name] = LowRank(b, a, 1.0)
    tuned = {name: value for name, value in base.pristine.items() if base.family.connector in name}
    replaced = {
        name: Replaced(value.float() + size * torch.randn(value.shape, generator=generator))
        for name, value in tuned.items()
    }
    return Change({**change, **replaced})
