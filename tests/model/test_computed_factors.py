"""Factors that a layer computes from what is trained."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.checks.runs import logits
from bench.checks.tiny import RECIPE, tiny
from bench.model.adapters import compute_factors, insert_lora, lora_adapters, lora_change
from bench.model.change import LowRank


class Twice(nn.Module):
    """A, and A again without a gradient."""

    def forward(self, a: Tensor) -> Tensor:
        return torch.cat([a, a.detach()])


class Mixed(nn.Module):
    """B times a trained matrix, and B."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.eye(2) + 0.1)

    def forward(self, b: Tensor) -> Tensor:
        return torch.cat([b @ self.mixing, b.detach()], dim=1)


@pytest.mark.parametrize("connector", ["full", "frozen", "lora"])
def test_the_change_of_computed_factors_equals_the_live_model(connector: str) -> None:
    bench = tiny()
    base = logits(bench.base.model, bench)
    model = insert_lora(bench.base.tree(), 2, replace(RECIPE, connector=connector))  # type: ignore[arg-type]
    for adapter in list(lora_adapters(model)):
        nn.init.normal_(adapter.b, std=0.1)
        compute_factors(model, adapter, a=Twice(), b=Mixed())

    live, change = logits(model, bench), lora_change(model)
    with model.disable_adapter():  # type: ignore[operator]
        off = logits(model, bench)
    with bench.base.holding(change) as merged:
        torch.testing.assert_close(logits(merged, bench), live, atol=1e-5, rtol=1e-5)

    assert torch.equal(off, base)
    assert not torch.equal(live, base)
    assert {delta.a.shape[0] for delta in change.values() if isinstance(delta, LowRank)} == {4}


def test_everything_that_computes_a_factor_is_trained() -> None:
    bench = tiny()
    model = insert_lora(bench.base.tree(), 2, RECIPE)
    for adapter in list(lora_adapters(model)):
        nn.init.normal_(adapter.b, std=0.1)
        compute_factors(model, adapter, a=Twice(), b=Mixed())

    model(**bench.batch(), use_cache=False).loss.backward()

    trained = {name for name, value in model.named_parameters() if value.requires_grad and "lora" in name}
    assert trained
    assert trained == {name for name, value in model.named_parameters() if value.grad is not None and "lora" in name}
    assert any(name.endswith("mixing") for name in trained)
