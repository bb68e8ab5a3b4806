"""``bench search --dry-run``: print what a search would do, and how long it takes if the speed is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from bench.lanes.setup import Launch
from bench.plan.chains import ChainRequest
from bench.plan.request import Request
from bench.prepare.price.measured import measured, this_machine
from bench.prepare.price.rates import here
from bench.prepare.price.work import Todo, declared, lane_count, todo, wall_seconds
from bench.search.outlook import Outlook, outlooks
from bench.search.run import wanted_spaces
from bench.search.settings import SearchSettings
from bench.sizes import readable_time
from bench.store.run_folder import Store
from bench.text import counted, text_table


def plan_lines(wanted: Request | ChainRequest, setting: SearchSettings, store: Store, launch: Launch) -> Iterator[str]:
    """Yield the lines of the plan of a search.

    Raises:
        UsageError: a method has nothing to search, or a field is not one of a method.
    """
    found = outlooks(wanted, wanted_spaces(wanted, setting), setting, store)
    work, left = list(_work(found)), sum(each.left for each in found)
    searches = f"{len(found)} search{'es' * (len(found) != 1)}"
    yield (
        f"{searches} of {counted(setting.trials, 'configuration')} each: {left} left, "
        f"with at most {counted(sum(item.trains for item in work), 'training')}"
    )
    rows = [
        (
            f"  {each.subject.label}",
            str(each.tried),
            str(each.left),
            str(each.trainings),
            ", ".join(each.space.searched),
        )
        for each in found
    ]
    yield from text_table([("", "tried", "left", "trainings", "searched"), *rows], left={0, 4})
    if left:
        yield _time(found, work, store, launch)


def _time(found: Sequence[Outlook], work: Sequence[Todo], store: Store, launch: Launch) -> str:
    """Return a sentence on the time that is left."""
    request = found[0].subject.request
    slowdown = partial(declared, request)
    rates = measured(store.records(), found[0].first.zero_shot.model, this_machine(), slowdown)
    if rates is None:
        return "Time: not known, because no finished training of this run folder shows the speed of this machine."
    lanes = lane_count(here(), launch.resources.workers, launch.lanes)
    seconds = wall_seconds(work, rates, launch.resources.workers, lanes)
    return f"Time: at most about {readable_time(seconds)} with {counted(lanes, 'lane')}; early stops make it shorter."


def _work(found: Sequence[Outlook]) -> Iterator[Todo]:
    """Yield what is left to do of all configurations; what they share is done once."""
    shared = set[str]()
    for each in found:
        if not each.left:
            continue
        first, other = todo(each.first), todo(each.another)
        both = {item.trial.id for item in first} & {item.trial.id for item in other}
        for item in first:
            if item.trial.id in both - shared or (item.trial.id not in both and not each.tried):
                shared.add(item.trial.id)
                yield item
        own = [item for item in other if item.trial.id not in both]
        for _ in range(each.left - (not each.tried)):
            yield from own
