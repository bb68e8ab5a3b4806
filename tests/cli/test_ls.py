"""What ``bench ls`` says of methods, tasks, suites, trials and runs, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.plugins.registry import Registry

ODD = """
from dataclasses import dataclass, field
from typing import ClassVar

from bench.methods.lora import LoRA


@dataclass(kw_only=True)
class Odd(LoRA):
    name: ClassVar[str] = "odd"
    paper: ClassVar[str] = "none"
    parts: list = field(default_factory=lambda: [1, 2])
"""


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["ls", *words, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["method", "task"])
def test_every_plugin_is_listed_with_its_paper_and_its_fields(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, f"{kind}s")

    assert [each["name"] for each in found] == list(Registry().names(kind))
    assert all(each["paper"] and each["about"] for each in found)
    if kind == "method":
        fields = {each["name"]: {field["name"] for field in each["fields"]} for each in found}
        assert {"alpha", "beta", "omega", "density"} <= fields["lorasculpt"]
        kinds = {each["name"]: each["kind"] for each in found}
        assert (kinds["lora"], kinds["dare"], kinds["zero_shot"]) == ("trains", "edits lora", "reference")


def test_a_method_is_shown_with_defaults_and_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "methods", "lorasculpt"]) == 0

    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in capsys.readouterr().out.splitlines() if line}
    assert lines["paper"].startswith("Liang et al.")
    assert lines["in"] == "paper, all"
    assert lines["beta"] == "1e-05 at least 0 1e-06 to 0.01, log"
    assert lines["cmr_reduction"] == "mean mean, sum -"


def test_a_suite_is_shown_with_its_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "suites", "micro")

    assert found["targets"] == ["icon_choice", "scene_caption"]
    assert found["recipe"]["updates"] == 150
    assert found["settings"] == {"lorasculpt.warmup": 0.5}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["methods", "LoRASculp"], "No method named 'LoRASculp'. Did you mean 'lorasculpt'?"),
        (["suites", "mikro"], "No suite named 'mikro'. Did you mean 'micro'?"),
        (["trials", "lora"], "bench ls trials lists all trials. Drop lora, or use bench show."),
    ],
)
def test_a_name_that_cannot_be_shown_is_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ls", *words]) == 2

    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_trials_and_runs_are_json_too(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    trials = printed(capsys, "trials", "--output", str(two_runs))
    runs = printed(capsys, "runs", "--output", str(two_runs))

    assert {each["label"]: each["status"] for each in trials}["lora-r2-new_squares-s0"] == "done"
    assert [each["finished_cells"] for each in runs] == [2, 1]
    assert main(["show", "lora-r2-new_squares-s0", "--format", "json", "--output", str(two_runs)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["id"] in {each["id"] for each in trials}
    words = ["--suite", "tiny", "--run", "latest", "--output", str(two_runs), "--format", "json"]
    assert main(["leaderboard", *words[2:]]) == 0
    board = json.loads(capsys.readouterr().out)
    assert (board["schema"], board["kind"]) == (2, "leaderboard")
    assert [row["method"] for row in board["tables"][0]["rows"]] == ["zero_shot", "lora"]


def test_a_field_without_a_plain_default_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "odd.py").write_text(ODD, encoding="utf-8")

    found = printed(capsys, "methods", "odd", "--plugin", str(tmp_path / "odd.py"))

    assert {field["name"]: field["default"] for field in found["fields"]}["parts"] == "[1, 2]"
