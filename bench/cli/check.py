"""``bench check``: test plugins. ``bench check eval`` is in ``check_eval``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path

from bench.cli.arguments import Command, arg
from bench.cli.options import TaskData
from bench.cli.request import read_data
from bench.errors import PluginError, UsageError
from bench.plan.suite import Suite, named_suite
from bench.plugins.tasks import Tasks
from bench.store.places import place

_EVAL = "bench check eval: compare answers at batch 1 and N, prefixes shared and whole, merged or not, three dtypes"


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """The options that only ``bench check eval`` takes."""

    model: str | None = arg(
        None, "LLaVA checkpoint: a folder or a hub id (default: the suite's)", "DIR|ID", type=expanduser, group=_EVAL
    )
    limit: str = arg("100", "test examples per task (default: 100)", "N", group=_EVAL)
    batch: int = arg(64, "batch size to compare with batch size 1 (default: 64)", "N", group=_EVAL)
    output: Path | None = arg(
        None, "run folder to store the result in (default: not stored)", "DIR|URL", type=place, group=_EVAL
    )
    trial: str | None = arg(
        None, "the trial of the run folder to check (default: the base model)", "TRIAL", group=_EVAL
    )


@dataclass(frozen=True, kw_only=True)
class CheckOptions(EvalOptions, TaskData, Command):
    """The options of ``bench check``."""

    suite: str = arg(
        "micro", "the suite whose base model must know a task's words; with eval, its tasks (default: micro)", "NAME"
    )

    names: tuple[str, ...] = arg(
        (),
        "plugin names or files; the word eval instead compares answers (below)",
        "NAME|FILE.py",
        positional=True,
        nargs="+",
    )


def check(options: CheckOptions) -> int:
    """Test plugins, or test whether answers change with batch size, merging or dtype."""
    if options.names == ("eval",):
        from bench.cli.check_eval import check_eval  # imports torch

        return check_eval(options)
    for name in options.chosen(EvalOptions):
        raise UsageError(f"--{name} is an option of bench check eval. Drop it to check plugins.")
    tasks, suite, counts = read_data(options), named_suite(options.suite), Counter[str]()
    for name in options.names:
        counts += _checked(name, tasks, suite)
    print(_summary(counts))
    return 1 if counts["failed"] else 0


def _checked(name: str, tasks: Tasks, suite: Suite) -> Counter[str]:
    """Run all checks of a plugin or file and print each fault once; return how many passed, failed and did not run."""
    from bench.checks import Result, run_checks

    counts, faults = Counter[str](), Counter[tuple[str, str]]()
    try:
        for result in run_checks(name, tasks, suite):
            counts["not run" if not result.ran else "passed" if result.passed else "failed"] += 1
            faults[fault := (result.plugin, result.message)] += 1
            if result.ran and (result.passed or faults[fault] == 1):
                print(result, flush=True)
    except PluginError as error:
        print(Result(name, "can_be_loaded", False, f"{error} No other check of it was run.", 0.0))
        counts["failed"] += 1
    for (plugin, message), count in faults.items():
        if message and count > 1:
            more = "1 more check" if count == 2 else f"{count - 1} more checks"
            print(f"FAIL  {plugin}  and {more}: {message.partition(': ')[0]}")
    return counts


def _summary(counts: Counter[str]) -> str:
    """Return the last line: how many checks failed, or that all passed."""
    failed, total = counts["failed"], counts.total()
    text = f"{failed} of {total} failed" if failed else f"{total} passed"
    return f"{text}, {counts['not run']} not run" if counts["not run"] else text
