"""Data sets from the hub: what they weigh, and their files brought to where ``datasets`` looks for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.api import Task
from bench.errors import UsageError


def get(tasks: Sequence[Task], root: Path, *, yes: bool) -> int:
    """Bring the hub data sets of tasks."""
    raise UsageError("Not yet.")
