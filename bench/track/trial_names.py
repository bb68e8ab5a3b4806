"""Name trials so that a reader can tell them apart: what they edit, and where they differ from the defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.plan.suite import Suite
from bench.plugins.method import EditMethod, Method
from bench.plugins.registry import REWIND, Registry
from bench.store.search_results import search_results
from bench.values.recipe import Recipe
from bench.values.trial import Scalar, Trial

_LONGEST = 20  # letters of a value; a longer one, such as a template, is left out
_LONGEST_NAME = 250


def tries_in(root: Path) -> dict[str, int]:
    """Return the number of the configuration that a search tried, by the id of each of its trials."""
    found: dict[str, int] = {}
    for result, _ in search_results(root):
        for item in result.configurations:
            for trial in item.trials:
                found.setdefault(trial, item.number)
    return found


@dataclass(frozen=True, slots=True)
class TrialNames:
    """Names of the trials of a suite. ``tries`` holds the number of a search's configuration by the trial's id."""

    registry: Registry
    suite: Suite | None = None
    tries: Mapping[str, int] = field(default_factory=dict)

    def of(self, trial: Trial) -> str:
        """Return the label of a trial, and after it what tells it from the trial of the defaults.

        ``rewind PARENT @0.50`` is the parent's change at half its strength; ``@update 13`` is an edit of the
        change of update 13. ``try 3`` is configuration 3 of a search. Others name the fields that differ:
        ``lr=0.0003``.
        """
        parent = trial.parent
        if trial.rank is None:
            name = trial.label
        elif trial.method == REWIND and parent is not None and trial.is_edit:
            name = f"{trial.method} {self.of(parent)} @{', '.join(_places(trial))}"
        else:
            name = " ".join([trial.label, *self._differing(trial)])
        return name[:_LONGEST_NAME]

    def _differing(self, trial: Trial, prefix: str = "") -> Iterator[str]:
        """Yield what differs from the defaults; ``prefix`` is in front of the hyperparameters of a parent."""
        if trial.snapshot is not None:
            yield f"@update {trial.snapshot}"
        hyper = list(_changed(self._usual(trial.method), trial.hyper, prefix))
        number = self.tries.get(trial.id)
        yield from [f"{prefix.replace('.', ' ')}try {number}"] if hyper and number is not None else hyper
        parent = trial.parent if trial.is_edit else None
        if parent is None:
            yield from self._recipe(trial.recipe)
        elif parent.method == self._usual_parent(trial.method):
            yield from self._differing(parent, f"{parent.method}.")
        else:
            yield f"of {self.of(parent)}"

    def _usual(self, method: str) -> Mapping[str, Scalar]:
        """Return the hyperparameters of a method in its suite; those of an unknown plugin are not known."""
        known = self._class(method)
        if known is None:
            return {}
        suite = self.suite.settings.get(method, {}) if self.suite else {}
        defaults: dict[str, Any] = {item.name: item.default for item in fields(known) if item.init}
        return {**defaults, **suite}

    def _usual_parent(self, method: str) -> str | None:
        known = self._class(method)
        return known.parent if known is not None and issubclass(known, EditMethod) else None

    def _class(self, method: str) -> type[Method] | None:
        try:
            return self.registry.method(method)
        except BenchError:  # its plugin is no longer installed
            return None

    def _recipe(self, recipe: Recipe) -> Iterator[str]:
        """Yield the fields of a recipe that differ from the suite's."""
        if self.suite is not None:
            names = [item.name for item in fields(Recipe)]
            usual = {name: getattr(self.suite.recipe, name) for name in names}
            yield from _changed(usual, {name: getattr(recipe, name) for name in names})


def _places(trial: Trial) -> Iterator[str]:
    """Yield the strength and the update of a rewound change; a whole change needs only its update."""
    strength = trial.hyper.get("strength")
    if strength is not None and not (strength == 1 and trial.snapshot is not None):
        yield f"{float(strength):.2f}"
    if trial.snapshot is not None:
        yield f"update {trial.snapshot}"


def _changed(usual: Mapping[str, Scalar], values: Mapping[str, Scalar], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if name in usual and value != usual[name]:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            yield f"{prefix}{name}={text}" if len(text) <= _LONGEST else f"{prefix}{name}"
