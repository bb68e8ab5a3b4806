"""The six real tasks under the conformance suite, on small data sets in their official layouts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import Reading
from bench.checks import checks
from bench.checks.tasks import check_examples_are_stable, fingerprint_of
from bench.cli.main import main
from bench.plugins import registry
from tests.layouts import NAMES, SETTINGS, Sizes, write_files


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in NAMES:
        write_files(folder, name, Sizes(10, 5, 8))
    return folder


@pytest.fixture(autouse=True)
def _read(root: Path) -> Iterator[None]:
    registry.read_tasks(Reading(root), SETTINGS)
    yield
    registry.read_tasks(Reading(), {})


@pytest.mark.parametrize("name", NAMES)
def test_a_real_task_keeps_the_rules(name: str) -> None:
    plugin = registry.load_task_class(name)

    for check in checks(plugin):
        if check is not check_examples_are_stable:
            check(plugin)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_another_process_reads_a_real_task_alike(name: str) -> None:
    check_examples_are_stable(registry.load_task_class(name))


def test_a_check_reads_a_task_with_the_options_that_were_set(root: Path) -> None:
    plugin = registry.load_task_class("gqa")
    before = fingerprint_of(plugin)
    registry.read_tasks(Reading(root), {"gqa": {"expect": "any", "samples": 3}})

    assert fingerprint_of(plugin) != before


def test_bench_check_takes_the_data_folder_and_options(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", "iconqa", "--data", str(root / "none"), "--set", "iconqa.expect=any"]

    assert main(words) == 1
    assert f"{root}/none/iconqa/iconqa_data/pid_splits.json is missing" in capsys.readouterr().out
    assert main(["check", "iconqa", "--set", "iconqua.expect=any"]) == 2
    assert "No task named 'iconqua'. Did you mean 'iconqa'?" in capsys.readouterr().err
