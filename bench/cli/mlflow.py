"""``bench ui`` and ``bench sync``: open MLflow, and update it from the run folder."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass

from bench import track
from bench.cli.arguments import Command, arg, flag
from bench.cli.options import Output
from bench.console import say, warn
from bench.plugins.registry import Registry


@dataclass(frozen=True, kw_only=True)
class UiOptions(Output, Command):
    """The options of ``bench ui``."""

    port: int = arg(5000, "local port (default: 5000)", "N")
    no_browser: bool = flag("print the addresses, and open no browser")


@dataclass(frozen=True, kw_only=True)
class SyncOptions(Output, Command):
    """The options of ``bench sync``."""


def ui(options: UiOptions) -> int:
    """Open MLflow on this machine."""
    return track.ui(options.output.resolve(), options.port, warn, None if options.no_browser else _browser())


def _browser() -> Callable[[str], object] | None:
    """Return what opens an address in a browser, or None if nobody would see it.

    Without a display, a browser in the terminal would hide the addresses that ``bench ui`` prints.
    """
    display = sys.platform in {"darwin", "win32"} or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return webbrowser.open if display and sys.stdout.isatty() else None


def sync(options: SyncOptions) -> int:
    """Update MLflow from the run folder."""
    store = options.existing()
    with store.locked(runs=False):
        count = track.sync(store, Registry())
    say(f"MLflow is up to date: {count} trials and searches written.")
    return 0
