"""``bench check``: test plugins. ``bench check eval`` is in ``check_eval``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.cli.arguments import Command, arg
from bench.cli.options import TaskData
from bench.cli.request import read_data
from bench.errors import UsageError
from bench.store.places import place

_EVAL = "bench check eval: compare answers at batch 1 and N, merged and unmerged, in three dtypes"


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """The options that only ``bench check eval`` takes."""

    suite: str = arg("micro", "the suite whose tasks are evaluated (default: micro)", "NAME", group=_EVAL)
    model: str | None = arg(
        None, "LLaVA checkpoint: a folder or a hub id (default: the suite's)", "DIR|ID", group=_EVAL
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
    from bench.checks import run_checks

    tasks = read_data(options)
    failed = 0
    for name in options.names:
        for result in run_checks(name, tasks):
            failed += not result.passed
            print(result)
    return 1 if failed else 0
