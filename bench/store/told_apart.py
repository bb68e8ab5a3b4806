"""Say how trials of one label differ, so that a reader can choose one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.values.trial import Trial

_LONGEST = 24  # letters of a value; a longer one, such as a template, is cut if that leaves no two alike


def told_apart(trials: Sequence[Trial]) -> tuple[str, ...]:
    """Return for each trial of one label its id, and how it differs from the others."""
    return tuple(f"{trial.id} ({text})" for trial, text in zip(trials, _differences(trials), strict=True))


def by_label(trials: Iterable[Trial]) -> dict[str, str]:
    """Return by trial id how a trial differs from the others of its label: "strength 0.3"; "" if there is no other.

    >>> from dataclasses import replace
    >>> from bench.values.recipe import Recipe
    >>> one = Trial("rewind", {"strength": 0.3}, 4, "t", 0, Recipe(2, 2, 1e-3, 1e-4), "m", "d", "c")
    >>> list(by_label([one, replace(one, hyper={"strength": 0.5}), replace(one, seed=1)]).values())
    ['strength 0.3', 'strength 0.5', '']
    """
    labels: dict[str, list[Trial]] = {}
    for trial in trials:
        labels.setdefault(trial.label, []).append(trial)
    pairs = (zip(alike, _differences(alike), strict=True) for alike in labels.values())
    return {trial.id: text for alike in pairs for trial, text in alike}


def _differences(trials: Sequence[Trial]) -> list[str]:
    """Return how each trial differs from those that edit changes of the same methods, and which methods these are."""
    if len(trials) < 2:
        return [""] * len(trials)
    edited = [_edited(trial) for trial in trials]
    settings = [dict(_settings(trial)) for trial in trials]
    found = []
    for methods, own in zip(edited, settings, strict=True):
        alike = [others for others, of in zip(settings, edited, strict=True) if of == methods]
        of = [f"of {' of '.join(methods)}" if methods else "trained"] if len(set(edited)) > 1 else []
        found.append(", ".join([*of, *_differing(own, alike)]))
    return found


def _edited(trial: Trial) -> tuple[str, ...]:
    """Return the methods whose changes a trial edits, the nearest first."""
    parent = trial.parent if trial.is_edit else None
    return () if parent is None else (parent.method, *_edited(parent))


def _differing(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the settings that some other trial lacks, or has with another value."""
    for name, value in own.items():
        if any(name not in other or other[name] != value for other in others):
            clash = any(other.get(name) != value and _text(other.get(name)) == _text(value) for other in others)
            yield f"{name} {' '.join(str(value).split()) if clash else _text(value)}"


def _text(value: Any) -> str:
    """Return a value as a few words on one line."""
    if value is None or value == "":
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())[:_LONGEST]


def _settings(trial: Trial) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a trial and of those that it follows from, by a name that is unique in it."""
    yield from trial.hyper.items()
    yield "update", "last" if trial.snapshot is None else trial.snapshot
    if trial.parent is not None:
        before = trial.parent.method if trial.is_edit else f"{trial.parent.target}: {trial.parent.method}"
        yield from ((f"{before}.{name}", value) for name, value in _settings(trial.parent))
    if trial.is_edit:
        return
    yield from ((f"recipe.{name}", value) for name, value in asdict(trial.recipe).items())
    yield "sources", "+".join(trial.sources)
    yield "version", trial.version
    yield from (("base", trial.model), ("data", trial.data), ("code", trial.code))
