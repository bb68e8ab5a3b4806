"""What the questions of the separate process print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.plan.suite import SUITES
from bench.prepare.doctor import questions
from tests.layouts import write_files


def test_a_model_is_asked_for_where_it_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions.model(str(tmp_path))
    questions.model(str(tmp_path / "gone"))
    questions.model(str(SUITES["micro"].folder))

    empty, gone, micro = map(json.loads, capsys.readouterr().out.splitlines())
    assert empty["folder"] == str(tmp_path)
    assert "no config.json" in empty["refused"]
    assert "is not a folder" in gone["trouble"]
    assert micro == {"folder": str(SUITES["micro"].folder), "refused": ""}


def test_data_that_are_not_the_official_ones_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path, "iconqa")

    questions.tasks(f'{{"root": "{tmp_path}", "skip_bad": 0, "tasks": {{}}}}', "iconqa")

    assert "not the official 6316" in capsys.readouterr().out
