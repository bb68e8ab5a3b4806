"""Numbers that may only move together with a version: they are part of every key in the store."""

import pytest
import torch

from bench.checks.tiny import RANK, RECIPE, tiny
from bench.model.holding import holding
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.trial.evaluate import evaluate
from bench.trial.fit import fit
from bench.values.scores import EVAL_VERSION
from bench.values.trial import FIT_VERSION

LOSSES = {3: [3.86178, 3.7728, 3.5945, 4.02156, 3.53061, 3.87481]}
ANSWERS = {
    3: [
        "",
        "",
        "",
        "very light what green",
        "",
        "dark green",
        "",
        "dark green",
        "very",
        "",
        "very light what green",
        "very",
    ]
}


@pytest.mark.slow
def test_losses_move_only_with_the_fit_version() -> None:
    method = Registry().method("lorasculpt")(alpha=1.0, warmup=0.5)  # type: ignore[call-arg]
    assert isinstance(method, TrainMethod)

    fitted = fit(method, RANK, 0, RECIPE, tiny().train)

    assert fitted.losses == pytest.approx(LOSSES[FIT_VERSION], abs=2e-4), "raise FIT_VERSION in bench/values/trial.py"


@pytest.mark.slow
def test_answers_move_only_with_the_eval_version() -> None:
    bench = tiny()
    method = Registry().method("lora")(lr=0.05)  # type: ignore[call-arg]
    assert isinstance(method, TrainMethod)
    change = fit(method, RANK, 0, RECIPE, bench.train).change
    assert change is not None

    with holding(bench.base.model, change, bench.base.pristine) as model, torch.no_grad():
        answers = evaluate(model, bench.test, bench.asked)

    assert [answer.prediction for answer in answers] == ANSWERS[EVAL_VERSION], (
        "raise EVAL_VERSION in bench/values/scores.py"
    )
