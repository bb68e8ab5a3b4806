"""Run a search: tune every method with the same budget on validation."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import product
from typing import Any

from bench.console import warn
from bench.lanes import lanes
from bench.lanes.broker import Event
from bench.lanes.progress import Progress
from bench.lanes.setup import Launch, lane_setup, note_data
from bench.plan.chains import ChainRequest
from bench.plan.chance import Counted, counted
from bench.plan.plan import asked as specs_of
from bench.plan.plan import base_trial, whole_work
from bench.plan.request import Request
from bench.plugins.hyperparameters import values
from bench.search import report
from bench.search.optuna_study import SearchStudy, check_storage
from bench.search.quest import Quest
from bench.search.results import provenance, quest_result, save_choices
from bench.search.settings import SearchSettings
from bench.search.space import Space, spaces
from bench.search.subject import ChainSubject, Subject
from bench.store.databases import database_url
from bench.store.places import is_remote
from bench.store.run_folder import Store
from bench.store.search_results import CHOICES, SearchResult, read_choices
from bench.values.canonical import digest
from bench.values.job import Job
from bench.values.trial import Scalar

_DATABASE = "search.db"


def quests(
    asked: Request | ChainRequest, found: Mapping[str, Space], store: Store, setting: SearchSettings
) -> tuple[Quest, ...]:
    """Return a quest for each method, rank and target, or for each chain; its study may be an earlier command's."""
    margin = setting.lead
    return tuple(Quest(each, _study(each, found[each.varied], setting), margin) for each in subjects(asked, store))


def requested(wanted: Request | ChainRequest) -> Request:
    """Return the request of a search, also of one of chains."""
    return wanted.request if isinstance(wanted, ChainRequest) else wanted


def subjects(asked: Request | ChainRequest, store: Store) -> Iterator[Subject]:
    """Return what is searched: each method, rank and target, or each chain."""
    return _chains(asked, store) if isinstance(asked, ChainRequest) else _cells(asked, store)


def _cells(request: Request, store: Store) -> Iterator[Subject]:
    for target, rank, method in product(request.targets, request.ranks, request.methods):
        yield Subject(replace(request, methods=(method,), ranks=(rank,), targets=(target,)), store)


def _chains(asked: ChainRequest, store: Store) -> Iterator[Subject]:
    for order, rank, chain in product(asked.orders, asked.request.ranks, asked.methods):
        one = replace(asked.request, ranks=(rank,))
        yield ChainSubject(one, store, replace(asked, request=one, methods=(chain,), orders=(order,)))


def study_name(subject: Subject, space: Space, setting: SearchSettings) -> str:
    """Return the name of a study, with a digest of everything that decides the scores of a configuration."""
    same: list[object] = [job.to_json() for job in subject.plan({}).jobs]
    same += [{name: repr(span) for name, span in space.searched.items()}, setting.seed, setting.sampler, setting.lead]
    return f"{subject.label}-{digest(same)[:8]}"


def storage_of(setting: SearchSettings, store: Store) -> str:
    """Return the address of the studies' database."""
    return setting.storage or database_url(store.root / _DATABASE)


def _study(subject: Subject, space: Space, setting: SearchSettings) -> SearchStudy:
    return SearchStudy(
        study_name(subject, space, setting),
        storage_of(setting, subject.store),
        space.searched,
        defaults(subject.request, subject.varied),
        setting.seed,
        setting.sampler,
        _owner(subject.store) if setting.storage else "",
    )


def _owner(store: Store) -> str:
    """Return the owner of a study: its run folder, in which only one command at a time works."""
    return str(store.root) if is_remote(store.root) else f"{socket.gethostname()}:{store.root}"


def defaults(request: Request, method: str) -> dict[str, Scalar]:
    """Return the defaults of a method; if its learning rate is None, take that of the recipe."""
    chosen = values(request.registry.method(method)(**request.settings_of(method)))
    if chosen.get("lr", 0) is None:
        chosen["lr"] = request.recipe.lr
    return chosen


def run(
    wanted: Request | ChainRequest,
    setting: SearchSettings,
    store: Store,
    launch: Launch,
    command: str,
    keep: Callable[[Sequence[Quest], Sequence[SearchResult]], None],
) -> tuple[tuple[Quest, ...], list[SearchResult]]:
    """Search; return the quests and their results. Configurations of earlier commands are not tried again.

    ``keep`` is called after zero-shot is scored and before the first configuration, without results, and at the end,
    when all files are written. The run folder is locked at both times.
    """
    request = requested(wanted)
    found = wanted_spaces(wanted, setting)
    if setting.storage is not None:
        check_storage(setting.storage)
    read_choices(store.root / CHOICES)  # find a damaged file now rather than after the search
    with store.locked():
        counting = _counted(request, store, launch)
        asked = quests(restricted(wanted, counting.names), found, store, setting)
        for method, part in found.items():
            for field, reason in part.left_out.items():
                warn(f"{method}.{field} is not searched: {reason}")
        keep(asked, ())
        _work(request, asked, setting.trials, store, launch)
        same = provenance(request, setting) | {"left_out": sorted(counting.left_out)}
        results = [quest_result(quest, setting, same, command) for quest in asked]
        save_choices(store, results)
        report.publish(store, asked, results)
        keep(asked, results)
    return asked, results


def restricted(wanted: Request | ChainRequest, sources: tuple[str, ...]) -> Request | ChainRequest:
    """Return what is wanted with only these sources."""
    if isinstance(wanted, Request):
        return replace(wanted, sources=sources)
    return replace(wanted, request=replace(wanted.request, sources=sources))


def wanted_spaces(wanted: Request | ChainRequest, setting: SearchSettings) -> dict[str, Space]:
    """Return the space of each method whose hyperparameters are searched.

    Raises:
        UsageError: a method has nothing to search, or a field is not one of a method.
    """
    request = requested(wanted)
    return spaces(replace(request, methods=_varied(wanted)), setting.fields)


def _varied(wanted: Request | ChainRequest) -> tuple[str, ...]:
    """Return the methods whose hyperparameters are searched."""
    if isinstance(wanted, Request):
        return wanted.methods
    return tuple(dict.fromkeys(method.parts[-1] for method in wanted.methods))


def _counted(request: Request, store: Store, launch: Launch) -> Counted:
    """Return which sources count, after the base model was scored on them, and say which do not."""
    job = Job(base_trial(request), specs_of(request, ()))
    record = store.read(job.trial)
    if record is None or record.lacks(job.asked):
        records = {} if record is None else {job.trial.id: record}
        lacking = job.asked if record is None else record.lacks(job.asked)
        work = {job.trial.id: (0, sum(item.count for item in lacking))}
        _drain(lanes.run((job,), records, lane_setup(request, store, launch)), Progress(1, 0, work))
    counting = counted(request, store.read(job.trial), job.asked)
    for line in counting.lines():
        warn(line)
    return counting


def _work(request: Request, asked: Sequence[Quest], trials: int, store: Store, launch: Launch) -> None:
    if all(quest.study.done(trials) for quest in asked):
        return

    def drive(broker: Any, crew: lanes.Crew) -> None:
        from bench.search.tune import drive as think  # Ray Tune is slow to import

        think(broker, crew, asked, trials)

    note_data(request, store)
    left = trials_left(asked, trials)
    work = {job.trial.label: whole_work(job, request.registry) for job, _ in left}
    whole = sum(count * sum(work[job.trial.label]) for job, count in left)
    progress = Progress(sum(count for _, count in left), 0, work, whole)
    _drain(lanes.run((), {}, lane_setup(request, store, launch), drive), progress)


def trials_left(asked: Sequence[Quest], trials: int) -> list[tuple[Job, int]]:
    """Return how many trials a search still has, if it draws no configuration twice.

    There is a count for each job of a configuration; the label of its trial is that of all configurations.
    """
    shared = {job.trial.id: job for quest in asked for job in quest.shared_left}
    own: set[str] = set()  # a training that one quest edits may be the first configuration of another
    for quest in asked:
        own |= {job.trial.id for job in quest.jobs(quest.study.first)} - {job.trial.id for job in quest.shared}
    missing = [(job, 1) for key, job in shared.items() if key not in own]
    return missing + [(job, quest.left(trials)) for quest in asked for job in quest.own]


def _drain(events: Generator[Event], drawn: Progress) -> None:
    """Run the lanes to their end and draw their progress."""
    with closing(events), drawn as progress:
        for event in events:
            progress.take(event)
