"""What an edit is given to read."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch

from bench.checks.runs import learn
from bench.checks.tiny import RECIPE, tiny
from bench.model import resident
from bench.model.holding import holding
from bench.plugins.registry import Registry
from bench.trial.capture import Capture
from bench.trial.edit import layers_of
from bench.trial.stages import calibration


@pytest.mark.slow
@pytest.mark.parametrize("block", [0, 1])
def test_a_blocks_inputs_take_only_the_blocks_up_to_it_merged(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    bench, change, held = tiny(), learn(Registry().method("lora")()), list[set[str]]()

    @contextmanager
    def noted(model: Any, given: Any, pristine: Any) -> Iterator[Any]:
        held.append(set(given))
        with holding(model, given, pristine) as whole:
            yield whole

    monkeypatch.setattr(resident, "holding", noted)

    with torch.no_grad():
        capture = Capture(
            bench.base, layers_of(bench.base.model, RECIPE, change), partial(calibration, bench.train, RECIPE)
        )
        inputs = capture(block, change, 4)

    later = {name for name in change if f"layers.{block + 1}." in name}
    assert held == [set(change) - later]
    assert len(later) == (7 if block == 0 else 0)  # the tiny model has two blocks
    name = next(name for name in change if f"layers.{block}.self_attn.q_proj" in name)
    assert torch.equal(inputs[name], _inputs(bench, change, name))


@torch.no_grad()
def _inputs(bench: Any, change: Any, name: str) -> torch.Tensor:
    """Return what a layer is given in a whole forward pass with the whole change merged; padding left out."""
    batch = bench.batch(4)
    seen: list[torch.Tensor] = []
    linear = bench.base.model.get_submodule(name.removesuffix(".weight"))
    with holding(bench.base.model, change, bench.base.pristine) as model:
        handle = linear.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        model(**{key: value for key, value in batch.items() if key != "labels"})
        handle.remove()
    return seen[0][batch["attention_mask"].bool()]
