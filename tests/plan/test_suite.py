"""The recipe of the suite lorasculpt, with a checkpoint in the hub's layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.model.change import Replaced
from bench.model.resident import Form
from bench.plan.plan import make
from bench.plan.request import Request
from bench.plan.suite import LORASCULPT, Suite
from bench.plugins.groups import paper_methods
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.trial.runner import TrialRunner
from tests.layouts.checkpoint import write


@pytest.mark.parametrize(
    ("model", "named"),
    [("/home/ann/models/mine", "mine"), ("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-7b-hf")],
)
def test_the_name_of_a_base_model_has_no_folder_of_a_user(model: str, named: str) -> None:
    assert replace(LORASCULPT, model=model).model_name == named


def test_the_recipe_is_the_papers() -> None:
    recipe = LORASCULPT.recipe

    assert recipe.updates * recipe.batch_size == 3 * 10_000
    assert (recipe.lr, recipe.connector_lr, recipe.connector) == (2e-4, 2e-5, "full")
    assert (recipe.scale, recipe.dropout, recipe.warmup, recipe.weight_decay, recipe.clip) == (2.0, 0.05, 0.03, 0, None)
    assert (recipe.train_dtype, recipe.eval_dtype) == ("bfloat16", "float16")
    assert (recipe.max_length, recipe.image, recipe.quantization) == (2048, "pad", "none")


@pytest.mark.slow
def test_every_method_learns_and_is_scored_on_a_checkpoint_in_the_hubs_layout(
    tiny_suite: Suite, squares: Tasks, tmp_path: Path
) -> None:
    folder = write(tmp_path / "model", width=64)
    suite = replace(tiny_suite, model=str(folder), recipe=LORASCULPT.recipe)
    recipe = replace(LORASCULPT.recipe, updates=2, batch_size=4)
    store = Store(tmp_path / "runs")
    store.prepare()
    methods = paper_methods(Registry())
    request = Request(suite, methods, (4,), suite.targets, suite.sources, recipe, limit=4, tasks=squares)
    bench = TrialRunner(store, suite.folder, squares)

    records = [bench.run(job) for job in make(request, store).pending]

    assert {record.trial.method for record in records} == {*methods, "zero_shot"}
    assert {record.error for record in records} == {None}
    assert set(bench.warm._bases) == {Form("bfloat16", "pad"), Form("float16", "pad")}
    change = store.change_of(next(record.trial for record in records if record.trial.method == "lora")).read()
    tuned = [name for name, delta in change.items() if isinstance(delta, Replaced)]
    assert len(tuned) == 4
    assert len(change) == 4 + 14
    assert all("language_model.layers." in name or name in tuned for name in change)
    assert {tensor.dtype for delta in change.values() for tensor in delta.tensors().values()} == {torch.float32}
