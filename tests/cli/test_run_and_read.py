"""A run of the command line, the same command again, and the commands that read its folder."""

from pathlib import Path

import pytest

from bench.cli.main import main
from bench.errors import TrialError
from bench.plan.suite import Suite
from bench.store.run_folder import RECORD, Store

pytestmark = pytest.mark.usefixtures("one_mlflow")


def diverge(*_: object, **__: object) -> None:
    raise TrialError("The loss is nan at update 3.")


@pytest.mark.slow
def test_children_that_fail_with_their_parent_are_recorded_though_other_jobs_follow(
    tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "runs"
    words = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "lora,dare,model_tailor", "--ranks", "2,4"]
    monkeypatch.setattr("bench.trial.runner.fit", diverge)

    main(["run", *words, "--lanes", "0", "--output", str(output)])

    failed = {record.trial.label for record in Store(output).records() if record.status == "failed"}
    assert len(failed) == 6


@pytest.fixture
def words(tiny_tasks: Path) -> list[str]:
    return ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "lora,dare", "--ranks", "2"]


@pytest.fixture
def ran(tiny_suite: Suite, tmp_path: Path, words: list[str]) -> Path:
    """A run folder with a finished run of two methods."""
    output = tmp_path / "runs"
    assert main(["run", *words, "--lanes", "0", "--output", str(output)]) == 0
    return output


@pytest.mark.slow
def test_a_run_prints_the_leaderboard_on_stdout_and_writes_every_report(
    tiny_suite: Suite, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = tmp_path / "runs"

    main(["run", *words, "--lanes", "0", "--output", str(ran)])

    captured = capsys.readouterr()

    assert "lora" in captured.out
    assert "dare" in captured.out
    assert "2 cells, 1 training" in captured.err
    assert {path.name for path in ran.glob("reports/*/leaderboard.*")} >= {
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.tex",
    }


@pytest.mark.slow
def test_the_same_command_again_does_nothing_and_prints_the_same(
    ran: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (report,) = ran.glob("reports/*/leaderboard.csv")
    first = report.read_bytes()

    code = main(["run", *words, "--lanes", "0", "--output", str(ran)])

    again = capsys.readouterr()
    assert code == 0
    assert "lora" in again.out
    assert report.read_bytes() == first
    assert "cached: 3 of 3 trials, 1 of 1 training" in again.err


def test_a_dry_run_prints_the_plan_and_starts_nothing(
    tiny_suite: Suite, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "runs"

    assert main(["run", *words, "--dry-run", "--output", str(output)]) == 0
    assert "2 cells, 1 training; cached: 0 of 3 trials" in capsys.readouterr().out
    assert not output.exists()


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["markdown", "csv", "latex", "table", "json"])
def test_the_leaderboard_comes_from_the_store_in_every_format(
    ran: Path, format_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    assert main(["leaderboard", "--format", format_, "--output", str(ran)]) == 0

    captured = capsys.readouterr()
    assert "dare" in captured.out.lower()
    assert captured.err == ""


@pytest.mark.slow
def test_a_corrupt_record_is_named_set_aside_and_run_again(
    ran: Path, words: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = next(ran.glob(f"dare-*/{RECORD}"))
    path.write_text("{", encoding="utf-8")

    code = main(["run", *words, "--lanes", "0", "--output", str(ran)])

    assert code == 0
    assert str(path) in caplog.text
    assert Store(ran).find("dare-r2-new_squares-s0").status == "done"


@pytest.mark.slow
def test_a_failing_trial_ends_in_exit_code_1_and_a_list_that_names_it_and_its_child(
    tiny_suite: Suite,
    tmp_path: Path,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.trial.runner.fit", diverge)

    code = main(["run", *words, "--lanes", "0", "--output", str(tmp_path / "runs")])

    error = capsys.readouterr().err
    assert code == 1
    assert "failed: lora-r2-new_squares-s0: The loss is" in error
    assert "failed: dare-r2-new_squares-s0: Its parent lora-r2-new_squares-s0 failed" in error


@pytest.mark.slow
def test_show_prints_scores_command_and_what_was_forgotten(
    ran: Path, tiny_tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for option in ([], ["--examples"], ["--command"]):
        assert main(["show", "lora-r2-new_squares-s0", *option, "--output", str(ran)]) == 0

    text = capsys.readouterr().out
    assert "old_squares" in text
    assert "went from right to wrong" in text
    assert (
        f"bench run --suite tiny --plugin {tiny_tasks} --methods lora --ranks 2 --targets new_squares --seeds 0" in text
    )


@pytest.mark.slow
def test_the_command_that_show_prints_is_cached(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    main(["show", "dare-r2-new_squares-s0", "--command", "--output", str(ran)])
    line = capsys.readouterr().out.split()

    assert main([*line[1:], "--dry-run"]) == 0
    assert "cached: 3 of 3 trials" in capsys.readouterr().out


@pytest.mark.slow
def test_baselines_add_the_row_they_are_compared_with_and_a_plan_tells_its_rows_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", "dare", "--targets", "icon_choice", "--baselines", "--output", str(tmp_path)]

    assert main(["plan", *words]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("9 cells, 8 trainings")
    assert lines[0].endswith("more rows follow from their results")
    for row in ("(lora lr/3)", "(lora frozen connector)", "(lora attention at equal size)", "(lora replay)"):
        assert sum(row in line for line in lines) == 1


@pytest.mark.slow
def test_seeds_can_be_a_range_which_means_the_same_run(
    tiny_suite: Suite, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "runs")

    assert main(["run", *words, "--seeds", "0-2", "--dry-run", "--output", output]) == 0
    ranged = capsys.readouterr().out
    assert main(["run", *words, "--seeds", "0,1,2", "--dry-run", "--output", output]) == 0
    assert capsys.readouterr().out == ranged
    assert "6 cells" in ranged
