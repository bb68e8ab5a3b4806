"""``bench check``: test plugins against the rules of their kind; ``bench check eval`` lies in ``check_eval``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from bench.cli.options import Command, Data, arg, several
from bench.cli.request import read_data
from bench.errors import UsageError
from bench.store.places import place

_EVAL = "bench check eval: the same answers at batch 1 and N, unmerged, in other dtypes"


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """The options of ``bench check eval`` alone."""

    suite: str | None = arg(None, "the suite whose tasks are asked (default: micro)", "NAME", group=_EVAL)
    model: str | None = arg(None, "another LLaVA checkpoint (default: the suite's)", "DIR|ID", group=_EVAL)
    limit: str | None = arg(None, "test examples a task (default: 100)", "N", group=_EVAL)
    batch: int | None = arg(None, "answers at once, held against one (default: 64)", "N", type=int, group=_EVAL)
    output: Path | None = arg(None, "run folder; what is found is kept there", "DIR|URL", type=place, group=_EVAL)
    trial: str | None = arg(None, "a trial of the run folder instead of the base model", "TRIAL", group=_EVAL)


@dataclass(frozen=True, kw_only=True)
class _Checked(Data):
    set: tuple[str, ...] = several("an option of a task; may be given several times", "TASK.FIELD=VALUE", str)


@dataclass(frozen=True, kw_only=True)
class CheckOptions(EvalOptions, _Checked, Command):
    """The options of ``bench check``."""

    names: tuple[str, ...] = arg(
        (),
        "plugins by name, or a file of plugins; eval: how far answers depend on the way they are generated",
        "NAME|FILE.py",
        positional=True,
        nargs="+",
    )


def check(options: CheckOptions) -> int:
    """Test plugins against the rules of their kind, or how far answers depend on the way they are generated."""
    if options.names == ("eval",):
        from bench.cli.check_eval import check_eval  # torch

        return check_eval(options)
    refuse_options(options)
    from bench.checks import run_checks

    tasks = read_data(options.data, options.set)
    failed = 0
    for name in options.names:
        for result in run_checks(name, tasks):
            failed += not result.passed
            print(result)
    return 1 if failed else 0


def refuse_options(options: EvalOptions) -> None:
    """Refuse the options of ``bench check eval`` if plugins are checked.

    Raises:
        UsageError: there is one.
    """
    for option in fields(EvalOptions):
        if getattr(options, option.name) != option.default:
            raise UsageError(f"--{option.name} is an option of bench check eval; plugins are checked without it.")
