import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.cli.main import main
from bench.errors import StoreError
from bench.papers.study import save_record, studied
from bench.plan import suite
from bench.plan.plan import Plan
from bench.plan.suite import MICRO, Suite
from bench.store.run_folder import Store
from tests.layouts import write_files

Planned = Callable[..., Plan]

PLUGIN = '''
from pathlib import Path
from bench.checks.tiny import Squares
with Path(__file__).with_suffix(".log").open("a") as log:
    log.write("run")

class Mine(Squares):
    """A task."""
    name = "mine"
'''


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tabel1", "No study named 'tabel1'. Did you mean 'table1'? Known: "),
        ("table1 --suite mikro", "No suite named 'mikro'. Did you mean 'micro'?"),
        ("table1 --methods lora", "Study table1 decides --methods itself. Drop it, or use bench run."),
        ("table2 --connector full", "Study table2 decides --connector itself"),
        ("table3 --tuned", "Study table3 decides --tuned itself"),
        (
            "tableI --set lorasculpt.beta=1",
            "--set lorasculpt.beta=1 is not possible because study tableI decides hyperparameters and connector",
        ),
        ("table2 --set recipe.connector=lora", "study table2 decides hyperparameters and connector itself"),
        ("table1 --set recipe.updates=0", "recipe.updates is 0; give a number from 1"),
        ("table1 --ranks 512", "Rank 512 is too large for the model of suite micro"),
        ("table1 --targets icon_chioce", "No task named 'icon_chioce'. Did you mean 'icon_choice'?"),
        ("table1 --ranks ,", "--ranks is empty"),
        ("table1 --targets ,", "--targets or --sources is empty"),
        ("table1 --limit 0", "--limit has 0"),
        ("table1 --lanes -1", "--lanes is -1"),
    ],
)
def test_bad_input_is_one_line_and_starts_nothing(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "runs"

    code = main(["study", *words.split(), "--output", str(output)])

    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not output.exists()


def test_tasks_are_read_with_their_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, "iconqa")
    monkeypatch.setattr("bench.cli.run.tell_unknown_words", lambda asked: None)  # micro stands in for LLaVA-1.5
    words = ["study", "table1", "--suite", "lorasculpt", "--targets", "iconqa", "--sources", "easy_vqa", "--dry-run"]
    words += ["--model", str(MICRO.folder), "--data", str(tmp_path), "--output", str(tmp_path / "runs")]

    assert main([*words, "--ranks", "2", "--set", "iconqa.expect=any"]) == 0
    assert main([*words, "--ranks", "2"]) == 1

    out, error = capsys.readouterr()
    assert "7 cells, 5 trainings" in out
    assert "not the official 18946" in error


@pytest.mark.parametrize(("lacking", "kind"), [("targets", "target"), ("sources", "source")])
def test_a_suite_without_the_tasks_that_a_study_needs_is_one_line(
    micro: Suite,
    lacking: str,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(suite.SUITES, "bare", replace(micro, name="bare", **{lacking: ()}))  # type: ignore[arg-type]

    code = main(["study", "table2", "--suite", "bare", "--output", str(tmp_path / "runs")])

    assert code == 2
    assert f"Study table2 needs a {kind} task, but suite bare has no {kind}." in capsys.readouterr().err


def test_the_studies_are_listed_with_what_they_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "ls"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][:4] == ["table1", "table2", "table3", "tableI"]
    assert "(ranks 16,32,64; all targets)" in lines[0]
    assert "(rank 64; first target)" in lines[1]


def test_a_dry_run_prints_the_plan_and_starts_nothing(
    micro: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "runs"

    assert main(["study", "table3", "--limit", "4", "--dry-run", "--output", str(output)]) == 0

    assert "8 cells, 8 trainings; cached: 0 of 9 trials" in capsys.readouterr().out
    assert not output.exists()


def test_a_plugin_file_is_run_once(micro: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN, encoding="utf-8")
    words = ["--limit", "4", "--dry-run", "--plugin", str(path), "--output", str(tmp_path / "runs")]

    assert main(["study", "table3", "--sources", "mine", *words]) == 0

    assert path.with_suffix(".log").read_text(encoding="utf-8") == "run"


def test_a_note_names_command_and_cells(planned: Planned, tmp_path: Path) -> None:
    plan, store = planned("table1 --limit 4 --ranks 16 --targets icon_choice"), Store(tmp_path / "runs")

    save_record(store.root, "table1", "bench study table1", plan)

    data = json.loads((store.root / "study.json").read_text(encoding="utf-8"))
    assert (data["study"], data["command"], data["suite"]) == ("table1", "bench study table1", "micro")
    assert [cell["method"] for cell in data["cells"]][:2] == ["lora", "dora"]


def test_the_trials_of_a_study_of_an_older_version_are_needed(tmp_path: Path) -> None:
    (tmp_path / "studies" / "table1").mkdir(parents=True)
    (tmp_path / "studies" / "table1" / "study.json").write_text('{"trials": ["0123456789ab"]}', encoding="utf-8")

    assert studied(Store(tmp_path)) == {"0123456789ab"}


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    (tmp_path / "studies" / "table1").mkdir(parents=True)
    (tmp_path / "studies" / "table1" / "study.json").write_text("{", encoding="utf-8")

    with pytest.raises(StoreError, match=r"study\.json is damaged .* run bench study again"):
        studied(Store(tmp_path))


@pytest.mark.slow
def test_figures_are_drawn_from_snapshots_and_changes_of_real_trainings(
    tiny_suite: Suite,
    tiny_tasks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    output = tmp_path / "runs"
    words = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--ranks", "2", "--lanes", "0", "--output", str(output)]

    curves, densities = main(["study", "fig3", *words]), main(["study", "fig5", *words])

    captured = capsys.readouterr()
    assert (curves, densities) == (0, 0)
    assert "9 cells, 2 trainings; cached: 0 of 10 trials" in captured.err
    assert "1 cell, 1 training; cached: 2 of 2 trials" in captured.err
    for name in ("fig3", "fig5"):
        (folder,) = output.glob(f"reports/study-{name}-tiny-r2-*")
        assert {path.suffix for path in folder.glob(f"{name}.*")} == {".png", ".svg", ".csv", ".md"}
    points = pd.read_csv(next(output.glob("reports/*/fig3.csv")))
    assert points["update"].dropna().tolist() == [2, 4, 6] * 3
    assert points["source"].notna().all()
    layers = pd.read_csv(next(output.glob("reports/*/fig5.csv")))
    assert len(layers) == 14  # seven in each of two blocks
    assert (layers["density"] > 0).all()
    assert "new_squares rank 2 seed 0: 14 layers" in captured.out


@pytest.mark.slow
def test_two_studies_share_their_trials_and_leave_no_table_of_a_run(
    tiny_suite: Suite,
    tiny_tasks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    output = tmp_path / "runs"

    def study(name: str, *more: str) -> tuple[str, str]:
        words = [
            "--suite",
            "tiny",
            "--plugin",
            str(tiny_tasks),
            "--ranks",
            "2",
            "--lanes",
            "0",
            "--output",
            str(output),
        ]
        assert main(["study", name, *words, *more]) == 0
        return capsys.readouterr()

    first = study("table3")
    of_table3 = min(output.glob("lorasculpt-*/record.json"))
    second, again = study("table2"), study("table3")

    assert "4 cells, 4 trainings; cached: 0 of 5 trials" in first[1]
    assert "5 cells, 5 trainings; cached: 3 of 6 trials, 2 of 5 trainings" in second[1]
    assert "cached: 5 of 5 trials, 4 of 4 trainings" in again[1]
    assert "lorasculpt rkh" in " ".join(first[0].split())
    assert "The paper's table lacks the row rkh" in " ".join(first[0].split())
    assert first[0] == again[0]
    reports = {f"leaderboard.{suffix}" for suffix in ("csv", "json", "md", "parquet", "tex", "txt")}
    reports |= {"scores.parquet", "index.html", "files"}
    (folder,) = output.glob("reports/study-table3-*")
    assert {path.name for path in folder.iterdir()} == {*reports, "command.json", "study.json", "table3.md"}
    (folder / "index.html").unlink()
    assert main(["report", "--run", folder.name, "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{folder / 'index.html'}\n"
    assert main(["leaderboard", "--output", str(output)]) == 2
    assert "has no run yet" in capsys.readouterr().err
    record = json.loads(of_table3.read_text(encoding="utf-8"))
    of_table3.write_text(
        json.dumps({**record, "environment": {**record["environment"], "torch": "1.0"}}), encoding="utf-8"
    )
    apart, mixed = study("table3")[0], study("table3", "--mix")[0]
    assert ("environments mixed (--mix)" in apart, "environments mixed (--mix)" in mixed) == (False, True)
    assert main(["clean", "--yes", "--output", str(output)]) == 0
    assert "Nothing to free." in capsys.readouterr().err
