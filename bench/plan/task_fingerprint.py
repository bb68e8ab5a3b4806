"""The fingerprint of a task's examples, here and in another process, which loads no torch."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

from bench.errors import PluginError
from bench.plan.fingerprint import of_examples
from bench.plugins.examples import read_examples, spread
from bench.plugins.registry import run_file
from bench.plugins.task import SPLITS, Reading, Task
from bench.plugins.tasks import Tasks

SAMPLE = 200  # examples of each split that are fingerprinted, and that checks score and prompt


def fingerprint_of(plugin: type[Task], tasks: Tasks | None = None) -> str:
    """Return the fingerprint of a new instance of a task, from a sample of each split."""
    task = (tasks or Tasks()).new(plugin)
    digests = []
    for split in SPLITS:
        examples = read_examples(task, split)
        sample = spread(examples, SAMPLE)
        digests.append(f"{len(examples)} {of_examples(sample, [task.prompt(e) for e in sample])}")
    return " ".join(digests)


def fingerprint_elsewhere(plugin: type[Task], tasks: Tasks | None = None) -> str:
    """Return a task's fingerprint as another process with another hash seed computes it.

    Raises:
        PluginError: the other process cannot read the task.
    """
    tasks = tasks or Tasks()
    reads = json.dumps([str(tasks.reading.root), tasks.reading.skip_bad, tasks.settings])
    arguments = (plugin.__module__, inspect.getfile(plugin), plugin.__qualname__, reads)
    code = f"from bench.plan.task_fingerprint import print_fingerprint; print_fingerprint(*{arguments!r})"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:]
        raise PluginError(f"Another process cannot read {plugin.name}: {' '.join(reason)}.")
    return done.stdout


def print_fingerprint(module: str, file: str, name: str, reads: str) -> None:
    """Write a task's fingerprint to stdout; ``fingerprint_elsewhere`` runs this in another process."""
    root, skip_bad, settings = json.loads(reads)
    tasks = Tasks(reading=Reading(Path(root), skip_bad), settings=settings)
    try:
        plugin = getattr(importlib.import_module(module), name)
    except ImportError:  # the plugin is not installed: it is a file given by path
        plugin = getattr(run_file(Path(file)), name)
    sys.stdout.write(fingerprint_of(plugin, tasks))
