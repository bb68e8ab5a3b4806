"""The names of trials in MLflow, which tell trials of one label apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.plan.suite import MICRO
from bench.plugins.registry import Registry
from bench.track.trial_names import TrialNames
from bench.values.trial import Scalar, Trial

BASE = Trial("zero_shot", {}, None, None, 0, MICRO.recipe, model="m", data="", code="")
LORA = replace(BASE, method="lora", hyper={"lr": None}, rank=16, target="icon_choice")
TRIED = replace(LORA, hyper={"lr": 0.00012345})
DORA = replace(LORA, method="dora")


def edited(parent: Trial, method: str = "rewind", snapshot: int | None = None, **hyper: Scalar) -> Trial:
    return replace(parent, method=method, hyper=hyper, parent=parent, snapshot=snapshot)


@pytest.mark.parametrize(
    ("trial", "name"),
    [
        (BASE, "zero_shot"),
        (LORA, "lora-r16-icon_choice-s0"),
        (TRIED, "lora-r16-icon_choice-s0 try 3"),
        (replace(LORA, hyper={"lr": 0.0003333333}), "lora-r16-icon_choice-s0 lr=0.0003333"),
        (replace(LORA, recipe=replace(MICRO.recipe, adapt="attention")), "lora-r16-icon_choice-s0 adapt=attention"),
        (replace(LORA, recipe=replace(MICRO.recipe, template="{prompt} " * 9)), "lora-r16-icon_choice-s0 template"),
        (edited(LORA, strength=0.5), "rewind lora-r16-icon_choice-s0 @0.50"),
        (edited(LORA, snapshot=125, strength=1.0), "rewind lora-r16-icon_choice-s0 @update 125"),
        (edited(LORA, snapshot=125, strength=0.5), "rewind lora-r16-icon_choice-s0 @0.50, update 125"),
        (edited(TRIED, strength=0.5), "rewind lora-r16-icon_choice-s0 try 3 @0.50"),
        (edited(edited(LORA, "dare"), strength=0.5), "rewind dare-r16-icon_choice-s0 @0.50"),
        (edited(LORA, "dare", drop_rate=0.25), "dare-r16-icon_choice-s0 drop_rate=0.25"),
        (edited(LORA, "dare", snapshot=50), "dare-r16-icon_choice-s0 @update 50"),
        (edited(edited(LORA, "dare", snapshot=50), strength=0.5), "rewind dare-r16-icon_choice-s0 @update 50 @0.50"),
        (edited(TRIED, "dare"), "dare-r16-icon_choice-s0 lora try 3"),
        (edited(DORA, "dare"), "dare-r16-icon_choice-s0 of dora-r16-icon_choice-s0"),
        (replace(LORA, method="gone", hyper={"a": 1}), "gone-r16-icon_choice-s0"),
    ],
)
def test_a_name_says_what_tells_a_trial_from_that_of_the_defaults(trial: Trial, name: str) -> None:
    assert TrialNames(Registry(), MICRO, {TRIED.id: 3, LORA.id: 0}).of(trial) == name


def test_a_suites_own_settings_are_its_defaults() -> None:
    trial = replace(LORA, method="lorasculpt", hyper={"warmup": 0.5})

    assert TrialNames(Registry(), MICRO).of(trial) == "lorasculpt-r16-icon_choice-s0"
    assert TrialNames(Registry()).of(trial).endswith("warmup=0.5")
