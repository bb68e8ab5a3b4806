"""Tell trials of one label apart by the settings in which they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from bench.values.trial import Trial

_LONGEST = 24  # letters of a value; a longer one, such as a template, is cut


def told_apart(trials: Iterable[Trial]) -> dict[str, str]:
    """Return by trial id what tells a trial from the others of its label: "strength 0.3"; "" if no other has its label.

    Trials that follow from the same methods are told apart by settings, and others by these methods: "of dora".

    >>> from dataclasses import replace
    >>> from bench.values.recipe import Recipe
    >>> one = Trial("rewind", {"strength": 0.3}, 4, "t", 0, Recipe(2, 2, 1e-3, 1e-4), "m", "d", "c")
    >>> list(told_apart([one, replace(one, hyper={"strength": 0.5}), replace(one, seed=1)]).values())
    ['strength 0.3', 'strength 0.5', '']
    """
    labels: dict[str, dict[tuple[str, ...], list[Trial]]] = {}
    for trial in trials:
        labels.setdefault(trial.label, {}).setdefault(_edited(trial), []).append(trial)
    found: dict[str, str] = {}
    for by_method in labels.values():
        for methods, alike in by_method.items():
            settings = [dict(_settings(trial)) for trial in alike]
            of = [f"of {' of '.join(methods)}" if methods else "of nothing"] if len(by_method) > 1 else []
            for trial, own in zip(alike, settings, strict=True):
                found[trial.id] = ", ".join([*of, *_differing(own, settings)])
    return found


def _edited(trial: Trial) -> tuple[str, ...]:
    """Return the methods whose changes a trial edits, the nearest first."""
    parent = trial.parent if trial.is_edit else None
    return () if parent is None else (parent.method, *_edited(parent))


def _differing(own: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the settings that some other trial lacks, or has with another value."""
    for name, value in own.items():
        if any(name not in other or other[name] != value for other in others):
            text = "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
            yield f"{name} {text[:_LONGEST]}"


def _settings(trial: Trial) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a trial and of those whose changes it edits, by a name that is unique in it."""
    yield from trial.hyper.items()
    yield "update", "last" if trial.snapshot is None else trial.snapshot
    if trial.parent is not None and trial.is_edit:
        yield from ((f"{trial.parent.method}.{name}", value) for name, value in _settings(trial.parent))
        return
    yield from ((f"recipe.{name}", value) for name, value in asdict(trial.recipe).items())
    yield "sources", "+".join(trial.sources)
    yield from (("base", trial.model), ("data", trial.data), ("code", trial.code))
