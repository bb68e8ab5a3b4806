"""``bench clean``: delete leftovers, and with ``--trials`` finished trials that no run or other command needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cli.arguments import Command, flag
from bench.cli.options import Output
from bench.cli.which_run import every_run, planned
from bench.console import agreed, say
from bench.errors import UsageError
from bench.papers.study import studied
from bench.sizes import in_unit, readable_time
from bench.store.clean import Used, Waste, free, freed_bytes, leftovers, unused
from bench.store.places import is_remote
from bench.store.run_folder import Store
from bench.store.search_results import search_results
from bench.track import ARTIFACTS


@dataclass(frozen=True, kw_only=True)
class CleanOptions(Output, Command):
    """The options of ``bench clean``."""

    trials: bool = flag(
        "also delete finished trials that no run, search, study or sequence needs, and MLflow's links to them"
    )
    yes: bool = flag("do not ask for confirmation")


def clean(options: CleanOptions) -> int:
    """Delete leftovers, and with ``--trials`` finished trials that nothing needs, after asking."""
    store = options.existing()
    if is_remote(store.root):
        raise UsageError(f"bench clean works only on a disk. Delete what you do not need in {options.output} yourself.")
    with store.locked():
        used = _used(store, options.output)
        trials = unused(store, used, store.root / ARTIFACTS)
        chosen = trials if options.trials else []
        folders = {item.path for item in chosen}
        left = [item for item in leftovers(store, used) if not folders.intersection((item.path, *item.path.parents))]
        for line in _lines(left, chosen):
            print(line)
        if not options.trials and trials:
            say(f"No run, search or study needs {_trials_text(trials)}. bench clean --trials offers to delete them.")
        if not (left or chosen):
            say("Nothing to free.")
            return 0
        total = freed_bytes([*left, *chosen])
        if not options.yes and not agreed(f"Delete {_what(left, chosen)}? [y/N] "):
            say("Nothing was deleted.")
            return 0
        free([*left, *chosen])
    say(f"Freed {in_unit(total, 'MB')}.")
    return 0


def _lines(left: Sequence[Waste], trials: Sequence[Waste]) -> Iterator[str]:
    """Yield a line per item: the bytes that it frees, the time of its training, its path and the reason."""
    for item in (*left, *trials):
        took = f"{readable_time(item.seconds):>10}" if trials else ""
        yield f"{in_unit(freed_bytes([item]), 'MB'):>12}{took}  {item.path}  ({item.reason})"


def _what(left: Sequence[Waste], trials: Sequence[Waste]) -> str:
    """Return what a question asks about."""
    parts = [f"{_count(len(left), 'leftover')}, {in_unit(freed_bytes(left), 'MB')}"] if left else []
    return ", and ".join([*parts, *([_trials_text(trials)] if trials else [])])


def _trials_text(trials: Sequence[Waste]) -> str:
    """Return the number of trials, the time of their training, and the bytes that deleting them frees."""
    older = sum(item.is_older for item in trials)
    text = f"{_count(len(trials), 'finished trial')}{f' ({older} of an older version)' if older else ''}"
    seconds = sum(item.seconds for item in trials)
    return f"{text}, {readable_time(seconds)} of training, {in_unit(freed_bytes(trials), 'MB')}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _used(store: Store, output: Path) -> Used:
    """Return the trials that the runs, searches and studies of a run folder need, with the parents that they edit.

    Raises:
        UsageError: there is no run, search, study or sequence.
    """
    runs = [planned(run, store, output) if run.is_old else run for run in every_run(store)]
    results, ids = list(search_results(store.root)), studied(store)
    if not (runs or results or ids):
        raise UsageError(
            f"{store.root} has no run, search, study or sequence, so nothing says which trials are needed. "
            "Run bench run first."
        )
    ids |= {trial for run in runs for trial in run.trials}
    tried = [item for result, _ in results for item in result.configurations]
    ids |= {trial for item in tried for trial in item.trials}
    stopped = frozenset(trial for item in tried if item.state == "stopped" for trial in item.trials)
    for record in store.records():
        if record.trial.id in ids:
            ids |= {trial.id for trial in record.trial.ancestors()}
    labels = frozenset(label for run in runs if not run.finished for label in run.labels)
    unknown = any(run.is_old and not run.trials for run in runs)
    return Used(frozenset(ids), labels, stopped, everything=unknown)
