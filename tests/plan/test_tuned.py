import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.plan import tuned
from bench.plan.suite import MICRO
from bench.plugins.registry import Registry
from bench.store import search_results

PLACE = ("dare", 32, "icon_choice")


def write(folder: Path, **changes: object) -> Path:
    row: dict[str, object] = {
        "method": "dare",
        "rank": 32,
        "target": "icon_choice",
        "model": MICRO.revision(),
        "tried": 9,
        "sources": list(MICRO.sources),
    }
    row |= {"recipe": MICRO.recipe.to_json(), "parent": {}, "chosen": {"hyper": {"drop_rate": 0.3}}}
    (folder / search_results.CHOICES).write_text(json.dumps({"chosen": [{**row, **changes}]}), encoding="utf-8")
    return folder


def read(folder: Path, place: tuned.QuestKey = PLACE, settings: tuned.Settings | None = None) -> tuned.Tuned:
    return tuned.read(folder, MICRO, MICRO.recipe, settings or {}, [(place, Registry().method(place[0]))])


def test_a_cell_gets_what_the_search_chose_for_it(tmp_path: Path) -> None:
    assert read(write(tmp_path)) == {PLACE: tuned.TunedChoice({"drop_rate": 0.3}, 9)}


def test_a_run_folder_and_its_file_are_the_same(tmp_path: Path) -> None:
    assert read(write(tmp_path) / search_results.CHOICES) == read(tmp_path)


def test_a_missing_search_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no finished search at .* Run bench search first"):
        read(tmp_path)


def test_a_cell_that_was_not_searched_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no configuration of lora at rank 32 on icon_choice"):
        read(write(tmp_path), ("lora", 32, "icon_choice"))


def test_a_cell_whose_tries_all_failed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no configuration of dare"):
        read(write(tmp_path, chosen=None))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "0123"),
        ("recipe", replace(MICRO.recipe, updates=400).to_json()),
        ("parent", {"lr": 5e-4}),
        ("sources", ["easy_vqa"]),
    ],
)
def test_a_search_over_something_else_is_refused(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"because its '{name}' differs from this run's"):
        read(write(tmp_path, **{name: value}))


def test_a_hyperparameter_that_no_longer_exists_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dare\.rate, which no longer exists"):
        read(write(tmp_path, chosen={"hyper": {"rate": 0.3}}))


def test_a_value_that_is_no_longer_valid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dare\.drop_rate is 1\.5; give at most 1"):
        read(write(tmp_path, chosen={"hyper": {"drop_rate": 1.5}}))


def test_nothing_is_trained_with_a_choice_outside_the_range_of_now(tmp_path: Path) -> None:
    found = read(write(tmp_path, chosen={"hyper": {"drop_rate": 0.01}}))

    with pytest.raises(
        UsageError, match=r"older version chose dare\.drop_rate = 0\.01, and the range is 0\.05 to 0\.9"
    ):
        tuned.check_ranges(found, Registry())


def test_setting_what_is_tuned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Drop one of them"):
        read(write(tmp_path), settings={"dare": {"drop_rate": 0.5}})


@pytest.mark.parametrize("text", ["{", "[]", '{"chosen": [{}]}'])
def test_a_file_that_is_not_a_search_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / search_results.CHOICES).write_text(text, encoding="utf-8")

    with pytest.raises(UsageError, match="is not a file that bench search writes"):
        read(tmp_path)


def test_a_dropped_hyperparameter_of_an_old_search_is_passed_over(tmp_path: Path) -> None:
    hyper = {"alpha": 0.1, "zero_moments": False}
    folder = write(tmp_path, method="lorasculpt", chosen={"hyper": hyper})

    assert read(folder, ("lorasculpt", 32, "icon_choice"))["lorasculpt", 32, "icon_choice"].hyper == {"alpha": 0.1}
