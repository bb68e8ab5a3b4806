import json
import math
from dataclasses import fields
from pathlib import Path

import pytest

from bench.cli.leaderboard import LeaderboardOptions
from bench.cli.options import Cells, HowTrialsRun
from bench.cli.run import RunOptions
from bench.cli.study import StudyOptions
from bench.errors import UsageError
from bench.lanes.setup import Launch
from bench.spec import Execution
from tests.making.commands import typed


def test_the_options_come_to_an_execution() -> None:
    options = HowTrialsRun(
        gpus_per_trial=2, micro_batch=4, gradient_checkpointing=True, eval_batch=8, feature_cache=0.5
    )

    assert options.launch(1) == Launch(1, None, Execution(2, 4, True, 8, 1 << 29))
    assert HowTrialsRun().launch(0) == Launch(0, None, Execution())


@pytest.mark.parametrize("gib", [-1.0, math.nan, math.inf])
def test_a_cache_of_no_size_is_refused(gib: float) -> None:
    with pytest.raises(UsageError, match="give 0 or more GiB"):
        HowTrialsRun(feature_cache=gib).launch()


def test_several_workers_are_refused_if_there_are_no_lanes() -> None:
    with pytest.raises(UsageError, match="--lanes 0 runs in this process and cannot start workers"):
        HowTrialsRun(gpus_per_trial=2).launch(0)


def test_an_option_counts_as_typed_even_if_it_says_the_default() -> None:
    assert typed(LeaderboardOptions, "--suite", "micro").chooses(Cells)
    assert not typed(LeaderboardOptions, "--output", "there", "--mix").chooses(Cells)


def test_what_is_not_typed_is_at_the_default_of_its_field() -> None:
    assert typed(RunOptions) == RunOptions()


def test_a_selection_is_restored_as_it_was_typed(tmp_path: Path) -> None:
    words = ["--methods", "lora,dare", "--set", "lora.lr=0.1", "--plugin", str(tmp_path / "mine.py"), "--tuned"]
    options = typed(RunOptions, *words, "--data", str(tmp_path), "--baselines", "--skip-bad", "2")

    noted = json.loads(json.dumps(options.selection()))

    assert Cells.selected(noted) == Cells(**{item.name: getattr(options, item.name) for item in fields(Cells)})


def test_an_option_that_an_older_note_lacks_is_at_its_default() -> None:
    noted = {"suite": "micro", "methods": "lora", "set": [], "plugin": []}

    assert Cells.selected(noted) == Cells(methods="lora")


def test_a_study_offers_or_decides_every_option_of_cells() -> None:
    assert {item.name for item in fields(Cells)} <= {item.name for item in fields(StudyOptions)}
