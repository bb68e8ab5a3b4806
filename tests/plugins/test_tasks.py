from pathlib import Path

import pytest

from bench import Reading, UsageError
from bench.plugins.tasks import Tasks


def test_a_task_is_one_instance_for_as_long_as_the_tasks_live() -> None:
    tasks = Tasks()

    assert tasks.load("gqa") is tasks.load("gqa")
    assert tasks.load("gqa") is not Tasks().load("gqa")


def test_a_task_reads_from_the_folder_and_with_the_options_of_its_tasks() -> None:
    here = Tasks(reading=Reading(Path("here"), skip_bad=3), settings={"gqa": {"expect": "any"}})

    assert here.load("gqa").reading == Reading(Path("here"), skip_bad=3)
    assert vars(here.load("gqa"))["expect"] == "any"
    assert Tasks().load("gqa").reading == Reading()
    assert vars(Tasks().load("gqa"))["expect"] != "any"


def test_a_task_without_a_variant_is_its_first_and_a_variant_is_another_instance() -> None:
    tasks = Tasks()

    assert tasks.load("iconqa").variant == tasks.registry.task_class("iconqa").variants[0]
    assert tasks.load("iconqa@lmms").variant == "lmms"


def test_an_unknown_variant_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"The task gqa has no prompt named 'other'"):
        Tasks().load("gqa@other")


def test_making_tasks_reads_no_file_and_loads_no_plugin(tmp_path: Path) -> None:
    tasks = Tasks(reading=Reading(tmp_path / "none"), settings={"of_no_task": {"x": 1}})

    assert tasks.registry.files == ()
