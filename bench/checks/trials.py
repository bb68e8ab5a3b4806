"""Checks of a method's whole trial, as a lane runs it, for training and edit methods."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from bench.checks.runs import answers_with, few, learn, learnt, trace, traces, unequal
from bench.checks.tiny import tiny
from bench.errors import BenchError, PluginError
from bench.model.change import Change
from bench.plugins.method import Method
from bench.plugins.registry import Registry


def check_change_survives_saving(plugin: type[Method], registry: Registry | None = None) -> None:
    """The change that is read back from its files is bitwise equal, because evaluation and edits read it."""
    change = learnt(plugin, registry)
    if names := unequal(change, _reread(change)):
        raise PluginError(
            f"After saving and loading, {few(names)} are not bit-identical. Use the deltas that bench exports."
        )


def check_lane_keeps_no_trace(plugin: type[Method], registry: Registry | None = None) -> None:
    """A trial leaves the base model unaltered, and a second trial gives the same bytes and answers."""
    bench = tiny()
    before = trace(bench)
    first = learn(plugin(), bench, registry=registry)
    left = traces(before, trace(bench))  # checked now, because evaluation restores the pristine weights
    answers = answers_with(first, bench)
    if left := left or traces(before, trace(bench)):
        raise PluginError(
            f"A trial leaves a trace in its lane: {few(left)}. In adapt, change only the module tree that it is given; "
            "in edit, change none of the arguments."
        )
    second = learn(plugin(), bench, registry=registry)
    if names := unequal(first, second):
        raise PluginError(
            f"A second trial in the same lane differs in {few(names)}. Keep no state in the class, "
            "the module or the base model."
        )
    if answers != answers_with(second, bench):
        raise PluginError("A second trial in the same lane gives other answers. Keep no state between trials.")


def _reread(change: Change) -> Change:
    """Save a change and return it as loaded from its files.

    Raises:
        PluginError: the change cannot be saved or loaded.
    """
    with TemporaryDirectory() as folder:
        try:
            change.save(Path(folder) / "change")
            return Change.load(Path(folder) / "change")
        except (BenchError, KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise PluginError(
                f"The change cannot be saved and loaded: {error}. "
                "Use the deltas that bench exports, not your own classes."
            ) from error
