"""``bench ui`` opens a browser only for somebody who sees it."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Any

import pytest

from bench import track
from bench.cli import mlflow
from bench.cli.mlflow import UiOptions


@pytest.mark.parametrize(
    ("options", "display", "terminal", "opens"),
    [
        ({}, ":0", True, True),
        ({"no_browser": True}, ":0", True, False),
        ({}, "", True, False),
        ({}, ":0", False, False),
    ],
)
def test_the_browser_needs_a_display_and_a_terminal_and_can_be_declined(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    display: str,
    terminal: bool,
    opens: bool,
) -> None:
    given: list[object] = []
    monkeypatch.setattr(track, "ui", lambda output, port, say, browse: given.append(browse))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    mlflow.ui(UiOptions(output=tmp_path, **options))

    assert given == [webbrowser.open if opens else None]
