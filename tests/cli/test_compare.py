"""The command bench compare."""

import csv
import io
from pathlib import Path

import pytest

from bench import Paper, SequencePaper
from bench.cli.main import main
from bench.cli.run import RunOptions
from bench.cli.which_run import new_run
from bench.plan.suite import Suite
from bench.plugins.registry import Registry
from bench.store.run_folder import Store
from bench.store.runs import save_run
from tests.making.commands import typed


def ran(output: Path, *words: str) -> Path:
    """A run folder with a run of these words; nothing was trained."""
    store = Store(output)
    store.prepare()
    save_run(store, new_run("run", "bench run", typed(RunOptions, *words)))
    return output


def test_a_leaderboard_of_micro_is_refused_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ran(tmp_path / "runs", "--methods", "lora", "--limit", "20")

    code = main(["compare", "--paper", "lorasculpt", "--output", str(output)])

    captured = capsys.readouterr()
    assert code == 2
    assert "cannot be compared with the paper lorasculpt: the suite is micro" in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--paper lorasculpt", "has no run yet. Start one: bench run --output"),
        ("--paper lorasculpt --run micro", "has no run yet. Start one: bench run --output"),
        ("--paper lorasclpt", "No paper named 'lorasclpt'. Did you mean 'lorasculpt'? Known: lorasculpt."),
        ("--paper lorasculpt --tolerance -1", "--tolerance is -1; give 0 or more points on the scale from 0 to 100."),
        ("--paper lorasculpt --tolerance nan", "--tolerance is nan; give 0 or more points"),
    ],
)
def test_a_comparison_that_cannot_be_is_one_line(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["compare", *words.split(), "--output", str(tmp_path / "none")])

    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_finished_run_is_compared_with_its_paper_and_only_numbers_go_to_stdout(
    tiny_installed: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    file = tmp_path / "made_up.csv"
    file.write_text(
        "table,method,rank,target_task,connector,variant,target,avg\n1,lora,2,new_squares,full,,300,300\n",
        encoding="utf-8",
    )
    made_up = Paper("made_up", "none", "tiny", ("old_squares",), ("new_squares",), {"full": "full"}, ("1",), 2.0, file)
    monkeypatch.setattr(Registry, "paper", lambda self, name: {"made_up": made_up}[name])
    output = str(tmp_path / "runs")
    assert (
        main(["run", "--suite", "tiny", "--methods", "lora", "--ranks", "2", "--lanes", "0", "--output", output]) == 0
    )
    capsys.readouterr()

    code = main(["compare", "--paper", "made_up", "--format", "csv", "--output", output])

    captured = capsys.readouterr()
    lines = list(csv.DictReader(io.StringIO(captured.out)))
    assert code == 0
    assert [(line["method"], line["of"], line["published"], line["verdict"]) for line in lines] == [
        ("lora", "target", "3", "below"),
        ("lora", "avg", "3", "below"),
    ]
    assert "Of 2 compared numbers: 0 reproduced, 0 above, 2 below, 0 cannot tell (tolerance 2 points)." in captured.err
    assert "Not in the paper's tables: zero_shot on new_squares" in captured.err


@pytest.fixture
def finished(
    tiny_installed: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run folder with a finished sequence of the two tasks of the suite tiny."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    words = ["--suite", "tiny", "--tasks", "new_squares,old_squares", "--methods", "lora+lines", "--ranks", "2"]
    assert main(["sequence", *words, "--lanes", "0", "--output", str(tmp_path / "runs")]) == 0
    capsys.readouterr()
    return tmp_path / "runs"


def sequence_paper(folder: Path, order: str) -> SequencePaper:
    file = folder / "made_up.csv"
    file.write_text(
        f"table,method,rank,order,connector,variant,old_squares,ap\n1,lora+lines,2,{order},full,,300,300\n",
        encoding="utf-8",
    )
    return SequencePaper("made_up", "none", "tiny", (), {"full": "full"}, ("1",), 2.0, file)


@pytest.mark.slow
def test_a_finished_sequence_is_printed_again_and_compared_with_its_paper(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up = sequence_paper(tmp_path, "new_squares.old_squares")
    monkeypatch.setattr(Registry, "paper", lambda self, name: {"made_up": made_up}[name])
    (reports,) = (finished / "reports").glob("sequence-*")

    assert main(["compare", "--paper", "made_up", "--format", "csv", "--output", str(finished)]) == 0

    captured = capsys.readouterr()
    lines = list(csv.DictReader(io.StringIO(captured.out)))
    assert [(line["order"], line["method"], line["of"], line["published"], line["verdict"]) for line in lines] == [
        ("new_squares.old_squares", "lora+lines", name, "3", "below") for name in ("old_squares", "ap")
    ]
    assert "Not in the paper's tables: lora, lora independent on new_squares.old_squares, rank 2" in captured.err
    for form, file in (("csv", "sequence.csv"), ("markdown", "sequence.md")):
        assert main(["leaderboard", "--run", "sequence", "--format", form, "--output", str(finished)]) == 0
        assert capsys.readouterr().out == (reports / file).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_sequence_in_another_order_and_a_paper_of_the_other_kind_are_refused_in_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backwards = sequence_paper(tmp_path, "old_squares.new_squares")

    assert main(["compare", "--paper", "lorasculpt", "--output", str(finished)]) == 2
    other_kind = capsys.readouterr().err
    monkeypatch.setattr(Registry, "paper", lambda self, name: backwards)
    assert main(["compare", "--paper", "made_up", "--output", str(finished)]) == 2
    other_order = capsys.readouterr().err

    assert "has no run yet, only the sequence " in other_kind
    assert "Start one: bench run --output" in other_kind
    assert (
        "has the order old_squares.new_squares, but this sequence has new_squares.old_squares. A score" in other_order
    )
    assert (other_kind.count("\n"), other_order.count("\n")) == (1, 1)
