from __future__ import annotations

import torch
from torch import Tensor

from bench import lora_adapters
from bench.checks.tiny import RANK, tiny
from bench.methods.input_subspaces import (
    eigenpairs,
    isolated,
    recalibration,
    second_moments,
    sketch,
    unsketched,
    whitened,
)
from bench.methods.lora import LoRA
from tests.making.stage_runs import PLAIN

OLD = torch.tensor([[4.0, 1.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
NEW = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 5.0]], dtype=torch.float64)


def near(found: Tensor, *expected: float) -> None:
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float64), atol=1e-8, rtol=1e-7)


def test_a_worked_example_of_the_subspace_of_all_tasks() -> None:
    values, vectors = eigenpairs(OLD + NEW)

    near(values, 6.80193774, 5.44504187, 3.75302040)
    near(vectors[:, 0], 0.32798528, 0.59100905, 0.73697623)


def test_a_worked_example_of_the_subspace_of_the_new_task() -> None:
    ratios = eigenpairs(whitened(torch.linalg.cholesky(OLD), NEW))[0]
    own = isolated(OLD, NEW, 1)

    near(ratios, 5.08392734, 0.67908448, 0.23698818)
    near(own, -0.02198435, 0.08361310, 0.99625576)
    near((own.T @ NEW @ own) / (own.T @ OLD @ own), 5.08392734)


def test_a_worked_example_of_the_recalibration() -> None:
    general = eigenpairs(OLD + NEW)[1][:, :2].T

    near(recalibration(general, OLD, NEW), 0.64583755, -0.30412449, -0.24345571, 0.38880446)


def test_the_recalibration_is_the_minimum_for_any_b() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    gate = recalibration(a, OLD, NEW).requires_grad_()

    inner, drift = b @ (gate - torch.eye(2)) @ a, b @ gate @ a
    (slope,) = torch.autograd.grad((drift @ OLD * drift).sum() + (inner @ NEW * inner).sum(), gate)

    near(slope, 0.0, 0.0, 0.0, 0.0)


def test_a_sketch_keeps_the_largest_eigenvalues_and_the_mean_of_the_others() -> None:
    values, vectors = eigenpairs(OLD + NEW)

    near(torch.linalg.eigvalsh(unsketched(*sketch(values, vectors, 1))), 4.59903113, 4.59903113, 6.80193774)
    torch.testing.assert_close(unsketched(*sketch(values, vectors, 3)), OLD + NEW)


def test_layers_that_read_one_tensor_share_its_second_moment_and_padding_does_not_count() -> None:
    bench = tiny()
    model = LoRA().adapt(bench.base.tree(), RANK, PLAIN).eval()
    layers = [item for item in lora_adapters(model) if not item.in_connector]
    batch = bench.batch(8)
    lonely = [{name: value[place : place + 1] for name, value in batch.items()} for place in range(8)]
    short = [{name: cut(value, each["attention_mask"]) for name, value in each.items()} for each in lonely]

    found, alone = second_moments(model, layers, [batch]), second_moments(model, layers, short)

    assert not batch["attention_mask"].all()
    block = [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]
    assert [[item.role for item in readers] for readers, _ in found] == 2 * block
    for (_, one), (_, other) in zip(found, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)
    assert not any(item._forward_pre_hooks for item in model.modules() if isinstance(item, torch.nn.Linear))


def cut(value: Tensor, mask: Tensor) -> Tensor:
    """Return a row without its padding."""
    return value[:, : int(mask.sum())] if value.shape == mask.shape else value
