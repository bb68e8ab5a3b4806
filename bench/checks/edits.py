"""Checks of edit methods: above all, that an edit is a pure function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from bench.checks.runs import (
    effects,
    few,
    global_generators,
    learnt,
    parent_change,
    trace,
    traces,
    unequal,
)
from bench.checks.tiny import RECIPE, Tiny, tiny
from bench.errors import PluginError
from bench.model.change import Change
from bench.plugins.hyperparameters import values
from bench.plugins.method import EditContext, EditMethod
from bench.plugins.registry import Registry
from bench.trial.edit import edit
from bench.trial.hooks import called

Plugin = type[EditMethod]


def check_edit_keeps_names_and_shapes(plugin: Plugin, registry: Registry | None = None) -> None:
    """The edited change has the parent's parameter names, unchanged shapes and finite values."""
    bench = tiny()
    parent, edited = parent_change(plugin, registry), learnt(plugin, registry)
    if names := [name for name in {**parent, **edited} if (name in parent) != (name in edited)]:
        raise PluginError(f"The edit adds or drops {few(names)}. Return change.replace(...).")
    after = effects(edited, bench)
    for name, value in after.items():
        if value.shape != bench.base.pristine[name].shape or not value.isfinite().all():
            raise PluginError(
                f"After the edit, {name} has shape {list(value.shape)} or values that are not finite. "
                f"Keep the shape {list(bench.base.pristine[name].shape)}, and guard divisions."
            )


def check_edit_leaves_inputs_alone(plugin: Plugin, registry: Registry | None = None) -> None:
    """An edit does not alter the change that it is given, the base model or its own hyperparameters."""
    bench, parent, method = tiny(), parent_change(plugin, registry), plugin()
    before, settings = trace(bench), values(method)
    _edited(method, parent, bench)
    if names := unequal(parent, parent_change(plugin, registry)):
        raise PluginError(f"The edit altered {few(names)} of the change that it was given. Work on copies.")
    if left := traces(before, trace(bench)):
        raise PluginError(f"The edit altered the base model: {few(left)}. Only read the layers' weights.")
    if values(method) != settings:
        raise PluginError("The edit changed a hyperparameter. Only read hyperparameters: the trial's id holds them.")


def check_edit_is_deterministic(plugin: Plugin, registry: Registry | None = None) -> None:
    """One seed gives bitwise equal edits, even if other code has drawn random numbers."""
    edits = []
    for seed in (1, 2):
        with global_generators(seed):
            bench, parent = tiny(), parent_change(plugin, registry)
            edits.append(_edited(_Reseeded(inner=plugin(), seed=seed), parent, bench))
    if names := unequal(*edits):
        raise PluginError(f"Two edits with one seed differ in {few(names)}. Draw only from context.generator.")


def check_off_returns_deltas_unchanged(plugin: Plugin, registry: Registry | None = None) -> None:
    """With ``off`` set, the edit returns the change unaltered."""
    parent = parent_change(plugin, registry)
    if names := unequal(parent, _edited(plugin(**plugin.off), parent, tiny())):
        settings = ", ".join(f"{name}={value}" for name, value in plugin.off.items())
        raise PluginError(f"With {settings}, the edit alters {few(names)}. Return the change itself.")


def check_differs_from_its_parent(plugin: Plugin, registry: Registry | None = None) -> None:
    """At its defaults, the edit alters at least one weight."""
    bench = tiny()
    before, after = (effects(change, bench) for change in (parent_change(plugin, registry), learnt(plugin, registry)))
    if all(torch.equal(value, before[name]) for name, value in after.items() if name in before):
        raise PluginError(f"At its defaults, {plugin.__name__} alters no weight. Choose defaults that have an effect.")


@dataclass(kw_only=True)
class _Reseeded(EditMethod):
    """An edit that runs ``inner`` with the global generator in a different state from the engine's."""

    name: ClassVar[str] = "reseeded"
    paper: ClassVar[str] = ""

    inner: EditMethod
    seed: int

    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        torch.manual_seed(self.seed)
        return called(self.inner.edit, change, context)


def _edited(method: EditMethod, parent: Change, bench: Tiny) -> Change:
    return edit(method, parent, 0, RECIPE, bench.train).change
