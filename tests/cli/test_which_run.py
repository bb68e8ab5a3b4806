"""Which run of a run folder a command means, and what a smaller run leaves alone."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bench.cli.arguments import words_of
from bench.cli.leaderboard import LeaderboardOptions
from bench.cli.main import main
from bench.cli.options import Cells, Selecting
from bench.cli.which_run import cells_of, largest, same_cells
from bench.store.run_folder import Census, Store
from bench.store.runs import Run, latest_run, read_runs
from bench.values.record import Record
from tests.making.run_folders import unpacked

pytestmark = pytest.mark.usefixtures("one_mlflow")

# values of the options that select no cells
VALUES: dict[str, Any] = {"plugin": (Path("tiny_tasks.py"),), "data": Path(), "skip_bad": 1}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder in the layout of version 0.1.0, as ./runs."""
    return unpacked("run_folder", tmp_path, monkeypatch)


@pytest.mark.slow
def test_an_option_that_selects_no_cells_never_changes_which_cells_are_meant(
    runs: Path, tiny_tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selecting = {item.name for item in fields(Selecting)}
    others = [item.name for item in fields(Cells) if item.name not in selecting]
    assert main(["leaderboard"]) == 0
    plain = capsys.readouterr().out

    for name in others:
        given = words_of(LeaderboardOptions(**{name: VALUES[name]}), [name])
        assert main(["leaderboard", *given]) == 0
        assert capsys.readouterr().out == plain, given


@pytest.mark.slow
def test_a_smaller_run_replaces_neither_the_reports_nor_what_bench_leaderboard_shows(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "runs"
    assert main(["run", "--methods", "lora,dare", *tiny_words, "--lanes", "0"]) == 0
    before = {path: path.read_bytes() for path in output.glob("reports/*/leaderboard.*")}
    capsys.readouterr()
    assert main(["leaderboard", "--output", str(output)]) == 0
    table = capsys.readouterr().out

    assert main(["run", "--methods", "lora", *tiny_words, "--lanes", "0"]) == 0

    assert "bench leaderboard shows the run tiny-lora-dare-r2-" in capsys.readouterr().err
    assert {path.suffix for path in before} == {".txt", ".md", ".csv", ".tex", ".json", ".parquet"}
    assert {path: path.read_bytes() for path in before} == before
    assert main(["leaderboard", "--output", str(output)]) == 0
    shown = capsys.readouterr()
    assert shown.out == table
    assert "the largest of 2 runs" in shown.err
    assert not list(output.glob("leaderboard.*"))


def test_of_runs_with_as_many_cells_the_one_with_more_scores_is_shown_then_the_one_without_limit() -> None:
    def run(name: str, scores: tuple[str, ...], limit: str | None = None) -> Run:
        return Run(
            name=name,
            command="",
            selection={"limit": limit},
            started=name,  # later in the alphabet is later in time
            cells=(("0123456789ab", "icon_choice"),),
            scores={"icon_choice": scores},
        )

    census = Census(frozenset(), {"0123456789ab": frozenset("abc")}, 0)

    assert largest([run("a", ("a", "b")), run("b", ("c",))], census).name == "a"
    assert largest([run("a", ("a",)), run("b", ("c",), limit="20")], census).name == "a"
    assert largest([run("a", ("a",)), run("b", ("c",))], census).name == "b"


@pytest.mark.slow
def test_another_run_is_shown_by_its_name_or_as_the_latest(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = latest_run(Store(two_runs))
    capsys.readouterr()

    assert main(["leaderboard", "--run", "latest", "--output", str(two_runs)]) == 0
    latest = capsys.readouterr()
    assert main(["leaderboard", "--run", small[:12], "--output", str(two_runs)]) == 0
    named = capsys.readouterr()

    assert small.startswith("tiny-lora-r2-")
    assert latest.out == named.out
    assert "dare" not in latest.out
    assert latest.err == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--run tiny-lora", "--run tiny-lora matches 2 runs: tiny-lora-dare-r2-"),
        ("--run tinny", "No run or sequence named 'tinny'."),
        ("--run latest --ranks 2", "--run latest says which cells are meant. Drop it or --ranks."),
    ],
)
def test_a_run_that_cannot_be_meant_is_one_line(
    given: str, message: str, two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    assert main(["leaderboard", *given.split(), "--output", str(two_runs)]) == 2

    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_the_runs_are_listed_with_the_one_that_is_shown(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    assert main(["ls", "runs", "--output", str(two_runs)]) == 0

    head, large, small = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:2] == ["run", "started"]
    assert (large[0], large[4:10], large[10]) == ("*", ["2", "of", "2", "3", "of", "3"], f"reports/{large[1]}")
    assert (small[3:9], small[9]) == (["1", "of", "1", "2", "of", "2"], f"reports/{small[0]}")
    assert large[11:15] == ["bench", "run", "--methods", "lora,dare"]


@pytest.mark.slow
def test_a_run_with_fewer_finished_cells_is_not_shown_though_it_means_more(
    two_runs: Path, tiny_words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("bench.lanes.lanes.run", killed)
    assert main(["run", "--methods", "lora,dare,l2,dora", *tiny_words, "--limit", "3", "--lanes", "0"]) == 130
    capsys.readouterr()

    assert main(["leaderboard", "--output", str(two_runs)]) == 0

    assert "This is the run tiny-lora-dare-r2-" in capsys.readouterr().err
    assert [run.finished for run in read_runs(Store(two_runs))] == [True, True, False]


def test_among_runs_with_equally_many_finished_cells_the_one_that_lacks_the_fewest_is_shown() -> None:
    census = Census(frozenset("ab"), {"a": frozenset({"key"}), "b": frozenset()}, 0)

    def run(name: str, *trials: str, started: str = "2026") -> Run:
        cells, scores = tuple((trial, "new") for trial in trials), {"new": ("key",)}
        return Run(name=name, command="", selection={}, started=started, cells=cells, scores=scores, reports="x")

    whole, large, later = (
        run("whole", "a"),
        run("large", "a", "b", "c", started="2027"),
        run("later", "a", started="2028"),
    )

    assert largest([whole, large], census) is whole
    assert largest([whole, later], census) is later
    assert [item.finished_cells(census) for item in (whole, large)] == [1, 1]  # b has other scores


@pytest.mark.slow
def test_a_command_reads_every_record_once_to_count_and_choose(
    two_runs: Path, tiny_words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, records = [], Store.records

    def count(store: Store) -> Iterator[Record]:
        counted.append(store)
        return records(store)

    monkeypatch.setattr(Store, "records", count)

    assert main(["run", "--methods", "lora", *tiny_words, "--lanes", "0"]) == 0
    assert len(counted) == 1
    assert main(["leaderboard", "--output", str(two_runs)]) == 0
    assert len(counted) == 2


@pytest.mark.slow
def test_the_files_of_an_older_version_get_a_folder_of_their_own_at_the_next_run(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = {path.name: path.read_bytes() for path in runs.glob("leaderboard.*")}
    monkeypatch.setattr("bench.cli.run._perform", lambda *_, **__: None)

    main(["run", "--methods", "lora", "--ranks", "2", "--targets", "icon_choice", "--limit", "24", "--lanes", "0"])

    old, new = read_runs(Store(runs))
    assert "are in runs/reports/micro-lora-dare-lorasculpt-r2-icon_choice-" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (runs / old.reports).glob("leaderboard.*")} == reports
    assert not [*runs.glob("leaderboard.*"), *runs.glob("command.json")]
    assert old.finished_trials(Store(runs).census) == len(old.trials) == 29
    assert old.finished_cells(Store(runs).census) == len(old.cells) > 10
    assert new.name == latest_run(Store(runs))
    capsys.readouterr()
    assert main(["leaderboard"]) == 0
    assert "lorasculpt" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_of_an_older_version_that_cannot_be_read_stays_at_the_top(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note = runs / "command.json"
    note.write_text(
        note.read_text(encoding="utf-8").replace('"lora,dare,lorasculpt"', '"lora,dare,gone"'), encoding="utf-8"
    )
    monkeypatch.setattr("bench.cli.run._perform", lambda *_, **__: None)

    main(["run", "--methods", "lora", "--ranks", "2", "--targets", "icon_choice", "--limit", "24", "--lanes", "0"])
    assert main(["clean", "--trials", "--yes"]) == 0

    assert capsys.readouterr().err.endswith("Nothing to free.\n")
    assert (note.is_file(), (runs / "leaderboard.csv").is_file()) == (True, True)
    assert len(list(runs.glob("*/record.json"))) == 36


@pytest.mark.slow
def test_a_setting_that_is_gone_is_left_out_in_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = runs / "command.json"
    assert main(["leaderboard"]) == 0
    before = capsys.readouterr().out
    note = json.loads(path.read_text(encoding="utf-8"))
    note["selection"]["set"] += ["lorasculpt.zero_moments=true", "gone.field=1"]
    note["selection"]["optimizer"] = "sgd"
    path.write_text(json.dumps(note), encoding="utf-8")

    assert main(["leaderboard"]) == 0

    shown = capsys.readouterr()
    assert shown.out == before
    assert shown.err.count("\n") == 1
    for part in ("--set lorasculpt.zero_moments=true, because", "--set gone.field=1, because", "no option --optimizer"):
        assert part in shown.err
    assert main(["clean"]) == 0
    assert "this version leaves out" in capsys.readouterr().err


@pytest.mark.slow
def test_the_runs_of_an_older_version_are_listed_with_the_number_of_its_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unpacked("old_run_folder", tmp_path, monkeypatch)

    assert main(["ls", "runs"]) == 0

    printed = capsys.readouterr()
    assert "micro-lora-dare-lorasculpt-r2-icon_choice-" in printed.out
    assert "0 of " in printed.out
    assert "31 of the trials are of an older version than 3." in printed.err


def noted(words: str, methods: tuple[str, ...] = ()) -> Run:
    """A note of a run whose words for methods were these; an earlier version kept no ``methods``."""
    selection = Cells(methods=words).selection()
    return Run(name="micro", command="", selection=selection, started="", reports="reports/micro", methods=methods)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (noted("all"), "paper"),
        (noted("all, mine"), "paper, mine"),
        (noted("lora,dare"), "lora,dare"),
        (noted("all", ("lora", "dac")), "lora,dac"),
    ],
)
def test_a_run_means_the_methods_that_its_word_meant_when_it_started(run: Run, words: str) -> None:
    assert cells_of(run).methods == words


def test_a_command_finds_the_earlier_run_that_meant_the_same_by_another_word() -> None:
    assert same_cells(noted("all"), Cells(methods="paper"))
    assert not same_cells(noted("all"), Cells(methods="all"))
    assert same_cells(noted("all", ("lora", "dac")), Cells(methods="all"))


@pytest.mark.slow
def test_a_run_folder_whose_run_had_the_earlier_all_keeps_its_rows(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = runs / "command.json"
    text = note.read_text(encoding="utf-8")
    changed = json.loads(text)
    changed["selection"] |= {"methods": "all", "tuned": None, "rewind": None, "baselines": False}
    note.write_text(json.dumps(changed), encoding="utf-8")

    assert main(["leaderboard"]) == 0

    shown = capsys.readouterr().out
    assert " lorasculpt " in shown
    assert not any(f" {name} " in shown for name in ("dac", "lines", "mdgd", "mdgd_gm"))
    assert main(["ls", "runs"]) == 0


@pytest.mark.slow
def test_the_note_of_a_run_keeps_the_methods_that_it_meant(two_runs: Path) -> None:
    assert [run.methods for run in read_runs(Store(two_runs))] == [("lora", "dare"), ("lora",)]
