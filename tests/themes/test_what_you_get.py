"""The guides for plugin authors list every public field and method of what a plugin gets."""

from __future__ import annotations

import dataclasses

import pytest

import bench
from bench import Change, Decomposed, Delta, Dense, LowRank, Replaced, Routed, Sparse
from tests.making import guides

METHOD, TASK, REPORT = "docs/add-a-method.md", "docs/add-a-task.md", "docs/add-a-report.md"
GIVEN = [
    *((METHOD, name) for name in ("Step", "Adapter", "Layer", "Change", "Delta", "Start", "EditContext")),
    *((METHOD, name) for name in ("Recipe", "Dimensions", "LayerShape")),
    *((TASK, name) for name in ("Example", "Task")),
    *((REPORT, name) for name in ("Leaderboard", "Table", "Row", "Estimate")),
]
KINDS = (LowRank, Decomposed, Dense, Sparse, Replaced, Routed)


def public(plugin: type) -> set[str]:
    """Return the public fields, properties and methods of a class, without those of Python's own classes."""
    own = [part for part in plugin.__mro__ if part.__module__.partition(".")[0] == "bench"]
    found = {name for part in own for name in (*vars(part), *vars(part).get("__annotations__", {}))}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize(("path", "name"), GIVEN, ids=[name for _, name in GIVEN])
def test_a_table_lists_every_public_field_and_method_of_its_class(path: str, name: str) -> None:
    listed = guides.named_under(guides.page(path), name)

    if name == "Delta":  # the second table under this heading is of its kinds
        listed -= {kind.__name__ for kind in KINDS}
    assert listed == public(getattr(bench, name))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_the_table_of_kinds_lists_what_each_kind_has_of_its_own(kind: type[Delta]) -> None:
    own = public(kind) - public(Delta)

    listed = guides.kinds(guides.page(METHOD), "Delta")[kind.__name__]
    if kind is Decomposed:
        assert listed >= own - public(LowRank)
    else:
        assert listed - {kind.__name__} == own


def test_every_kind_of_delta_is_listed() -> None:
    kinds = {
        name for name in bench.__all__ if isinstance(value := getattr(bench, name), type) and issubclass(value, Delta)
    }

    assert kinds - {"Delta"} == {kind.__name__ for kind in KINDS}


def test_the_table_of_functions_names_every_function_for_methods_that_bench_offers() -> None:
    listed = guides.named_under(guides.page(METHOD), "Functions")

    shared = {
        "option",
        "published_rows",
        "image_fault",
        "rgb_image",
        "read",
        "csv_text",
    }  # of tasks, papers, readers and reports
    functions = {name for name in bench.__all__ if name[0].islower()} - shared
    assert functions <= listed
    assert all(hasattr(bench, name) for name in listed)


def test_a_missing_field_and_a_made_up_one_are_found() -> None:
    text = "# Page\n\n### Change\n\n| name | what |\n|---|---|\n| `replace(deltas)`, `size` | a copy |\n\n### Next\n"

    listed = guides.named_under(text, "Change")
    assert listed == {"replace", "size"}
    assert listed != public(Change)


def test_a_field_of_a_dataclass_and_a_property_are_public_and_a_helper_is_not() -> None:
    assert {"index", "generator"} <= public(bench.Step)
    assert {field.name for field in dataclasses.fields(bench.Start)} | {"stage"} == public(bench.Start)
    assert "_deltas" not in public(Change)
