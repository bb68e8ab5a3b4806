import json
from pathlib import Path

import pytest

from bench import Reading
from bench.plugins.tasks import Tasks
from bench.store import manifests
from bench.store.run_folder import Store
from tests.layouts import SETTINGS, Sizes, edit, write_files


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    for name in ("iconqa", "gqa"):
        write_files(tmp_path / "data", name, Sizes(3, 2, 2))
    return Tasks(reading=Reading(tmp_path / "data", skip_bad=1), settings=SETTINGS)


def test_a_run_folder_says_which_examples_were_trained_on_and_scored(tasks: Tasks, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")

    manifests.write(store, tasks, ("iconqa@lmms",), ("gqa", "easy_vqa"), "test")

    files = {path.name: json.loads(path.read_text()) for path in (tmp_path / "runs" / "data").iterdir()}
    assert set(files) == {"iconqa@lmms-train.json", "iconqa@lmms-test.json", "gqa-test.json"}
    assert files["iconqa@lmms-train.json"]["variant"] == "lmms"
    assert files["gqa-test.json"]["ids"] == ["52000000", "52000001", "52000010", "52000011"]


def test_records_that_are_left_out_are_said_with_where_their_names_are(tasks: Tasks, tmp_path: Path) -> None:
    edit(tmp_path / "data/gqa/questions1.2/testdev_balanced_questions.json", lambda whole: whole["52000000"].clear())

    lines = manifests.write(Store(tmp_path / "runs"), tasks, ("iconqa",), ("gqa",), "test")

    path = tmp_path / "runs" / "data" / "gqa-test.json"
    assert lines == [f"gqa test: 1 broken record skipped; {path} lists them."]
    assert json.loads(path.read_text())["skipped"][0].endswith("(record 52000000): imageId is missing")
