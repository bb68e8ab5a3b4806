"""Every plugin that is installed keeps every rule of its kind; what reads files is checked in test_real_tasks.py."""

from __future__ import annotations

from typing import Any

from bench.checks import Check, find_plugins, parametrize_with_checks
from bench.plugins.registry import Registry
from tests.layouts import NAMES

KINDS = ("method", "task", "report")
INSTALLED = [plugin for kind in KINDS for name in Registry().names(kind) for plugin in find_plugins(name)]
PLUGINS = [plugin for plugin in INSTALLED if getattr(plugin, "name", None) not in NAMES]


@parametrize_with_checks(PLUGINS)
def test_an_installed_plugin_keeps_the_rule(plugin: Any, check: Check) -> None:
    check(plugin)
