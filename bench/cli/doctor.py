"""``bench doctor``: check everything that a run needs, and say what to fix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.cli.arguments import Command, arg
from bench.cli.options import Modelled, Suited, TaskData, TextOrJson
from bench.cli.request import read_data
from bench.console import say, tell
from bench.errors import UsageError
from bench.file_digests import cache_folder
from bench.lanes import cluster
from bench.plan.suite import Suite, named_suite
from bench.plugins.tasks import Tasks
from bench.prepare.doctor import accelerator, machine, model_and_data, services, software
from bench.prepare.doctor.diagnosis import Diagnosis
from bench.store.json_note import json_text

_RAY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(TextOrJson, TaskData, Modelled, Suited, Command):
    """The options of ``bench doctor``; they describe the run to check for."""

    suite: str = arg("micro", "the suite to check (default: micro)", "NAME")
    skip_bad: int = arg(0, "tolerate up to N broken records per split (default: 0)", "N", least=0)
    output: str = arg(
        "runs", "run folder (default: $BENCH_OUTPUT, else runs)", "DIR|URL", type=str, variable="BENCH_OUTPUT"
    )
    storage: str | None = arg(None, "Optuna storage of searches (default: a file in --output)", "URL")
    address: str | None = arg(None, "a running Ray cluster (default: Ray on this machine)", "auto|HOST:PORT")
    ray: float | None = arg(
        None,
        f"also start Ray, or join --address, and wait up to SECONDS for it ({_RAY_SECONDS:g} if not given)",
        "SECONDS",
        nargs="?",
        type=float,
        const=_RAY_SECONDS,
    )


def doctor(options: DoctorOptions) -> int:
    """Print what works and what to fix, and return 1 if something failed."""
    if options.ray is not None and options.ray <= 0:
        raise UsageError(f"--ray is {options.ray:g}; give more than 0 seconds.")
    cluster.check_address(options.address, None)
    suite = named_suite(options.suite)
    tasks = read_data(options, options.skip_bad)
    if options.model is not None:
        suite = replace(suite, model=options.model)
    counts = {"ok": 0, "warn": 0, "FAIL": 0}
    found = []
    for diagnosis in _diagnoses(options, suite, tasks):
        counts[diagnosis.level] += 1
        found.append(asdict(diagnosis))
        if options.format == "text":
            tell([str(diagnosis)])
    if options.format == "json":
        print(json_text(found))
    warnings, failures = counts["warn"], counts["FAIL"]
    say(f"{counts['ok']} ok, {warnings} warning{'s' * (warnings != 1)}, {failures} failure{'s' * (failures != 1)}")
    return 1 if counts["FAIL"] else 0


def _diagnoses(options: DoctorOptions, suite: Suite, tasks: Tasks) -> Iterator[Diagnosis]:
    """Yield every diagnosis as soon as it is made."""
    data = tasks.reading.root
    yield from software.check()
    yield from accelerator.check(suite.name, suite.recipe.train_dtype)
    yield from machine.check(options.output, data, _hub_cache(), cache_folder())
    yield from model_and_data.check(suite, tasks.reading, tasks.settings)
    yield from services.check(options.output, options.storage, options.address, options.ray)


def _hub_cache() -> Path:
    """Return the folder of downloaded models."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HF_HOME") or cache / "huggingface")
