"""The suite itself: which checks apply, what comes back, and how third parties run it under pytest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import UsageError
from bench.checks import Result, checks, find_plugins, parametrize_with_checks, run_checks
from bench.plugins.registry import Registry

pytest_plugins = ["pytester"]

PLUGIN = '''
"""A method that shrinks B, and forgets to say where it is from."""

from dataclasses import dataclass
from typing import ClassVar

from bench import TrainMethod, insert_lora, lora_adapters, lora_change


@dataclass(kw_only=True)
class Shrink(TrainMethod):
    """LoRA with B shrunk by a tenth after every update."""

    name: ClassVar[str] = "shrink"
    paper: ClassVar[str] = ""

    def adapt(self, model, rank, recipe):
        return insert_lora(model, rank, recipe)

    def change(self, model):
        return lora_change(model)

    def on_update(self, step):
        for adapter in lora_adapters(step.model):
            adapter.b.mul_(0.9)
'''

CONFORMANCE = """
import pytest
import shrink
from bench.checks import parametrize_with_checks


@parametrize_with_checks([shrink.Shrink], expected_failures={expected!r})
def test_shrink_keeps_the_rules(plugin, check):
    if check.__name__ in {"check_name", "check_pickles", "check_cites_its_source"}:  # the others take seconds
        check(plugin)
"""


def _names(plugin: Any) -> set[str]:
    return {check.__name__ for check in checks(plugin)}


def test_each_kind_of_plugin_gets_its_own_checks() -> None:
    lora, dare, reference, task, report = (
        _names(find_plugins(name)[0]) for name in ("lora", "dare", "zero_shot", "easy_vqa", "markdown")
    )

    assert "check_resumes" in lora
    assert "check_edit_is_deterministic" in dare
    shared = {"check_change_survives_saving", "check_lane_keeps_no_trace", "check_runs_on_an_accelerator"}
    assert lora & dare == reference | shared
    assert {"check_name", "check_splits_are_disjoint"} < task
    assert "check_shows_holes_and_failures" in report


def test_a_method_is_compared_with_lora_unless_it_is_lora_or_cannot_be_switched_off() -> None:
    lora, dora, lorasculpt = (_names(find_plugins(name)[0]) for name in ("lora", "dora", "lorasculpt"))

    assert not {"check_differs_from_lora", "check_off_equals_plain_lora"} & lora
    assert {"check_differs_from_lora", "check_off_equals_plain_lora"} & dora == {"check_differs_from_lora"}
    assert {"check_differs_from_lora", "check_off_equals_plain_lora"} < lorasculpt


def test_a_result_says_which_rule_is_broken_and_how_to_keep_it() -> None:
    result = Result("mine", "check_name", False, "The name is 'Mine'. Use lower_snake_case.", 0.04)

    assert str(result) == "FAIL  mine  check_name  0.0 s\n      The name is 'Mine'. Use lower_snake_case."


def test_a_plugin_that_crashes_fails_its_check_and_the_next_check_runs() -> None:
    def report(leaderboard: object, path: Path) -> Path:
        raise ZeroDivisionError("no rows")

    results = list(run_checks(report))

    assert [result.passed for result in results] == [False] * 5
    assert "ZeroDivisionError: no rows" in results[0].message


def test_a_plugin_that_exits_fails_its_check_and_the_next_check_runs() -> None:
    def report(leaderboard: object, path: Path) -> Path:
        raise SystemExit

    results = list(run_checks(report))

    assert [result.passed for result in results] == [False] * 5
    assert {result.message.partition(":")[0] for result in results} == {"test_checks.py"}


@pytest.mark.slow
def test_a_file_is_checked_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "shrink.py").write_text(PLUGIN, encoding="utf-8")

    failed = [result.check for result in run_checks(str(tmp_path / "shrink.py")) if not result.passed]

    assert failed == ["check_cites_its_source"]


def test_an_unknown_name_is_met_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="Did you mean 'lorasculpt'"):
        find_plugins("lorasculp")


def test_a_plugin_file_without_an_entry_point_is_told_from_a_misspelt_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Registry, "names", lambda registry, kind: ())

    with pytest.raises(UsageError, match=r"methods/lora\.py exists, but no entry point names it"):
        find_plugins("lora")


@pytest.mark.parametrize(
    ("expected", "outcome"),
    [
        ({}, {"failed": 1}),
        ({"check_cites_its_source": "written at night"}, {"xfailed": 1}),
        ({"check_cites_its_source": "written at night", "check_name": "wrong"}, {"failed": 1, "xfailed": 1}),
    ],
)
def test_an_expected_failure_has_to_fail(
    pytester: pytest.Pytester, expected: dict[str, str], outcome: dict[str, int]
) -> None:
    pytester.makepyfile(shrink=PLUGIN, test_shrink=CONFORMANCE.replace("{expected!r}", repr(expected)))
    pytester.syspathinsert()

    found = pytester.runpytest_inprocess("-p", "no:cacheprovider").parseoutcomes()

    assert {kind: count for kind, count in found.items() if kind in {"failed", "xfailed"}} == outcome


def test_an_expected_failure_names_a_check_that_exists() -> None:
    with pytest.raises(UsageError, match="check_resume'"):
        parametrize_with_checks(find_plugins("lora"), expected_failures={"check_resume": "a slip"})
