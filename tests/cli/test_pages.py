"""The report pages that commands leave in a run folder."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.errors import PluginError
from bench.store.run_folder import Store
from bench.store.runs import latest_run

pytestmark = pytest.mark.slow


def test_no_report_names_an_absolute_path_or_this_machine(two_runs: Path, tmp_path: Path) -> None:
    names = {"command.json", "latest.json"}  # the notes of runs, which resume from these paths
    files = [path for path in two_runs.glob("report*/**/*") if path.is_file() and path.name not in names]

    texts = {path: path.read_bytes() for path in files}

    assert {path.suffix for path in files} >= {".html", ".js", ".csv", ".md", ".tex", ".txt", ".png", ".svg"}
    for private in (str(tmp_path), f"{Path.home()}/", rf"\b{re.escape(platform.node())}\b"):
        found = re.compile(private.encode())
        assert [path for path, text in texts.items() if path.suffix != ".png" and found.search(text)] == []
    assert b"--output \xe2\x80\xa6/runs" in next(
        text for path, text in texts.items() if path.suffix == ".html" and b"<main" in text
    )


def test_the_latest_page_is_one_click_away(two_runs: Path) -> None:
    (address,) = re.findall(r'url=([^"]*)"', (two_runs / "report" / "index.html").read_text(encoding="utf-8"))

    page = (two_runs / "report" / address).resolve()
    assert page.is_file()
    assert page.parent.name == latest_run(Store(two_runs))


def test_a_page_can_be_written_again(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = two_runs.glob("reports/*dare*/index.html")
    path.unlink()

    assert main(["report", "--output", str(two_runs)]) == 0

    assert capsys.readouterr().out.endswith(f"{path}\n")
    assert path.is_file()


@pytest.mark.parametrize("error", [PluginError("old_squares is gone."), OSError("old_squares is gone.")])
def test_a_fault_of_the_page_does_not_fail_a_finished_run(
    error: Exception,
    one_mlflow: None,
    tiny_words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fault(*_: object) -> None:
        raise error

    monkeypatch.setattr("bench.page.build.changed_tasks", fault)

    assert main(["run", "--methods", "lora", *tiny_words, "--lanes", "0"]) == 0

    printed = capsys.readouterr()
    assert "target new_squares" in printed.out
    assert re.search(r"The report page was not written: (OSError: )?old_squares is gone\. Mend that, then", printed.err)
    assert "scores.parquet" in printed.err
    assert "Open " not in printed.err


def test_mlflow_has_the_table_and_the_report_of_a_run(two_runs: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()], "tags.kind = 'command'")
    files = {file.path for file in client.list_artifacts(runs[0].info.run_id)}

    assert {"rows.json", "leaderboard.json", "leaderboard.md", "source-target.png"} <= files
    table = client.load_table(runs[0].info.experiment_id, "rows.json", [runs[0].info.run_id])
    assert "avg" in table.columns
    note = runs[0].data.tags["mlflow.note.content"]
    assert "| method | rank | Source | Target | Avg | lost | Avg - lora |" in note
    assert "| lora | 2 | " in note
