import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import DataError, Reading
from bench.cli.options import Cells
from bench.cli.request import read_request
from bench.lanes import setup
from bench.lanes.setup import LaneSetup
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.tasks import ptb
from tests.layouts import Sizes, edit, write_files
from tests.layouts.llava import write_llava

SET = ("iconqa.expect=any", "gqa.expect=any")


def test_a_task_that_lacks_what_it_scores_with_is_told_before_any_lane_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = Cells(targets="coco_caption", data=tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(ptb, "_packaged", lambda: None)
    ptb.java.cache_clear()

    with pytest.raises(DataError, match=r"retain-bench\[caption\]"):
        setup.lane_setup(read_request(cells, Path("runs")), Store(tmp_path / "runs"), setup.Launch())


def test_a_run_folder_says_which_examples_were_trained_on_and_scored(tmp_path: Path) -> None:
    for name in ("iconqa", "gqa"):
        write_files(tmp_path, name, Sizes(3, 2, 2))
    cells = Cells(targets="iconqa@lmms", sources="gqa,easy_vqa", data=tmp_path, set=SET, skip_bad=1)

    setup.note_data(read_request(cells, Path("runs")), Store(tmp_path / "runs"))

    files = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "runs" / "data").iterdir()}
    assert set(files) == {"iconqa@lmms-train.json", "iconqa@lmms-test.json", "gqa-test.json"}
    assert files["iconqa@lmms-train.json"]["variant"] == "lmms"
    assert files["gqa-test.json"]["ids"] == ["52000000", "52000001", "52000010", "52000011"]


def test_a_run_folder_says_which_examples_of_a_source_were_trained_on(tmp_path: Path) -> None:
    for name in ("iconqa", "gqa"):
        write_files(tmp_path, name, Sizes(3, 2, 2))
    cells = Cells(methods="replay", targets="iconqa", sources="gqa", data=tmp_path, set=SET)

    setup.note_data(read_request(cells, Path("runs")), Store(tmp_path / "runs"))

    assert {path.name for path in (tmp_path / "runs" / "data").iterdir()} == {
        "iconqa-train.json",
        "iconqa-test.json",
        "gqa-train.json",
        "gqa-test.json",
    }


def test_records_that_are_left_out_are_said_with_where_their_names_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("iconqa", "gqa"):
        write_files(tmp_path, name, Sizes(3, 2, 2))
    edit(tmp_path / "gqa/questions1.2/testdev_balanced_questions.json", lambda whole: whole["52000000"].clear())
    cells = Cells(targets="iconqa", sources="gqa", data=tmp_path, set=SET, skip_bad=1)

    setup.note_data(read_request(cells, Path("runs")), Store(tmp_path / "runs"))

    path = tmp_path / "runs" / "data" / "gqa-test.json"
    assert capsys.readouterr().err == f"gqa test: 1 broken record skipped; {path} lists them.\n"
    assert json.loads(path.read_text(encoding="utf-8"))["skipped"][0].endswith("(record 52000000): imageId is missing")


def test_what_only_the_tokenizer_finds_is_refused_before_a_lane_starts_or_skipped_and_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, "gqa", Sizes(8, 2, 2))
    train, _ = write_llava(tmp_path, "gqa", Sizes(8, 2, 2))

    def spoil(rows: list[Any]) -> None:
        rows[0]["conversations"][0]["value"] = "What is this? " * 900  # micro reads 2,048 tokens
        rows[1]["conversations"][1]["value"] = "red</s>"

    edit(train, spoil)
    words = ("gqa.source=llava", f"gqa.train={train.name}", "gqa.validation=1", "gqa.expect=any")
    cells = Cells(targets="gqa", sources="thing_facts", data=tmp_path, set=words)
    store = Store(tmp_path / "runs")

    first = (
        rf"{train}:\d+ \(record 1, id \d+\): its prompt has [\d,]+ tokens, so recipe.max_length 2,048 leaves no room"
    )
    with pytest.raises(DataError, match=rf"^gqa: {first}.*record 1, and 0 may be skipped"):
        setup.note_data(read_request(cells, Path("runs")), store)
    second = (
        rf"{train}:\d+ \(record 2, id \d+\): its answer contains </s>, which ends an answer\. That is broken record 2"
    )
    with pytest.raises(DataError, match=second):
        setup.note_data(read_request(replace(cells, skip_bad=1), Path("runs")), store)
    setup.note_data(read_request(replace(cells, skip_bad=2), Path("runs")), store)

    path = tmp_path / "runs" / "data" / "gqa-train.json"
    noted = json.loads(path.read_text(encoding="utf-8"))
    assert capsys.readouterr().err == f"gqa train: 2 broken records skipped; {path} lists them.\n"
    assert [reason.partition(": its ")[0] for reason in noted["skipped"]] == [
        f"{train}:1 (record {place}, id {name.split('-')[-1]})" for place, name in enumerate(noted["untaught"], 1)
    ]


@pytest.mark.slow
def test_a_search_notes_the_validation_examples_that_it_looks_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, "gqa", Sizes(4, 3, 2))
    cells = Cells(targets="scene_caption", sources="gqa", data=tmp_path, set=("gqa.expect=any",), skip_bad=1)
    first = next(
        iter(json.loads((tmp_path / "gqa/questions1.2/val_balanced_questions.json").read_text(encoding="utf-8")))
    )
    edit(tmp_path / "gqa/questions1.2/val_balanced_questions.json", lambda whole: whole[first].clear())

    request = replace(read_request(cells, Path("runs")), split="validation")
    setup.note_data(request, Store(tmp_path / "runs"))

    path = tmp_path / "runs" / "data" / "gqa-validation.json"
    assert json.loads(path.read_text(encoding="utf-8"))["count"] == 5  # two questions per image
    assert capsys.readouterr().err == f"gqa validation: 1 broken record skipped; {path} lists them.\n"


def test_a_lane_in_another_process_reads_tasks_as_the_driver_does(tiny_tasks: Path, tmp_path: Path) -> None:
    tasks = Tasks(Registry([tiny_tasks]), Reading(tmp_path, skip_bad=3), {"gqa": {"expect": "any"}})
    shipment = pickle.loads(pickle.dumps(LaneSetup(tmp_path, tmp_path, tasks).shipped()))

    there = shipment.setup().tasks

    assert there.registry.files == (tiny_tasks,)
    assert there.load("old_squares").reading == Reading(tmp_path, skip_bad=3)
    assert there.settings == {"gqa": {"expect": "any"}}


def test_a_cluster_alone_is_sent_what_the_plugin_files_hold(tiny_tasks: Path, tmp_path: Path) -> None:
    tasks = Tasks(Registry([tiny_tasks]))

    here, cluster = (
        LaneSetup(tmp_path, tmp_path, tasks, setup.Launch(address=address)).shipped() for address in (None, "auto")
    )

    assert (here.sources, cluster.sources) == ((), (tiny_tasks.read_bytes(),))
