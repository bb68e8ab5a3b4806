from pathlib import Path

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
    path.write_text(PLUGIN)

    request = start_request(Cells(methods="lora", targets="mine", plugin=(path,)), tmp_path / "runs")

    assert path.with_suffix(".log").read_text() == "run"
    assert request.registry.files == (path,)


def test_reading_a_request_leaves_no_trace_in_the_next(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    read_request(Cells(methods="lora", targets="mine", plugin=(path,), data=tmp_path), tmp_path / "runs")

    request = read_request(Cells(methods="lora"), tmp_path / "runs")

    assert "mine" not in request.registry.names("task")
    assert request.tasks.reading.root != tmp_path
