from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import Recipe, UsageError, lora_adapters
from bench.checks.tiny import RANK, RECIPE, tiny
from bench.methods import lorasculpt
from bench.methods.lora import LoRA
from bench.methods.lorasculpt import LoRASculpt, importance, penalised_product, top_k, weight_norm
from bench.plugins.hyperparameters import parse, ranges
from bench.trial.fit import fit

W = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
A = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
B = torch.tensor([[1.0], [2.0]], dtype=torch.float64)


def written_out(weight: Tensor, b: Tensor, a: Tensor, omega: float, *, entrywise: bool) -> Tensor:
    """Return the penalty as the paper writes it, for autograd."""
    scaled = weight / torch.linalg.matrix_norm(weight)
    mask = torch.tanh(omega * (1 / torch.log(scaled.abs() + 1e-15)).abs())
    product = mask * (b @ a)
    return product.abs().sum() if entrywise else torch.linalg.matrix_norm(product)


def example(dtype: torch.dtype = torch.float64, size: tuple[int, int] = (37, 53)) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    weight = 0.02 * torch.randn(size, dtype=dtype)
    b, a = torch.randn(size[0], 4, dtype=dtype), torch.randn(4, size[1], dtype=dtype)
    return weight, b.requires_grad_(), a.requires_grad_()


def factors(model: nn.Module, *, connector: bool = False) -> dict[str, Tensor]:
    return {
        f"{adapter.name}.{part}": getattr(adapter, part)
        for adapter in lora_adapters(model)
        for part in ("a", "b")
        if adapter.in_connector == connector
    }


def test_the_mask_is_that_of_the_worked_example() -> None:
    expected = torch.tensor([[0.96090744, 0.02894488], [0.02894488, 0.99974387]], dtype=torch.float64)

    mask = importance(W, weight_norm(W, "fro"), 1.0, torch.empty_like(W))

    assert weight_norm(W, "fro") == 5.0
    torch.testing.assert_close(mask, expected, rtol=0, atol=5e-9)


def test_the_spectral_norm_gives_the_largest_entry_the_mask_one() -> None:
    mask = importance(W, weight_norm(W, "spectral"), 1.0, torch.empty_like(W))

    assert weight_norm(W, "spectral") == pytest.approx(4.0)
    assert mask[1, 1].item() == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mask_is_finite_for_zeros_and_for_a_single_entry(dtype: torch.dtype) -> None:
    zeros, single = torch.zeros(2, 2, dtype=dtype), torch.tensor([[0.5]], dtype=dtype)

    of_zeros = importance(zeros, weight_norm(zeros, "fro"), 1.0, torch.empty(2, 2))
    of_single = importance(single, weight_norm(single, "fro"), 1.0, torch.empty(1, 1))

    torch.testing.assert_close(of_zeros, torch.full((2, 2), 0.02894488), rtol=0, atol=5e-8)
    assert of_single.item() == 1.0


def test_the_penalty_is_that_of_the_worked_example() -> None:
    b, a = B.clone().requires_grad_(), A.clone().requires_grad_()
    da = torch.tensor([[0.96264964, 0.0]], dtype=torch.float64)
    db = torch.tensor([[0.95916839], [0.00174062]], dtype=torch.float64)

    value = penalised_product(W, b, a, 5.0, 1.0)
    value.backward()  # type: ignore[no-untyped-call]

    assert value.item() == pytest.approx(0.96264964, abs=5e-9)
    torch.testing.assert_close(a.grad, da, rtol=0, atol=5e-9)
    torch.testing.assert_close(b.grad, db, rtol=0, atol=5e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("entrywise", [False, True])
def test_at_b_zero_the_penalty_and_its_gradients_are_zero_and_finite(dtype: torch.dtype, entrywise: bool) -> None:
    a = A.to(dtype).requires_grad_()
    b = torch.zeros(2, 1, dtype=dtype, requires_grad=True)

    value = penalised_product(W.to(dtype), b, a, 5.0, 1.0, entrywise=entrywise)
    value.backward()  # type: ignore[no-untyped-call]

    assert value.item() == 0.0
    assert torch.equal(a.grad, torch.zeros_like(a))  # type: ignore[arg-type]
    assert torch.equal(b.grad, torch.zeros_like(b))  # type: ignore[arg-type]


@pytest.mark.parametrize("entries", [1, 200, 1 << 17])
@pytest.mark.parametrize("entrywise", [False, True])
@pytest.mark.parametrize("omega", [0.5, 1.0])
def test_the_closed_form_equals_autograd_in_float64_for_every_block_size(
    entries: int, entrywise: bool, omega: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lorasculpt._ENTRIES, "cpu", entries)
    weight, b, a = example()
    plain = written_out(weight, b, a, omega, entrywise=entrywise)
    expected = torch.autograd.grad(plain, (b, a))

    value = penalised_product(weight, b, a, weight_norm(weight, "fro"), omega, entrywise=entrywise)
    found = torch.autograd.grad(3 * value, (b, a))

    torch.testing.assert_close(value, plain, rtol=1e-12, atol=0)
    torch.testing.assert_close(found, tuple(3 * part for part in expected), rtol=1e-10, atol=1e-12)


def test_float32_is_within_1e_5_of_float64() -> None:
    weight, b, a = example(size=(700, 900))
    plain = written_out(weight, b, a, 1.0, entrywise=False)
    expected = torch.autograd.grad(plain, (b, a))
    low = [tensor.detach().float() for tensor in (b, a)]
    norm = weight_norm(weight.float(), "fro")

    value = penalised_product(weight.float(), *(x.requires_grad_() for x in low), norm, 1.0)
    found = torch.autograd.grad(value, low)

    assert abs(value.item() / plain.item() - 1) < 1e-5
    for got, want in zip(found, expected, strict=True):
        assert (got - want).norm() / want.norm() < 1e-5


def test_the_largest_entries_of_the_whole_tensor_are_kept() -> None:
    weight = torch.tensor([[0.9, 0.8, 0.7, 0.11, 0.1], [0.05, -0.4, 0.01, 0.02, 0.03]])

    kept = sorted(weight[top_k(weight, 0.4)].abs().tolist(), reverse=True)

    assert kept == pytest.approx([0.9, 0.8, 0.7, 0.4])
    assert top_k(weight, 0.39).sum() == 3
    assert top_k(weight, 0.01).sum() == 1


def test_equal_magnitudes_are_kept_from_the_first() -> None:
    assert top_k(torch.zeros(2, 3), 0.5).tolist() == [[True, True, True], [False, False, False]]


@pytest.mark.parametrize("rank", [4, 16])
def test_the_product_of_pruned_factors_has_the_density_of_the_theorem(rank: int) -> None:
    torch.manual_seed(0)
    b, a = torch.randn(400, rank), torch.randn(rank, 400)

    pruned = (b * top_k(b, 0.1)) @ (a * top_k(a, 0.1))

    assert (pruned != 0).float().mean().item() == pytest.approx(1 - 0.99**rank, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"mask_grads": True}, {"density": 0.4}])
def test_every_factor_is_exactly_sparse_after_every_update_from_the_pruning_on(
    settings: dict[str, Any], tiny_llava: Any, recipe: Recipe, train: Any
) -> None:
    method = LoRASculpt(warmup=0.5, **settings)
    counts: list[dict[str, tuple[int, int]]] = []

    def count(index: int, model: nn.Module) -> None:
        counts.append({name: (int(f.count_nonzero()), f.numel()) for name, f in factors(model).items()})

    train(method, tiny_llava(), recipe, count)

    for kept in counts[:2]:  # the pruning comes with the third of six updates
        assert any(nonzero == size for nonzero, size in kept.values())
    for kept in counts[2:]:
        for nonzero, size in kept.values():
            assert nonzero == math.floor(method.density * size)


@pytest.mark.slow
def test_masks_are_booleans_that_never_change_once_made(tiny_llava: Any, recipe: Recipe, train: Any) -> None:
    method = LoRASculpt(warmup=0.5)
    seen: list[dict[str, Tensor]] = []

    train(method, tiny_llava(), recipe, lambda index, model: seen.append(dict(method.masks_)))

    assert seen[1] == {}
    assert all(mask.dtype == torch.bool for mask in seen[2].values())
    assert all(torch.equal(seen[2][name], seen[-1][name]) for name in seen[2])
    assert len(seen[2]) == 2 * 2 * 7  # two factors of seven layers in two blocks


def test_masks_of_another_instance_are_obeyed_after_a_resume(tiny_llava: Any, recipe: Recipe, step_of: Any) -> None:
    model = LoRA().adapt(tiny_llava(), 2, recipe)
    masks = {name: top_k(torch.randn_like(f), 0.5) for name, f in factors(model).items()}
    resumed = LoRASculpt()
    resumed.masks_ = masks

    with torch.no_grad():
        for factor in factors(model).values():
            factor.fill_(1.0)
        resumed.on_update(step_of(model, index=4))

    assert all(torch.equal(f != 0, masks[name]) for name, f in factors(model).items())


@pytest.mark.slow
@pytest.mark.parametrize(("clip", "differ"), [(None, False), (0.05, True)])
def test_masking_gradients_changes_results_only_with_clipping(clip: float | None, differ: bool) -> None:
    recipe = replace(RECIPE, clip=clip)

    plain, masked = (
        fit(LoRASculpt(warmup=0.3, mask_grads=flag), RANK, 0, recipe, tiny().train).change for flag in (False, True)
    )

    assert plain is not None
    assert masked is not None
    pairs = [(plain[name].tensors(), masked[name].tensors()) for name in plain]
    assert any(not torch.equal(one[part], other[part]) for one, other in pairs for part in one) is differ


def test_the_ranges_reach_where_the_penalty_acts_and_cover_short_runs() -> None:
    found = {name: (span.low, span.high) for name, span in ranges(LoRASculpt).items()}

    assert (found["alpha"], found["beta"], found["warmup"]) == ((1e-3, 10.0), (1e-6, 1e-2), (0.02, 0.6))
    assert (LoRASculpt().alpha, LoRASculpt().cmr_reduction) == (1e-3, "mean")


def test_a_dropped_option_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"^--set lorasculpt\.zero_moments was dropped because .*; drop it\.$"):
        parse(LoRASculpt, "zero_moments", "true")


@pytest.mark.parametrize(("warmup", "total", "first"), [(0.0533, 1875, 100), (0.0533, 6, 1), (1.0, 6, 6)])
def test_the_pruning_comes_after_its_share_of_the_updates_and_at_least_one(
    warmup: float, total: int, first: int, tiny_llava: Any, recipe: Recipe, step_of: Any
) -> None:
    model = LoRA().adapt(tiny_llava(), 2, recipe)
    method = LoRASculpt(warmup=warmup)

    with torch.no_grad():
        if first > 1:
            method.on_update(step_of(model, index=first - 2, total=total))
        before = dict(method.masks_)
        method.on_update(step_of(model, index=first - 1, total=total))

    assert before == {}
    assert method.masks_


def test_the_mean_divides_the_sum_by_the_matrices_and_q_k_v_are_read(
    tiny_llava: Any, recipe: Recipe, step_of: Any
) -> None:
    model = LoRA().adapt(tiny_llava(), 2, recipe)
    with torch.no_grad():
        for factor in factors(model).values():
            factor.normal_()

    def value(**settings: Any) -> float:
        penalty = LoRASculpt(alpha=1.0, **settings).penalty(step_of(model))
        assert penalty is not None
        return float(penalty.detach())

    assert value(cmr_reduction="sum") == pytest.approx(6 * value())
    assert value(cmr_reduction="sum", cmr_modules="all") > value(cmr_reduction="sum")
    by_hand = sum(
        written_out(item.weight, item.b, item.a, 1.0, entrywise=False).item()
        for item in lora_adapters(model)
        if item.role in {"q_proj", "k_proj", "v_proj"}
    )
    assert value(cmr_reduction="sum") == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.slow
def test_a_connector_with_lora_is_penalised_by_the_l1_norm_and_never_pruned(
    tiny_llava: Any, recipe: Recipe, train: Any, step_of: Any
) -> None:
    recipe = replace(recipe, connector="lora")
    method = LoRASculpt(warmup=0.0)
    model = train(method, tiny_llava(), recipe)
    connector = [item for item in lora_adapters(model) if item.in_connector]

    penalty = LoRASculpt(alpha=0.0, beta=0.5).penalty(step_of(model))

    expected = sum(written_out(x.weight, x.b, x.a, 1.0, entrywise=True).item() for x in connector)
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.5 * expected, rel=1e-5)
    assert all(bool(f.all()) for f in factors(model, connector=True).values())
    assert len(method.masks_) == 2 * 2 * 7  # the decoder's alone
    assert not any("multi_modal_projector" in name for name in method.masks_)


@pytest.mark.slow
@pytest.mark.parametrize("connector", ["full", "frozen", "lora"])
def test_lorasculpt_switched_off_trains_as_lora(connector: Any, tiny_llava: Any, recipe: Recipe, train: Any) -> None:
    recipe = replace(recipe, connector=connector)
    plain = train(LoRA(), tiny_llava(), recipe).state_dict()

    method = LoRASculpt(**LoRASculpt.off)
    off = train(method, tiny_llava(), recipe).state_dict()

    assert all(torch.equal(plain[name], off[name]) for name in plain)
    assert method.masks_ == {}
    assert method.norms_ == {}
