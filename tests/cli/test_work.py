import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import DataError
from bench.cli import work
from bench.cli.main import _parser
from bench.plan import request
from bench.store.run_folder import Store
from bench.tasks import ptb
from tests.layouts import Sizes, edit, write_files


def test_a_task_that_lacks_what_it_scores_with_is_told_before_any_lane_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _parser().parse_args(["run", "--targets", "coco_caption", "--data", str(tmp_path)])
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(ptb, "_packaged", lambda: None)
    ptb.java.cache_clear()

    with pytest.raises(DataError, match=r"retain-bench\[caption\]"):
        work.lane_setup(request.read(options), Store(tmp_path / "runs"), options)


def test_a_search_notes_the_validation_examples_that_it_looks_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, "gqa", Sizes(4, 3, 2))
    words = ["--data", str(tmp_path), "--set", "gqa.expect=any", "--skip-bad", "1"]
    options = _parser().parse_args(["run", "--targets", "scene_caption", "--sources", "gqa", *words])
    first = next(iter(json.loads((tmp_path / "gqa/questions1.2/val_balanced_questions.json").read_text())))
    edit(tmp_path / "gqa/questions1.2/val_balanced_questions.json", lambda whole: whole[first].clear())

    work.note_data(replace(request.read(options), split="validation"), Store(tmp_path / "runs"))

    path = tmp_path / "runs" / "data" / "gqa-validation.json"
    assert json.loads(path.read_text())["count"] == 5  # two questions a picture
    assert capsys.readouterr().err == f"gqa validation: 1 broken record left out; {path} names them.\n"
