"""Say how far A has moved from its random start when LoRASculpt draws its mask, here and in the paper's run.

The mask keeps A's largest entries. Adam moves an entry by about the learning rate per update, so the sum of the
learning rates up to the mask, over the root mean square (rms) of A's start, says whether these are entries that were
learnt or those of the random start.
"""

from __future__ import annotations

import math

from bench.model import checkpoints
from bench.model.families import family_in
from bench.plan.request import Request
from bench.plan.suite import LORASCULPT
from bench.values.recipe import Recipe

_METHOD, _FIELD = "lorasculpt", "warmup"
_WIDTH = 4096  # of the decoder in the paper's run, LLaVA-1.5-7B


def suite_settings(request: Request) -> tuple[str, ...]:
    """Return the settings that a request has from its suite, as texts for the heading of a table."""
    return tuple(
        f"{method}.{name} {value}{_moved(request, method, name)}"
        for method, fields in request.suite.settings.items()
        if method in request.methods
        for name, value in fields.items()
        if request.settings_of(method)[name] == value
    )


def travel(recipe: Recipe, share: float, width: int, lr: float | None = None) -> float:
    """Return the sum of the learning rates up to the mask, over the rms of A's start, 1 / sqrt(3 width)."""
    updates = max(1, round(share * recipe.updates))
    return sum(_rates(recipe, lr or recipe.lr)[:updates]) * math.sqrt(3 * width)


def _rates(recipe: Recipe, lr: float) -> list[float]:
    """Return the learning rate of every update: a linear warm-up, then a cosine to zero."""
    first, total = math.ceil(recipe.warmup * recipe.updates), recipe.updates
    rising = [lr * index / first for index in range(min(first, total))]
    falling = total - len(rising)
    return rising + [lr * (1 + math.cos(math.pi * index / falling)) / 2 for index in range(falling)]


def _moved(request: Request, method: str, name: str) -> str:
    if (method, name) != (_METHOD, _FIELD):
        return ""
    settings = request.settings_of(method)
    lr = settings.get("lr")
    here = travel(request.recipe, float(settings[name] or 0), _width(request), None if lr is None else float(lr))
    paper = request.registry.method(method)()
    there = travel(LORASCULPT.recipe, getattr(paper, name), _WIDTH)
    return f" (learning rates up to the mask sum to {here:.2f} x A's start; {there:.2f} in the paper's run)"


def _width(request: Request) -> int:
    folder = request.suite.folder
    sizes = {**family_in(folder).decoder_sizes, **checkpoints.read_json(folder / "config.json").get("text_config", {})}
    return int(sizes["hidden_size"])
