"""Every check catches the method that breaks its rule, and passes those that keep every rule."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from bench import (
    PluginError,
)
from bench.checks import checks, checks_in, methods, plugins, training
from tests.making import broken_edits, broken_stages, broken_trainings
from tests.making.broken_edits import Halve
from tests.making.broken_stages import ShrinksLater
from tests.making.broken_trainings import Decay, Mixes, NeedsFloat32

BROKEN = [*broken_trainings.BROKEN, *broken_stages.BROKEN, *broken_edits.BROKEN]
TRAIN_LITTLE = {
    *checks_in(plugins),
    *checks_in(methods),
    training.check_declares_whether_its_change_merges,
    training.check_finite_at_start,
    training.check_mixes_alike,
    training.check_rank_scales_parameters,
    training.check_starts_at_the_base_model,
}
CASES = [
    pytest.param(check, plugin, id=plugin.__name__, marks=[] if check in TRAIN_LITTLE else [pytest.mark.slow])
    for check, plugin in BROKEN
]


@pytest.mark.parametrize(("check", "plugin"), CASES)
def test_a_check_catches_the_plugin_that_breaks_its_rule(check: Any, plugin: type) -> None:
    with pytest.raises(PluginError, match=r"\."):
        check(plugin)


@pytest.mark.slow
@pytest.mark.parametrize("plugin", [Decay, Mixes, Halve, ShrinksLater])
def test_a_method_that_keeps_every_rule_passes_every_check(plugin: type) -> None:
    for check in checks(plugin):
        check(plugin)


def test_every_check_of_methods_has_a_plugin_that_breaks_it() -> None:
    broken = {check for check, _ in BROKEN}

    assert {*checks(Mixes), *checks(Halve), *checks(ShrinksLater)} == broken


def test_a_penalty_that_works_in_float32_alone_is_caught() -> None:
    with pytest.raises(RuntimeError, match="to have the same dtype"):
        training.check_finite_at_start(NeedsFloat32)


def test_a_name_that_is_not_its_entry_point_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("decaying", f"{Decay.__module__}:Decay", "bench.methods")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])

    with pytest.raises(PluginError, match="decaying"):
        plugins.check_name(Decay)
