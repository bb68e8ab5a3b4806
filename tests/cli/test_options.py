import json
import math
import re
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bench.cli.arguments import add_options
from bench.cli.launch_options import HowTrialsRun
from bench.cli.leaderboard import LeaderboardOptions
from bench.cli.options import Cells
from bench.cli.plan import PlanOptions
from bench.cli.request import read_request
from bench.cli.run import RunOptions
from bench.cli.study import StudyOptions
from bench.cli.verbs import VERBS
from bench.errors import StoreError, UsageError
from bench.lanes.setup import Launch
from bench.values.resources import Resources
from tests.making.commands import typed


def test_the_options_come_to_resources() -> None:
    options = HowTrialsRun(
        lanes=1,
        gpus_per_trial=2,
        micro_batch=4,
        gradient_checkpointing="3",
        eval_batch=8,
        feature_cache=0.5,
        feature_files=1.5,
    )

    assert options.launch() == Launch(1, None, Resources(2, 4, 3, 8, 1 << 29, 1_500_000_000))
    assert HowTrialsRun(lanes=0).launch() == Launch(0, None, Resources())


def path_options() -> dict[str, Callable[[str], object]]:
    """Return the type of every option that takes a path, by verb and option."""
    verbs = [(verb, part) for verb in VERBS for part in verb.verbs or (verb,)]
    return {
        f"{verb.name} {part.name} {item.name}": item.metadata.get("type", str)
        for verb, part in verbs
        for item in fields(part.options)
        if re.search("DIR|FILE|FOLDER", str(item.metadata.get("metavar"))) and "positional" not in item.metadata
        if (verb.name, item.name)
        not in {("publish", "to"), ("doctor", "output")}  # read later, as a folder or an address
    }


@pytest.mark.parametrize("option", path_options())
def test_a_path_may_start_with_the_home_folder_in_every_option(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")

    assert str(path_options()[option]("~/x")) == "/home/ann/x"


def test_a_word_after_gradient_checkpointing_is_not_taken_for_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        typed(StudyOptions, "--gradient-checkpointing", "effective_rank")

    assert "'effective_rank' is neither a number of blocks nor auto. Put other words before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "blocks"),
    [((), None), (("",), 0), (("0",), 0), (("8",), 8), (("auto",), None)],
)
def test_gradient_checkpointing_is_all_blocks_or_all_but_the_first_few(
    words: tuple[str, ...], blocks: int | None
) -> None:
    line = [word for text in words for word in ("--gradient-checkpointing", text) if word]

    assert typed(RunOptions, *line).launch().resources.plain_blocks == blocks
    assert typed(PlanOptions, *line).others(fitted=False) == [word for word in line if word != "0"]


@pytest.mark.parametrize("text", ["-1", "some", "1.5", "²", "yes"])
def test_another_value_of_gradient_checkpointing_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=f"^--gradient-checkpointing is '{text}'; give the number of blocks .*all.$"):
        HowTrialsRun(gradient_checkpointing=text).launch()


def test_auto_needs_the_gpu_of_this_machine() -> None:
    with pytest.raises(UsageError, match="--gradient-checkpointing auto does not ask the cluster at --address"):
        typed(RunOptions, "--gradient-checkpointing", "auto", "--address", "auto").launch()
    assert typed(PlanOptions, "--gradient-checkpointing", "auto", "--address", "auto").launch()


@pytest.mark.parametrize(
    ("plain", "said"), [(None, "no block is"), (0, "every block is"), (3, "all but the first 3 blocks are")]
)
def test_auto_is_chosen_for_a_plan_and_said(
    plain: int | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options, plan = typed(RunOptions, "--gradient-checkpointing", "auto"), object()
    asked = list[object]()

    def choose(plan: object, resources: Resources) -> Resources:
        asked.append(plan)
        return replace(resources, plain_blocks=plain)

    monkeypatch.setattr("bench.prepare.price.fitting.fitted_here", choose)

    found = options.fitted(options.launch(), lambda: plan)  # type: ignore[arg-type, return-value]

    assert found.resources == Resources(plain_blocks=plain)
    assert asked == [plan]
    assert capsys.readouterr().err == f"--gradient-checkpointing auto: {said} checkpointed.\n"
    other = typed(RunOptions, "--gradient-checkpointing", "2")
    assert other.fitted(launch := other.launch(), lambda: pytest.fail("asked")) == launch


@pytest.mark.parametrize("gib", [-1.0, math.nan, math.inf])
def test_a_cache_of_no_size_is_refused(gib: float) -> None:
    with pytest.raises(UsageError, match="give 0 or more GiB"):
        HowTrialsRun(feature_cache=gib).launch()
    with pytest.raises(UsageError, match=r"--feature-files is .*; give 0 or more GB"):
        HowTrialsRun(feature_files=gib).launch()


def test_several_workers_are_refused_if_there_are_no_lanes() -> None:
    with pytest.raises(UsageError, match="--lanes 0 runs in this process and cannot start workers"):
        HowTrialsRun(gpus_per_trial=2, lanes=0).launch()


def test_an_option_counts_as_typed_even_if_it_says_the_default() -> None:
    assert typed(LeaderboardOptions, "--suite", "micro").chosen(Cells)
    assert not typed(LeaderboardOptions, "--output", "there", "--mix").chosen(Cells)


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


@pytest.mark.parametrize(
    ("name", "value"),
    [("plugin", [1]), ("plugin", None), ("set", 5), ("skip_bad", "few"), ("base", "8bit"), ("skip_bad", None)],
)
def test_a_stored_value_that_no_option_can_have_is_named(name: str, value: object) -> None:
    with pytest.raises(StoreError, match=f"A run's {name} is .*, which is not possible .*Run bench run again"):
        Cells.selected({"suite": "micro", name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("suite", None), ("limit", [5]), ("methods", 1), ("ranks", {}), ("set", [1])]
)
def test_a_stored_value_of_another_type_is_refused_like_a_typed_one(name: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_request(Cells.selected({name: value}), tmp_path)


def test_a_number_below_the_least_of_its_option_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--eval-batch is 0; give at least 1\."):
        typed(RunOptions, "--eval-batch", "0")
    with pytest.raises(UsageError, match=r"--skip-bad is -1; give 0 or more\."):
        typed(RunOptions, "--skip-bad", "-1")


def test_an_option_that_a_command_hides_is_parsed_and_not_shown() -> None:
    parser = ArgumentParser()
    add_options(parser, StudyOptions)

    assert "--baselines" not in parser.format_help()
    assert parser.parse_args(["table1", "--baselines"]).baselines
