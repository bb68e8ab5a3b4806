"""Say how trials with one name differ, so that a reader can choose one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.values.trial import Trial


def told_apart(trials: Sequence[Trial]) -> tuple[str, ...]:
    """Return for each trial its id and the fields in which it differs from most of the others.

    The field of a hyperparameter is its name, that of the recipe ``recipe.FIELD``, and that of a parent
    ``parent.FIELD``.
    """
    fields = [dict(_fields(trial.to_json())) for trial in trials]
    names = dict.fromkeys(name for of in fields for name in of)
    usual = {name: Counter(of.get(name) for of in fields).most_common(1)[0][0] for name in names}
    return tuple(
        f"{trial.id} ({', '.join(_differing(of, usual)) or 'as most of them'})"
        for trial, of in zip(trials, fields, strict=True)
    )


def _differing(of: Mapping[str, str], usual: Mapping[str, str | None]) -> Iterator[str]:
    for name, value in usual.items():
        if of.get(name) != value:
            yield f"{name}={of.get(name, 'none')}"


def _fields(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every field of a trial's JSON with its value as JSON; those of hyperparameters have no prefix."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _fields(value, prefix if name == "hyper" else f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value).strip('"')
