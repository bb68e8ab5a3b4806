"""A fault of a plugin is told with the last line of its own file and the hook that was called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch import Tensor

from bench import Step
from bench.errors import DataError, TrialError
from bench.methods.lora import LoRA
from bench.plugins.faults import explained, hooks
from bench.plugins.registry import run_file

HELPER = """
def penalty(self, step):
    return _term({})

def _term(found):
    return next(iter(found))["norm"]

def refuse():
    from bench import DataError
    raise DataError("No such file.")
"""


def raised(path: Path, name: str, *arguments: object) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  what is raised is what is tested
        getattr(run_file(path), name)(*arguments)
    return caught.value


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    (path := tmp_path / "mine.py").write_text(HELPER, encoding="utf-8")
    return path


def test_the_line_is_the_deepest_and_the_hook_is_the_one_that_was_called(helper: Path) -> None:
    assert explained(raised(helper, "penalty", None, None)) == "mine.py:6 in penalty: StopIteration: StopIteration"


def test_an_error_that_was_raised_on_purpose_speaks_for_itself(helper: Path) -> None:
    error = raised(helper, "refuse")

    assert isinstance(error, DataError)
    assert explained(error) == "No such file."


def test_an_error_of_a_trial_names_the_hook_that_is_to_blame() -> None:
    class Steep(LoRA):  # type: ignore[misc]
        def penalty(self, step: Step) -> Tensor | None:
            raise NotImplementedError

    error = TrialError("The penalty is nan.")
    assert explained(error, Steep) == "The penalty is nan."

    error.hook = "penalty"
    assert re.fullmatch(r"test_faults\.py:\d+ in penalty: The penalty is nan\.", explained(error, Steep))
    assert explained(error) == "The penalty is nan."


def test_an_error_of_the_engine_names_no_plugin() -> None:
    assert explained(ValueError("too\nlong")) == "ValueError: too long"


def test_the_hooks_are_those_of_methods_and_tasks() -> None:
    assert {"adapt", "penalty", "edit", "memory", "examples", "score"} < hooks()
    assert not {"metric", "name"} & hooks()
