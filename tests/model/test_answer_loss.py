"""The loss of a batch: as that of every position's logits, from the logits of the learnt positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.checks.tiny import RANK, RECIPE, Tiny, tiny, with_data
from bench.model.adapters import insert_lora
from bench.model.answer_loss import IGNORED, answer_loss
from bench.model.resident import Base, Form
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.trial import fit as training
from bench.trial.fit import fit
from bench.trial.updates import MicroBatchSize
from tests.layouts.checkpoint import write
from tests.perf.before.loss import whole_loss

Loss = Callable[[Callable[..., Any], Mapping[str, Tensor], int], Tensor]
FORMS = ("float32", "bfloat16", "4bit")


def bench_in(form: str, folder: Path) -> Tiny:
    if form != "4bit":
        return tiny(form)
    pytest.importorskip("bitsandbytes")
    recipe = replace(RECIPE, train_dtype="bfloat16", quantization="4bit")
    return with_data(Base.load(write(folder, width=128, dtype="float32"), Form.training(recipe), torch.device("cpu")))


def learning(bench: Tiny, *, checkpointing: bool = False, dropout: float = RECIPE.dropout) -> nn.Module:
    """Return the base model with LoRA whose B is not zero, so that A has a gradient."""
    torch.manual_seed(0)
    tree: Any = bench.base.tree()
    model = insert_lora(tree, RANK, replace(RECIPE, dropout=dropout)).train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    if checkpointing:
        training._spare_memory(tree, 0)
    return model


def gradients(loss: Loss, model: nn.Module, *batches: Mapping[str, Tensor], tokens: int = 5) -> dict[str, Tensor]:
    """Return the loss and its gradients over micro-batches, with the same draws of dropout at every call."""
    torch.manual_seed(1)
    model.zero_grad()
    total = torch.zeros(())
    for batch in batches:
        value = loss(model, batch, tokens)
        value.backward()  # type: ignore[no-untyped-call]
        total += value.detach()
    found = {name: item.grad.clone() for name, item in model.named_parameters() if item.grad is not None}
    return {"loss": total, **found}


def padded_left(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch with its padding moved to the left."""
    gaps = (batch["attention_mask"] == 0).sum(dim=1).tolist()
    moved = {
        name: torch.stack([row.roll(gap) for row, gap in zip(batch[name], gaps, strict=True)])
        for name in ("input_ids", "attention_mask", "labels")
    }
    return {**batch, **moved}


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-12))


@contextmanager
def seen_by_head(model: Any) -> Iterator[list[int]]:
    """Count the positions of every pass through the head."""
    counts: list[int] = []
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].numel() // inputs[0].shape[-1]))
    try:
        yield counts
    finally:
        hook.remove()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_loss_and_gradients_are_those_of_all_logits(form: str, side: str, checkpointing: bool, tmp_path: Path) -> None:
    bench = bench_in(form, tmp_path)
    model, batch = learning(bench, checkpointing=checkpointing), bench.batch()
    if side == "left":
        batch = padded_left(batch)
    assert (batch["attention_mask"] == 0).any()

    wanted, found = (gradients(loss, model, batch) for loss in (whole_loss, answer_loss))

    assert found.keys() == wanted.keys()
    assert len(found) > 20
    assert max(error(found[name], wanted[name]) for name in wanted) < 1e-6


def test_micro_batches_have_the_gradients_of_all_logits_of_the_whole_batch() -> None:
    bench = tiny()
    model, tokens = learning(bench, dropout=0.0), bench.train.target_tokens(range(8), RECIPE.max_length)
    whole = bench.batch(8)
    parts = [bench.train.training_batch(range(*ends), RECIPE.max_length) for ends in ((0, 3), (3, 6), (6, 8))]
    assert len({int((part["labels"] != IGNORED).sum()) for part in parts}) > 1  # a mean of means would be another

    wanted = gradients(whole_loss, model, whole, tokens=tokens)
    found = gradients(answer_loss, model, *parts, tokens=tokens)

    assert found.keys() == wanted.keys()
    assert len(found) > 20
    assert max(error(found[name], wanted[name]) for name in wanted) < 1e-6


def test_the_head_sees_the_learnt_positions_alone() -> None:
    bench = tiny()
    model, batch = learning(bench), bench.batch()
    learnt = int((batch["labels"] != IGNORED).sum())

    with seen_by_head(model) as before:
        whole_loss(model, batch, 5)
    with seen_by_head(model) as after:
        answer_loss(model, batch, 5)

    assert before == [batch["labels"].numel()]
    assert after == [learnt]
    assert 0 < learnt < batch["labels"].numel()


def test_a_batch_of_which_nothing_is_learnt_has_the_loss_0() -> None:
    bench = tiny()
    model, batch = learning(bench), dict(bench.batch())
    batch["labels"] = torch.full_like(batch["labels"], IGNORED)

    found = gradients(answer_loss, model, batch)

    assert all(not value.any() for value in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", [None, 3])
def test_a_training_learns_what_it_learnt_from_all_logits(
    micro_batch: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learnt() -> tuple[Any, int]:
        bench, method = tiny(), Registry().method("lora")()
        assert isinstance(method, TrainMethod)
        with seen_by_head(bench.base.model) as counts:
            fitted = fit(method, RANK, 0, RECIPE, bench.lessons, micro_batch=MicroBatchSize(micro_batch))
        return fitted, sum(counts)

    found, few = learnt()
    monkeypatch.setattr(training, "answer_loss", whole_loss)
    wanted, many = learnt()

    assert found.losses == pytest.approx(wanted.losses, rel=1e-5)
    for name, delta in wanted.change.items():
        for part, tensor in delta.tensors().items():
            assert error(found.change[name].tensors()[part], tensor) < 1e-4, (name, part)
    assert few < many
