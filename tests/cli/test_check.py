"""What ``bench check`` prints: each fault once, what did not run, and a count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import checks
from bench.checks import Result
from bench.cli.main import main
from bench.errors import PluginError

FAULT = "mine.py:13 in on_gradients: AttributeError: 'Adapter' object has no attribute 'grad'"

UNBUILT = """
from dataclasses import dataclass
from typing import ClassVar
from bench.methods.lora import LoRA

@dataclass(kw_only=True)
class Mine(LoRA):
    name: ClassVar[str] = "mine"
    paper: ClassVar[str] = "none"
    share: float
"""

Told = Callable[..., list[str]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """Return ``told(*results)``: the lines that bench check prints for these results, with the exit code first."""

    def lines(*results: Result | PluginError) -> list[str]:
        def run(*_: object) -> Iterator[Result]:
            for result in results:
                if isinstance(result, PluginError):
                    raise result
                yield result

        monkeypatch.setattr(checks, "run_checks", run)
        code = main(["check", "mine.py"])
        return [str(code), *capsys.readouterr().out.splitlines()]

    return lines


def test_a_fault_of_many_checks_is_told_once_with_their_number(told: Told) -> None:
    failed = [Result("mine", f"check_{number}", False, FAULT, 0.1) for number in range(12)]
    other = Result("mine", "check_name", False, "Another fault.", 0.0)

    lines = told(Result("mine", "check_first", True, "", 0.0), *failed, other)

    assert lines == [
        "1",
        "pass  mine  check_first  0.0 s",
        "FAIL  mine  check_0  0.1 s",
        f"      {FAULT}",
        "FAIL  mine  check_name  0.0 s",
        "      Another fault.",
        "FAIL  mine  and 11 more checks: mine.py:13 in on_gradients",
        "13 of 14 failed",
    ]


def test_the_last_line_counts_what_passed(told: Told) -> None:
    lines = told(*(Result("mine", f"check_{number}", True, "", 0.0) for number in range(20)))

    assert (lines[0], lines[-1]) == ("0", "20 passed")


def test_a_file_that_cannot_be_loaded_is_a_failed_check(told: Told) -> None:
    assert told(PluginError("mine.py:1: SyntaxError: invalid syntax.")) == [
        "1",
        "FAIL  mine.py  can_be_loaded  0.0 s",
        "      mine.py:1: SyntaxError: invalid syntax. No other check of it was run.",
        "1 of 1 failed",
    ]


def test_a_method_that_cannot_be_built_ends_its_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(UNBUILT, encoding="utf-8")

    assert main(["check", str(tmp_path / "mine.py")]) == 1

    *_, fault, last = capsys.readouterr().out.splitlines()
    assert "missing 1 required keyword-only argument: 'share'. Give every field a default." in fault
    assert last == "2 of 27 failed, 24 not run"  # it has no docstring either
