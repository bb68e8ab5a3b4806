from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from bench import Method, UsageError, hyper
from bench.plugins.hyperparameters import field_name, parse, ranges, values


@dataclass(kw_only=True)
class Sample(Method):
    name: ClassVar[str] = "sample"
    paper: ClassVar[str] = "none"
    aliases: ClassVar[Mapping[str, str]] = {"s": "density"}

    density: float = hyper(0.1, low=0.02, high=0.5, minimum=0.0, maximum=1.0)
    count: int = hyper(128, minimum=1)
    form: str = hyper("mean", choices=("mean", "sum"), search=False)
    kind: str = hyper("a", choices=("a", "b"))
    flag: bool = hyper(False)


def test_a_range_or_a_choice_is_searched_and_nothing_else() -> None:
    searched = {name for name, span in ranges(Sample).items() if span.searched}

    assert searched == {"density", "kind"}


def test_a_mode_is_checked_though_it_is_not_searched() -> None:
    assert parse(Sample, "form", "sum") == "sum"

    with pytest.raises(UsageError, match="choose one of mean, sum"):
        parse(Sample, "form", "median")


def test_an_alias_is_read_as_the_field_it_stands_for() -> None:
    assert field_name(Sample, "s") == "density"
    assert parse(Sample, "s", "0.2") == 0.2

    with pytest.raises(UsageError, match=r"sample\.density is 2\.0; give at most 1"):
        parse(Sample, "s", "2.0")


def test_a_value_outside_the_search_range_may_be_valid() -> None:
    assert parse(Sample, "density", "0.9") == 0.9


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("densty", "1", r"sample\.densty is not a hyperparameter\. Did you mean 'density'\? Known: density, count"),
        ("density", "much", "give a number"),
        ("density", "nan", "give a finite number"),
        ("density", "-0.1", "give at least 0"),
        ("count", "1.5", "give a whole number"),
        ("count", "0", "give at least 1"),
        ("flag", "1", "give true or false"),
    ],
)
def test_a_bad_value_is_an_error_that_names_it(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(Sample, name, text)


def test_values_are_read_by_name() -> None:
    expected: dict[str, Any] = {"density": 0.1, "count": 128, "form": "mean", "kind": "a", "flag": False}

    assert values(Sample()) == expected
