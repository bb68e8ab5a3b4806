"""``bench ui`` and ``bench sync``: open MLflow, and update it from the run folder."""

from __future__ import annotations

from dataclasses import dataclass

from bench import track
from bench.cli.arguments import Command, arg
from bench.cli.options import Output
from bench.console import say
from bench.plugins.registry import Registry


@dataclass(frozen=True, kw_only=True)
class UiOptions(Output, Command):
    """The options of ``bench ui``."""

    port: int = arg(5000, "local port (default: 5000)", "N")


@dataclass(frozen=True, kw_only=True)
class SyncOptions(Output, Command):
    """The options of ``bench sync``."""


def ui(options: UiOptions) -> int:
    """Open MLflow on this machine."""
    return track.ui(options.output.resolve(), options.port, say)


def sync(options: SyncOptions) -> int:
    """Update MLflow from the run folder."""
    store = options.existing()
    with store.locked():
        count = track.sync(store, Registry())
    say(f"MLflow is up to date: {count} trials and searches written.")
    return 0
