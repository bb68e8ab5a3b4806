"""``bench ls``: list methods, tasks, suites, or the trials of a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from bench.cli.arguments import Command, arg
from bench.cli.options import Output
from bench.cli.reports import older_trials
from bench.console import say
from bench.plan.suite import SUITES
from bench.plugins.registry import Registry
from bench.store.run_folder import Store


@dataclass(frozen=True, kw_only=True)
class LsOptions(Output, Command):
    """The options of ``bench ls``."""

    what: str = arg(
        "methods",
        "what to list (default: methods)",
        choices=("methods", "tasks", "suites", "trials"),
        positional=True,
        nargs="?",
    )


def ls(options: LsOptions) -> int:
    """List methods, tasks, suites, or the trials of a run folder."""
    lists: dict[str, Callable[[], Iterable[str]]] = {
        "methods": lambda: Registry().names("method"),
        "tasks": lambda: Registry().names("task"),
        "suites": lambda: sorted(SUITES),
        "trials": lambda: _trial_lines(options.existing()),
    }
    for line in lists[options.what]():
        print(line)
    return 0


def _trial_lines(store: Store) -> Iterator[str]:
    older = 0
    for record in store.records():
        seconds = record.cost.train_seconds + record.cost.evaluate_seconds
        version = f"  (version {record.trial.version})" if record.trial.is_older else ""
        yield f"{record.trial.id}  {record.status:6}  {seconds:7.1f} s  {record.trial.label}{version}"
        older += record.trial.is_older
    if older:
        say(older_trials(older))
