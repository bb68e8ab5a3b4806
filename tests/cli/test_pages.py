"""The report pages that commands leave in a run folder."""

from __future__ import annotations

import platform
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.cli.options import Cells
from bench.cli.which_run import new_run
from bench.errors import PluginError
from bench.store.run_folder import Store
from bench.store.runs import latest_run, read_runs, save_run
from tests.making.searches import COMMAND, result

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


def test_a_run_with_rewind_ends_with_losses_and_curves_on_its_page(
    one_mlflow: None, tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--methods", "lora,dare", *tiny_words, "--rewind", "0.5", "--lanes", "0"]) == 0

    assert "was not written" not in capsys.readouterr().err
    (page,) = (tmp_path / "runs").glob("reports/*/index.html")
    html = page.read_text(encoding="utf-8")
    for section, rows in (("losses", 1), ("curves", 4)):
        start = html.index(f'<section id="{section}"')
        drawn = html[start : html.index("</section>", start)]
        assert len(re.findall(r'data-row="r\d+"', drawn)) == rows, section


def test_mlflow_has_the_table_and_the_report_of_a_run(two_runs: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()], "tags.kind = 'command'")
    files = {file.path for file in client.list_artifacts(runs[0].info.run_id)}

    assert {"rows.json", "leaderboard.json", "leaderboard.md", "source-target.png"} <= files
    table = client.load_table(runs[0].info.experiment_id, "rows.json", [runs[0].info.run_id])
    note = runs[0].data.tags["mlflow.note.content"]
    (noted,) = re.findall(r"^\| lora \| 2 \| \S+ ±\S+ \| \S+ ±\S+ \| \W*([\d.]+) ±", note, re.MULTILINE)
    assert f"{table.loc[table['method'].eq('lora') & table['variant'].eq(''), 'avg'].item():.2f}" == noted
    assert "| method | rank | Source | Target | Avg | lost | Avg - lora |" in note
    assert "| lora | 2 | " in note


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """A run folder whose latest command is a search of two methods, written by hand."""
    store = Store(tmp_path / "runs")
    store.prepare()
    cells = Cells(methods="lora,dare", ranks="4", targets="dot_count")
    found = (result("dare", target="dot_count"), result(target="dot_count"))
    for each in found:
        (folder := store.root / "search" / each.label).mkdir(parents=True)
        (folder / "search.json").write_text(each.text(), encoding="utf-8")
    note = replace(new_run("search", COMMAND, cells, "search"), methods=("lora", "dare"), finished=True)
    save_run(store, note)
    return store.root


def test_the_page_of_the_latest_search_can_be_written_again(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--output", str(searched)]) == 0

    printed = capsys.readouterr()
    (path,) = searched.glob("reports/search-*/index.html")
    assert printed.out == f"{path}\n"
    assert "the latest command" in printed.err
    html = path.read_text(encoding="utf-8")
    assert html.index("lora, rank 4, dot_count") < html.index("dare, rank 4, dot_count")  # as the command names them
    assert "bench run --methods lora,dare --ranks 4 --targets dot_count --tuned --output …/runs" in html
    assert {each.name for each in path.parent.glob("fronts.*")} == {"fronts.csv", "fronts.png", "fronts.svg"}
    address = (searched / "report" / "index.html").read_text(encoding="utf-8")
    assert f"../reports/{path.parent.name}/index.html" in address


def test_a_search_whose_results_are_gone_or_that_is_not_finished_has_no_page(
    searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (note,) = read_runs(Store(searched))
    words = ["report", "--run", note.name, "--output", str(searched)]
    assert main([*words, "--sort", "avg"]) == 2
    assert "--sort is an option of a leaderboard" in capsys.readouterr().err
    shutil.rmtree(searched / "search")
    assert main(words) == 2
    assert "were replaced by a later search" in capsys.readouterr().err
    save_run(Store(searched), replace(note, finished=False))
    assert main(words) == 2
    assert f"is not finished. Run its command again: {COMMAND}" in " ".join(capsys.readouterr().err.split())
    assert main(["report", "--output", str(searched)]) == 2  # an unfinished search is not taken without its name
