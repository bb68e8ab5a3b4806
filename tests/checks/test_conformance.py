"""Every plugin that is installed keeps every rule of its kind; what reads files is checked in test_real_tasks.py."""

from __future__ import annotations

from typing import Any

import pytest

from bench import Task
from bench.checks import Check, checks_in, find_plugins, methods, parametrize_with_checks, plugins
from bench.plugins.method import Method
from bench.plugins.registry import Registry
from tests.layouts import NAMES


def _installed(kind: str) -> list[Any]:
    return [plugin for name in Registry().names(kind) for plugin in find_plugins(name)]


LEARNT = [*_installed("method"), *(task for task in _installed("task") if task.name not in NAMES)]


@pytest.mark.slow
@parametrize_with_checks(LEARNT)
def test_an_installed_method_or_task_keeps_the_rule(plugin: Any, check: Check) -> None:
    check(plugin)


@parametrize_with_checks(_installed("report"))
def test_an_installed_report_keeps_the_rule(plugin: Any, check: Check) -> None:
    check(plugin)


@pytest.mark.parametrize("plugin", LEARNT, ids=lambda plugin: plugin.name)
def test_an_installed_method_or_task_keeps_the_rules_that_need_no_model_and_no_examples(
    plugin: type[Method | Task],
) -> None:
    for check in (*checks_in(plugins), *(checks_in(methods) if issubclass(plugin, Method) else ())):
        check(plugin)
