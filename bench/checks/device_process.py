"""Run methods on the pretend device: one line of JSON on standard input names a method, one line answers.

``bench.checks.devices`` starts this module as a process of its own, because the device cannot be taken away again.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import torch

from bench.checks.devices import Question
from bench.checks.pretend_device import register
from bench.checks.pretend_rules import DeviceError
from bench.checks.runs import answers_with, learn
from bench.checks.tiny import RECIPE, Tiny, tiny, with_data
from bench.errors import BenchError
from bench.model import weights
from bench.plugins.faults import place
from bench.plugins.guard import guarded, interrupts
from bench.plugins.hyperparameters import ranges, values
from bench.plugins.method import Method
from bench.plugins.registry import Registry, run_file
from bench.values.recipe import Connector, Recipe
from bench.values.trial import Scalar

_RECIPE = replace(RECIPE, updates=2, clip=1.0)
_CONNECTORS: tuple[Connector, ...] = ("full", "lora")  # a frozen one adds no code path

Settings = Mapping[str, Scalar]


def fault_of(plugin: type[Method], registry: Registry) -> str:
    """Return what an accelerator refuses of a method, where and how to mend it; an empty text if it refuses nothing."""
    device = register()
    for connector in _CONNECTORS:
        for settings in choices(plugin):
            recipe = replace(_RECIPE, connector=connector)
            try:
                with guarded(plugin):
                    _run(plugin, settings, recipe, registry, on_device(tiny(), device))
            except Exception as error:  # noqa: BLE001  a plugin may raise anything
                if fault := _fault(error, plugin, settings, recipe, registry):
                    return fault
    return ""


def choices(plugin: type[Method]) -> Iterator[Settings]:
    """Yield the defaults of a method, and every other choice of every hyperparameter alone."""
    yield {}
    defaults = values(plugin())
    for name, span in ranges(plugin).items():
        known = (True, False) if isinstance(defaults[name], bool) else span.choices
        yield from ({name: value} for value in known if value != defaults[name])


def on_device(bench: Tiny, device: torch.device) -> Tiny:
    """Move a tiny model to a device, as a lane does, and return it with its data."""
    for model in (bench.base.model, bench.base.tower):
        weights.cast(model, next(model.parameters()).dtype, device)
    return with_data(replace(bench.base, device=device))


def _run(plugin: type[Method], settings: Settings, recipe: Recipe, registry: Registry, bench: Tiny) -> None:
    method = plugin(**settings)
    answers_with(learn(method, bench, recipe=recipe, registry=registry), bench)


def _fault(error: Exception, plugin: type[Method], settings: Settings, recipe: Recipe, registry: Registry) -> str:
    """Return what to tell the author about an error on the device; nothing if the CPU raises an error, too."""
    refused = next((item for item in _chain(error) if isinstance(item, DeviceError)), None)
    if refused is None:
        try:
            with guarded(plugin):
                _run(plugin, settings, recipe, registry, tiny())
        except Exception:  # noqa: BLE001  another check tells the author
            return ""
    with_what = ", ".join([f"connector {recipe.connector}", *(f"{name}={value}" for name, value in settings.items())])
    if isinstance(error, BenchError):
        return f"On an accelerator, with {with_what}: {error}"
    remedy = refused.remedy if refused else "If it runs on a GPU, the pretend device lacks something: please report it."
    where = place(refused or error, plugin) or "Outside its hooks"
    return f"{where}: on an accelerator, with {with_what}: {refused or repr(error)}. {remedy}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _found(question: Question) -> type[Method]:
    """Return the class that a question names; a script and a file by its path have another name here."""
    try:
        name = question["module"]
        module = run_file(Path(question["file"])) if name == "__main__" else importlib.import_module(name)
    except ImportError:
        module = run_file(Path(question["file"]))
    plugin: type[Method] = attrgetter(question["name"])(module)
    return plugin


def _answer(question: Question) -> str:
    registry = Registry(map(Path, question["plugins"]))
    try:
        plugin = _found(question)
    except AttributeError:
        return f"{question['name']} cannot be found in its module. Define it at the top of {question['file']}."
    return fault_of(plugin, registry)


def main() -> None:
    """Answer every line of standard input; what plugins print goes to standard error."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with interrupts():
        for line in sys.stdin:
            replies.write(f"{json.dumps(_answer(json.loads(line)))}\n")
            replies.flush()


if __name__ == "__main__":
    main()
