"""Checks of every method that learns, by training or by editing: its whole trial, as a lane runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.checks.runs import answers_with, few, learn, trace, traces, unequal
from bench.checks.tiny import tiny
from bench.errors import BenchError, PluginError
from bench.model.change import Change
from bench.plugins.method import Method
from bench.plugins.registry import Registry


def check_change_survives_saving(plugin: type[Method], registry: Registry | None = None) -> None:
    """The change comes back from its files bit for bit: evaluation and edits read it from there."""
    change = learn(plugin(), registry=registry)
    if names := unequal(change, _reread(change)):
        raise PluginError(f"{few(names)} come back from the change's files with other bits.")


def check_lane_keeps_no_trace(plugin: type[Method], registry: Registry | None = None) -> None:
    """After a trial the base is as it was, and a second trial gives the same bytes and answers."""
    bench = tiny()
    before = trace(bench)
    first = learn(plugin(), bench, registry=registry)
    left = traces(before, trace(bench))  # now, since evaluation puts pristine weights back
    answers = answers_with(first, bench)
    if left := left or traces(before, trace(bench)):
        raise PluginError(
            f"A trial leaves a trace in its lane: {few(left)}. Change only the module tree "
            "that adapt is given, and write to nothing that edit is given."
        )
    second = learn(plugin(), bench, registry=registry)
    if names := unequal(first, second):
        raise PluginError(
            f"A second trial in the same lane differs in {few(names)}. Keep nothing in the class, "
            "the module or the base model."
        )
    if answers != answers_with(second, bench):
        raise PluginError("A second trial in the same lane answers differently. Keep nothing between trials.")


TRIALS: tuple[Callable[[type[Method]], None], ...] = (check_change_survives_saving, check_lane_keeps_no_trace)


def _reread(change: Change) -> Change:
    """Return a change as it comes back from its files.

    Raises:
        PluginError: it cannot be written, or cannot be read.
    """
    with TemporaryDirectory() as folder:
        try:
            change.save(Path(folder) / "change")
            return Change.load(Path(folder) / "change")
        except (BenchError, KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise PluginError(
                f"The change does not come back from its files: {error}. "
                "Use the deltas that bench exports, not classes of your own."
            ) from error
