from pathlib import Path

import pytest

from bench.cli.options import Cells
from bench.cli.request import read_request, start_request

PLUGIN = '''
from pathlib import Path
from bench.checks.tiny import Squares
with Path(__file__).with_suffix(".log").open("a") as log:
    log.write("run")

class Mine(Squares):
    """A task."""
    name = "mine"
'''


def test_a_plugin_file_is_run_once_when_a_command_starts(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN, encoding="utf-8")

    request = start_request(Cells(methods="lora", targets="mine", plugin=(path,)), tmp_path / "runs")

    assert path.with_suffix(".log").read_text(encoding="utf-8") == "run"
    assert request.registry.files == (path,)


def test_reading_a_request_leaves_no_trace_in_the_next(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN, encoding="utf-8")
    read_request(Cells(methods="lora", targets="mine", plugin=(path,), data=tmp_path), tmp_path / "runs")

    request = read_request(Cells(methods="lora"), tmp_path / "runs")

    assert "mine" not in request.registry.names("task")
    assert request.tasks.reading.root != tmp_path


def test_methods_without_a_shipped_choice_run_untuned_and_say_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = Cells(methods="lora,orth_reg,lorasculpt", ranks="32", targets="icon_choice", tuned="")

    request = read_request(cells, tmp_path / "runs")

    assert set(request.tuned) == {("lora", 32, "icon_choice")}
    assert capsys.readouterr().err.splitlines() == [
        f"--tuned: {name} runs untuned, because its defaults and search ranges have changed since the shipped table "
        "was made."
        for name in ("orth_reg", "lorasculpt")
    ]
