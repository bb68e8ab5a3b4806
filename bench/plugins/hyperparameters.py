"""Declare hyperparameters: default, valid values and search range on one line of a method's class."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Never

from bench.errors import UsageError
from bench.text import did_you_mean
from bench.values.trial import Scalar

_KEY = "bench.hyperparameter"


@dataclass(frozen=True, slots=True)
class Range:
    """The values of a hyperparameter: ``low``/``high`` are searched, ``minimum``/``maximum`` are valid.

    ``choices`` are the only valid values; they are searched too unless ``search`` is false. ``connector`` names the
    only connector policy under which the hyperparameter has an effect. If ``whole``, only whole numbers are valid.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Scalar, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    search: bool = True
    connector: str | None = None
    whole: bool = False

    @property
    def searched(self) -> bool:
        """Whether a search varies this hyperparameter."""
        return self.search and (self.low is not None or bool(self.choices))


def hyper(  # noqa: PLR0913  one line declares the whole hyperparameter
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    log: bool = False,
    choices: tuple[Scalar, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    search: bool = True,
    connector: str | None = None,
    **unknown: Never,
) -> Any:
    """Declare a hyperparameter as a dataclass field.

    ``low`` and ``high`` bound the search; a hyperparameter without a range is never searched. ``minimum`` and
    ``maximum`` bound what ``--set`` accepts, which may be wider. ``choices`` bounds both. ``search=False`` excludes
    the choices from the search, for example if they are interpretations of the paper such as mean or sum.
    ``connector="lora"`` says that the hyperparameter has an effect only if the recipe's connector carries LoRA.

    Raises:
        TypeError: hyper has no option of this name.
    """
    for name in unknown:
        known = [item for item in inspect.signature(hyper).parameters if item not in {"default", "unknown"}]
        raise TypeError(f"hyper() has no option {name!r}.{did_you_mean(name, known)} It has {', '.join(known)}.")
    whole = isinstance(default, int) and not isinstance(default, bool)
    span = Range(low, high, log, choices, minimum, maximum, search, connector, whole)
    return dataclasses.field(default=default, metadata={_KEY: span})


def option(default: Any, *, choices: tuple[Scalar, ...] = (), minimum: float | None = None) -> Any:
    """Declare an option of a task as a dataclass field, set by ``--set TASK.FIELD=VALUE``."""
    return hyper(default, choices=choices, minimum=minimum, search=False)


def ranges(method: type) -> Mapping[str, Range]:
    """Return the ranges of a method class's hyperparameters by name, in the order of its fields."""
    return {field.name: field.metadata.get(_KEY, Range()) for field in dataclasses.fields(method) if field.init}


def values(method: object) -> dict[str, Scalar]:
    """Return the values of a method's hyperparameters by name."""
    return {name: getattr(method, name) for name in ranges(type(method))}


def state_names(method: object) -> tuple[str, ...]:
    """Return the names of a method's run state, which are the fields that are not hyperparameters."""
    return tuple(field.name for field in dataclasses.fields(method) if not field.init)  # type: ignore[arg-type]


def field_name(method: type, name: str) -> str:
    """Return the field that ``name`` means; ``name`` is a field or an alias, such as a paper's letter."""
    aliases: Mapping[str, str] = getattr(method, "aliases", {})
    return aliases.get(name, name)


def parse(method: type, name: str, text: str) -> Scalar:
    """Parse the value that ``--set`` gives to a hyperparameter; ``name`` is a field or an alias.

    Raises:
        UsageError: the hyperparameter does not exist, or the value is not valid for it.
    """
    name = field_name(method, name)
    known = ranges(method)
    label = f"{getattr(method, 'name', method.__name__)}.{name}"
    if name in (dropped := getattr(method, "dropped", {})):
        raise UsageError(f"--set {label} was dropped because {dropped[name]}; drop it.")
    if name not in known:
        raise UsageError(f"{label} is not a hyperparameter.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    default = next(f.default for f in dataclasses.fields(method) if f.name == name)
    value = _convert(label, text, default)
    check(label, value, known[name])
    return value


def _convert(label: str, text: str, default: object) -> Scalar:
    if isinstance(default, bool):
        if text.lower() not in {"true", "false"}:
            raise UsageError(f"{label} is {text!r}; give true or false.")
        return text.lower() == "true"
    if isinstance(default, str):
        return text
    if default is None and text.lower() == "none":
        return None
    try:
        number = int(text) if isinstance(default, int) else float(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise UsageError(f"{label} is {text!r}; give {kind}.") from None
    if not math.isfinite(number):
        raise UsageError(f"{label} is {text!r}; give a finite number.")
    return number


def check(label: str, value: Scalar, span: Range) -> None:
    """Refuse a value that is not valid for a hyperparameter.

    Raises:
        UsageError: the value is not one of the choices, below the minimum or above the maximum.
    """
    if span.choices and value not in span.choices:
        allowed = ", ".join(str(choice) for choice in span.choices)
        raise UsageError(f"{label} is {value!r}; choose one of {allowed}.")
    if isinstance(value, str | bool) or value is None:
        return
    if span.minimum is not None and value < span.minimum:
        raise UsageError(f"{label} is {value}; give at least {span.minimum:g}.")
    if span.maximum is not None and value > span.maximum:
        raise UsageError(f"{label} is {value}; give at most {span.maximum:g}.")
