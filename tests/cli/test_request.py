import itertools
import json
from pathlib import Path

import pytest

from bench.cli.options import Cells
from bench.cli.request import read_request, start_request
from bench.errors import UsageError
from bench.plan.suite import MICRO
from bench.plugins.groups import all_methods, paper_methods
from bench.plugins.registry import Registry

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


def test_methods_that_a_search_leaves_out_run_untuned_and_say_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = json.loads(Path(str(MICRO.tuned)).read_text(encoding="utf-8"))
    rows = [row for row in shipped["chosen"] if row["method"] != "mixlora"]
    file = tmp_path / "search.json"
    file.write_text(json.dumps({"chosen": rows, "left_out": {"mixlora": "nobody searched it"}}), encoding="utf-8")
    cells = Cells(methods="lora,mdgd,mixlora", ranks="32", targets="icon_choice", tuned=str(file))

    request = read_request(cells, tmp_path / "runs")

    assert set(request.tuned) == {(name, 32, "icon_choice") for name in ("lora", "mdgd")}
    assert capsys.readouterr().err.splitlines() == ["--tuned: mixlora runs untuned, because nobody searched it."]


def test_the_shipped_table_has_every_ranked_method_with_the_same_number_of_tries(tmp_path: Path) -> None:
    cells = Cells(methods="all", ranks="16,32,64", tuned="")

    request = read_request(cells, tmp_path / "runs")

    places = itertools.product(all_methods(Registry()), (16, 32, 64), MICRO.targets)
    assert {key: choice.tries for key, choice in request.tuned.items()} == dict.fromkeys(places, 8)


def test_the_methods_of_a_command_are_the_papers_unless_it_names_others(tmp_path: Path) -> None:
    assert read_request(Cells(), tmp_path).methods == paper_methods(Registry())
    assert read_request(Cells(methods="all"), tmp_path).methods == all_methods(Registry())


@pytest.mark.parametrize(
    ("words", "last"), [("paper,rewind", "rewind"), ("paper, lines", "lines"), ("paper,dare,magnitude", "magnitude")]
)
def test_words_and_names_are_mixed_and_each_method_counts_once(words: str, last: str, tmp_path: Path) -> None:
    assert read_request(Cells(methods=words), tmp_path).methods == (*paper_methods(Registry()), last)


def test_installed_is_mixed_with_names_too(tmp_path: Path) -> None:
    found = read_request(Cells(methods="rewind,installed"), tmp_path).methods

    assert found[0] == "rewind"
    assert {*found} >= {*all_methods(Registry()), "magnitude"}


@pytest.mark.parametrize(("word", "meant"), [("papr", "paper"), ("instaled", "installed"), ("lorra", "lora")])
def test_a_word_that_names_no_method_gets_the_nearest_word_or_name(word: str, meant: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"No method named '{word}'. Did you mean '{meant}'"):
        read_request(Cells(methods=word), tmp_path)
