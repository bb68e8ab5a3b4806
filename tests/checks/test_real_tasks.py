"""The six real tasks under the conformance suite, on small data sets in their official layouts."""

from pathlib import Path

import pytest

from bench import Reading
from bench.checks import checks
from bench.checks.tasks import check_examples_are_stable
from bench.cli.main import main
from bench.plan.task_fingerprint import fingerprint_of
from bench.plugins.tasks import Tasks
from tests.layouts import NAMES, SETTINGS, Sizes, write_files


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in NAMES:
        write_files(folder, name, Sizes(10, 5, 8))
    return folder


@pytest.fixture
def tasks(root: Path) -> Tasks:
    return Tasks(reading=Reading(root), settings=SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_real_task_keeps_the_rules(name: str, tasks: Tasks) -> None:
    plugin = tasks.registry.task_class(name)

    for check in checks(plugin, tasks):
        if check.__name__ != check_examples_are_stable.__name__:
            check(plugin)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_another_process_reads_a_real_task_alike(name: str, tasks: Tasks) -> None:
    check_examples_are_stable(tasks.registry.task_class(name), tasks)


def test_a_check_reads_a_task_with_the_options_that_were_set(tasks: Tasks) -> None:
    plugin = tasks.registry.task_class("gqa")
    fewer = Tasks(tasks.registry, tasks.reading, {"gqa": {"expect": "any", "samples": 3}})

    assert fingerprint_of(plugin, tasks) != fingerprint_of(plugin, fewer)


def test_bench_check_takes_the_data_folder_and_options(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", "iconqa", "--data", str(root / "none"), "--set", "iconqa.expect=any"]

    assert main(words) == 1
    assert f"{root}/none/iconqa/iconqa_data/pid_splits.json is missing" in capsys.readouterr().out
    assert main(["check", "iconqa", "--set", "iconqua.expect=any"]) == 2
    assert "No task named 'iconqua'. Did you mean 'iconqa'?" in capsys.readouterr().err
