from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.checks.runs import learn, logits
from bench.checks.tiny import RECIPE, Tiny, tiny
from bench.model.change import Change, LowRank, Routed, Sparse
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.trial import parity
from bench.trial.evaluate import Answer
from bench.trial.ways import compare_ways, unmerged
from bench.values.resources import Resources
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial

ASKED = ScoreSpec("easy_vqa", "test", 4, "", 4, "")
TRIAL = Trial("lora", {}, 2, "easy_vqa", 0, RECIPE, "m", "d", "c")
ADAPTER = Change({"layer.weight": LowRank(torch.ones(3, 1), torch.ones(1, 2), 1.0)})


class Scripted:
    """A lane with scripted answers, by dtype, batch size, and whether the change is merged and prompts are whole."""

    def __init__(self, script: Callable[[str, int, bool, bool], list[tuple[str, float]]]) -> None:
        self.resources = Resources()
        self.script, self.tasks = script, Tasks()

    def answers(
        self, trial: Trial, asked: ScoreSpec, change: Change, hold: object = None, *, whole: bool = False
    ) -> list[Answer]:
        said = self.script(trial.recipe.eval_dtype, self.resources.eval_batch_size, hold is not unmerged, whole)
        return [Answer("", "", (), text, {"exact": value}) for text, value in said]

    def generated_with(self, trial: Trial) -> dict[str, str]:
        return {"dtype": trial.recipe.eval_dtype}


def script(dtype: str, batch: int, is_merged: bool, whole: bool) -> list[tuple[str, float]]:
    said = [("a", 1.0), ("b", 0.0), ("c", 1.0), ("d", 1.0)]
    if dtype == "float16":
        said[0] = ("x", 0.0)
    if batch == 1 and dtype == "bfloat16":
        said[1], said[2] = ("b2", 1.0), ("c2", 1.0)
    if whole and dtype == "bfloat16":
        said[2] = ("c3", 0.0)
    if not is_merged:
        said[3] = ("d2", 0.0)
    return said


def scripted(change: Change) -> parity.Parity:
    lane: Any = Scripted(script)
    return compare_ways(lane, TRIAL, change, (ASKED,), 8)


MERGED = {
    *(f"batch 1 against 8, {dtype}" for dtype in ("float32", "bfloat16", "float16")),
    *(f"whole prompts against shared prefixes, {dtype}" for dtype in ("float32", "bfloat16", "float16")),
    *(f"{dtype} against float32" for dtype in ("bfloat16", "float16")),
}


def test_every_way_to_generate_is_compared_with_the_usual_one() -> None:
    found = scripted(ADAPTER)

    assert {item.comparison: (item.differ, item.count, item.move) for item in found.differences} == {
        "batch 1 against 8, float32": (0, 4, 0.0),
        "batch 1 against 8, bfloat16": (2, 4, 0.25),
        "batch 1 against 8, float16": (0, 4, 0.0),
        "whole prompts against shared prefixes, float32": (0, 4, 0.0),
        "whole prompts against shared prefixes, bfloat16": (1, 4, -0.25),
        "whole prompts against shared prefixes, float16": (0, 4, 0.0),
        "adapter against merged, float32": (1, 4, -0.25),
        "adapter against merged, bfloat16": (1, 4, -0.25),
        "adapter against merged, float16": (1, 4, -0.25),
        "bfloat16 against float32": (0, 4, 0.0),
        "float16 against float32": (1, 4, -0.25),
    }
    assert found.environment == {"dtype": "float32", "eval_batch": "8"}
    assert found.notes == ()


def test_a_change_that_peft_cannot_load_is_compared_only_merged_and_says_so() -> None:
    mask = torch.zeros(1, dtype=torch.uint8)
    found = scripted(Change({"layer.weight": Sparse(mask, torch.zeros(0))}))

    assert {item.comparison for item in found.differences} == MERGED
    assert "Only the merged form is compared." in found.notes[0]


def test_a_change_that_does_not_merge_is_compared_only_live_and_says_so() -> None:
    one = torch.ones(2, 2)
    delta = Routed(
        b=one, a=one, scale=1.0, select_a=one, select_b=one, select_ab=None, rank=1, scores=True, freeze=True
    )
    found = scripted(Change({"layer.weight": delta}))

    assert {item.comparison for item in found.differences} == {name for name in MERGED if "prefixes" not in name}
    assert found.notes == (
        "The change of lora-r2-easy_vqa-s0 is routed by example and cannot be merged. Only the live form is compared.",
    )
    assert "scored in float32, held live, 8 answers at once" in next(iter(parity.lines(found)))
    assert "scored in float32, merged, 8 answers at once" in next(iter(parity.lines(scripted(ADAPTER))))


def test_the_base_model_has_nothing_to_merge() -> None:
    found = scripted(Change({}))

    assert {item.comparison for item in found.differences} == MERGED
    assert found.notes == ()


@pytest.mark.slow
def test_unmerged_adapters_compute_what_merged_ones_do_and_leave_the_base_model_alone() -> None:
    from bench.model.holding import holding

    bench: Tiny = tiny()
    before = logits(bench.base.model, bench)
    change = learn(Registry().method("lora")())

    with unmerged(bench.base, change) as model:
        live = logits(model, bench)
        names = [name for name, _ in model.named_parameters() if "lora_A" in name]

    with holding(bench.base.model, change, bench.base.pristine) as model:
        whole = logits(model, bench)
    assert names
    torch.testing.assert_close(live, whole, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(live, before, atol=1e-2)
    assert torch.equal(logits(bench.base.model, bench), before)
