"""How far A has moved when the mask is drawn, and what the heading of a table says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from bench.cli.options import Cells
from bench.cli.request import read_request
from bench.papers.lorasculpt.warmup import suite_settings, travel
from bench.plan.cell_trials import cell_trial
from bench.plan.request import Request
from bench.plan.suite import LORASCULPT, MICRO
from bench.values.recipe import Recipe


def asked(tmp_path: Path, *settings: str, suite: str = "micro", methods: str = "lora,lorasculpt") -> Request:
    return read_request(Cells(suite=suite, methods=methods, set=settings), tmp_path / "runs")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [MICRO.recipe, LORASCULPT.recipe])
def test_the_learning_rates_are_those_of_the_training(recipe: Recipe) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.lr)
    schedule = get_cosine_schedule_with_warmup(optimizer, -int(-recipe.warmup * recipe.updates // 1), recipe.updates)
    total = 0.0
    for _ in range(round(0.5 * recipe.updates)):
        total += schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()

    assert travel(recipe, 0.5, 128) == pytest.approx(total * (3 * 128) ** 0.5)


def test_as_far_as_in_the_papers_run_needs_half_of_micros_updates() -> None:
    assert travel(LORASCULPT.recipe, 0.0533, 4096) == pytest.approx(1.57, abs=0.005)
    assert travel(MICRO.recipe, 0.0533, 128) == pytest.approx(0.10, abs=0.005)
    assert travel(MICRO.recipe, 0.5, 128) == pytest.approx(1.18, abs=0.005)


def test_micro_sets_the_warm_up_and_the_heading_says_so_with_both_sums(tmp_path: Path) -> None:
    request = asked(tmp_path)

    trial = cell_trial(request, "lorasculpt", 32, "icon_choice", 0)

    assert trial.hyper["warmup"] == MICRO.settings["lorasculpt"]["warmup"] == 0.5
    assert suite_settings(request) == (
        "lorasculpt.warmup 0.5 (learning rates up to the mask sum to 1.18 x A's start; 1.57 in the paper's run)",
    )


def test_a_setting_of_the_command_wins_and_is_not_told_as_the_suites(tmp_path: Path) -> None:
    request = asked(tmp_path, "lorasculpt.warmup=0.2")

    assert cell_trial(request, "lorasculpt", 32, "icon_choice", 0).hyper["warmup"] == 0.2
    assert suite_settings(request) == ()


def test_other_settings_of_the_method_leave_the_suites_and_change_the_sum(tmp_path: Path) -> None:
    request = asked(tmp_path, "lorasculpt.lr=0.002")

    assert cell_trial(request, "lorasculpt", 32, "icon_choice", 0).hyper["warmup"] == 0.5
    assert "sum to 2.36 x" in suite_settings(request)[0]


def test_a_table_without_the_method_says_nothing(tmp_path: Path) -> None:
    assert suite_settings(asked(tmp_path, methods="lora")) == ()


def test_the_papers_suite_stays_at_100_of_1875_updates() -> None:
    assert LORASCULPT.settings == {}
    assert round(0.0533 * LORASCULPT.recipe.updates) == 100
