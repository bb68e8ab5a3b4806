"""Which cells a command meant, as JSON: what a run folder keeps of its last run, and what is shown again by it."""

from __future__ import annotations

import typing
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

_SELECTION = (
    "suite",
    "methods",
    "ranks",
    "targets",
    "sources",
    "seeds",
    "limit",
    "connector",
    "set",
    "tuned",
    "baselines",
    "rewind",
    "model",
    "base",
    "data",
    "skip_bad",
    "plugin",
)


def of(arguments: Namespace) -> dict[str, object]:
    """Return the options that say which cells are meant, as JSON."""
    chosen = {name: getattr(arguments, name) for name in _SELECTION}
    data = None if arguments.data is None else str(arguments.data.resolve())
    if arguments.model is not None and Path(arguments.model).is_dir():
        chosen["model"] = str(Path(arguments.model).resolve())
    return {**chosen, "data": data, "plugin": [str(path.resolve()) for path in arguments.plugin]}


def whole(saved: dict[str, object]) -> dict[str, object]:
    """Return a saved selection with the options that its version did not have yet."""
    later = {
        "tuned": None,
        "baselines": False,
        "rewind": None,
        "model": None,
        "base": None,
        "data": None,
        "skip_bad": 0,
    }
    return {**later, **saved}


def restored(saved: dict[str, object], arguments: Namespace) -> Namespace:
    """Return arguments with a saved selection in place of their own."""
    plugins = [Path(str(path)) for path in typing.cast("list[str]", saved["plugin"])]
    data = None if saved["data"] is None else Path(str(saved["data"]))
    return Namespace(**{**vars(arguments), **saved, "data": data, "plugin": plugins})


def is_default(words: Sequence[str]) -> bool:
    """Whether no option among a command's words says which cells are meant."""
    names = {f"--{name.replace('_', '-')}" for name in _SELECTION}
    return not any(word.split("=")[0] in names for word in words)
