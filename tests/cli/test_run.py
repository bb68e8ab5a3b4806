"""What ``bench run`` says at its end of the methods that it left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import run
from bench.cli.main import main
from bench.prepare.price import others


@pytest.fixture
def _instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Carry nothing out, and name the addition by its methods."""
    monkeypatch.setattr(run, "carry_out", lambda *_: 0)
    monkeypatch.setattr(
        others, "addition", lambda paper, every, *_: f"more: {len(every.request.methods) > len(paper.request.methods)}"
    )


@pytest.mark.usefixtures("_instant")
@pytest.mark.parametrize("words", [[], ["--methods", "paper"]])
def test_a_run_of_the_papers_methods_says_what_all_adds(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words, "--output", str(tmp_path)]) == 0

    assert "more: True" in capsys.readouterr().err


@pytest.mark.usefixtures("_instant")
@pytest.mark.parametrize("words", [["--methods", "all"], ["--methods", "paper,lines"], ["--dry-run"], ["--tuned"]])
def test_another_run_does_not_say_it(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *words, "--output", str(tmp_path)]) == 0

    assert "more:" not in capsys.readouterr().err
