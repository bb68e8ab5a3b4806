from pathlib import Path

import pytest

from bench import DataError, perform, request
from bench.cli import _parser
from bench.store import Store
from bench.tasks import ptb


def test_a_task_that_lacks_what_it_scores_with_is_told_before_any_lane_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _parser().parse_args(["run", "--targets", "coco_caption", "--data", str(tmp_path)])
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(ptb, "_packaged", lambda: None)
    ptb.java.cache_clear()

    with pytest.raises(DataError, match=r"retain-bench\[caption\]"):
        perform.lane_setup(request.read(options), Store(tmp_path / "runs"), options)
