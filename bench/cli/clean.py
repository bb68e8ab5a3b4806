"""``bench clean``: delete what no leaderboard, search or study needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.cli.arguments import Command, flag
from bench.cli.options import Cells, Output
from bench.cli.request import read_request
from bench.console import agreed, say
from bench.errors import UsageError
from bench.papers.study import studied
from bench.plan.baselines import make
from bench.sizes import in_unit
from bench.store import last_run
from bench.store.clean import free, waste
from bench.store.places import is_remote
from bench.store.run_folder import Store
from bench.store.search_results import search_results


@dataclass(frozen=True, kw_only=True)
class CleanOptions(Output, Command):
    """The options of ``bench clean``."""

    yes: bool = flag("do not ask for confirmation")


def clean(options: CleanOptions) -> int:
    """Delete what no leaderboard, search or study needs, after asking."""
    store = options.existing()
    if is_remote(store.root):
        raise UsageError(f"bench clean works only on a disk. Delete what you do not need in {options.output} yourself.")
    with store.locked():
        found = waste(store, _referenced(store, options.output))
        for item in found:
            print(f"{in_unit(item.bytes, 'MB'):>12}  {item.path}  ({item.reason})")
        total = sum(item.bytes for item in found)
        if not found:
            say("Nothing to free.")
            return 0
        if not options.yes and not agreed(f"Delete {len(found)} items, {in_unit(total, 'MB')}? [y/N] "):
            say("Nothing was deleted.")
            return 0
        free(found)
    say(f"Freed {in_unit(total, 'MB')}.")
    return 0


def _referenced(store: Store, output: Path) -> set[str]:
    """Return the ids of the trials that the last run, the searches and the studies need."""
    ran, found, ids = last_run.read(store), list(search_results(store.root)), studied(store)
    if ran is None and not found and not ids:
        raise UsageError(
            f"{store.root} has no run, search or study, so nothing says which trials are needed. Run bench run first."
        )
    tried = {trial for result, _ in found for item in result.configurations for trial in item.trials}
    for record in store.records():
        if record.trial.id in tried:
            ids |= {record.trial.id, *(trial.id for trial in record.trial.ancestors())}
    if ran is not None:
        ids |= {job.trial.id for job in make(read_request(Cells.selected(ran.selection), output), store).jobs}
    return ids
