"""A run in MLflow for each chain of a sequence of tasks, with a curve over its stages, and the stages nested in it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.track.client import fill_run, metric
from bench.track.command_run import all_runs, origin
from bench.track.points import UNITS, in_points
from bench.values.canonical import digest

_PARENT = "mlflow.parentRunId"
_FROM = "migrated_from"  # the run that a run replaces, by which an interrupted migration is resumed


@dataclass(frozen=True, slots=True)
class ChainRun:
    """A row of a sequence for one order and seed.

    ``points`` are metrics with their value, a fraction, and their stage, from 1; ``stages`` are the ids of the trials.
    """

    name: str
    params: Mapping[str, str]
    points: tuple[tuple[str, float, int], ...]
    stages: tuple[str, ...]

    @property
    def key(self) -> str:
        """The chain's key in MLflow; chains of other trials have another."""
        return digest([self.name, *self.stages])[:12]

    @property
    def state(self) -> str:
        """A digest of everything that is shown; a run with the same digest is up to date."""
        return digest([UNITS, asdict(self)])[:12]


def write_chains(client: Any, experiment: str, suite: str, command: str, chains: Sequence[ChainRun]) -> None:
    """Bring the runs of chains up to date, nested in the ``command``'s run, and nest their stages in them.

    A trial that several chains share is nested in the first of them. The first training stays where it is, because it
    is an ordinary trial; so do those of a row whose tasks are learnt apart.
    """
    taken: set[str] = set()
    for chain in chains:
        run = _run(client, experiment, suite, command, chain)
        for trial in chain.stages[1:]:
            if trial not in taken:
                taken.add(trial)
                for stage in client.search_runs([experiment], f"tags.trial = '{trial}'", max_results=1):
                    if stage.data.tags.get(_PARENT) != run:
                        client.set_tag(stage.info.run_id, _PARENT, run)


def change_units(client: Any, experiment: str, commands: Collection[str] | None) -> None:
    """Replace the runs of chains that an earlier version wrote in fractions, of some ``commands`` or of all (None).

    MLflow never replaces the points of a curve, so the new runs have the points times 100, and the earlier ones go to
    MLflow's trash. Only the command that made a chain has its numbers, so they are read from MLflow here.
    """
    for old in list(all_runs(client, experiment, "tags.kind = 'chain' and tags.units IS NULL")):
        if commands is None or old.data.tags.get(_PARENT) in commands:
            run = _in_points(client, experiment, old)
            for stage in list(all_runs(client, experiment, f"tags.`{_PARENT}` = '{old.info.run_id}'")):
                client.set_tag(stage.info.run_id, _PARENT, run)
            client.delete_run(old.info.run_id)


def _in_points(client: Any, experiment: str, old: Any) -> str:
    """Return the id of the run that replaces a chain's ``old`` run; a run that was written in part is written again."""
    key, tags = old.info.run_id, {name: value for name, value in old.data.tags.items() if name != "state"}
    for found in client.search_runs([experiment], f"tags.{_FROM} = '{key}'"):
        if found.data.tags.get("units") == UNITS and found.info.status == old.info.status:
            return str(found.info.run_id)
        client.delete_run(found.info.run_id)
    origins = {_FROM: key, **({_PARENT: tags[_PARENT]} if _PARENT in tags else {})}
    run = client.create_run(experiment, start_time=old.info.start_time, tags=origins, run_name=old.info.run_name)
    points = [point for name in old.data.metrics for point in client.get_metric_history(key, name)]
    values = [
        metric(each.key, in_points({each.key: each.value})[each.key], each.timestamp, each.step) for each in points
    ]
    fill_run(client, run, values, old.data.params, {**tags, **origins, "units": UNITS})
    client.set_terminated(run.info.run_id, old.info.status, old.info.end_time)
    return str(run.info.run_id)


def _run(client: Any, experiment: str, suite: str, command: str, chain: ChainRun) -> str:
    """Return the id of a chain's run, after writing what it lacks."""
    found = client.search_runs([experiment], f"tags.chain = '{chain.key}'", max_results=1)
    if found and found[0].data.tags.get("state") == chain.state:
        return str(found[0].info.run_id)
    if found:  # MLflow never replaces the points of a curve
        client.delete_run(found[0].info.run_id)
    now = round(1000 * time.time())
    run = client.create_run(experiment, start_time=now, tags={_PARENT: command}, run_name=chain.name)
    points = [metric(name, in_points({name: value})[name], now, stage) for name, value, stage in chain.points]
    tags = {
        "kind": "chain",
        "units": UNITS,
        "chain": chain.key,
        "suite": suite,
        **origin(),
        **chain.params,
        "state": chain.state,
    }
    fill_run(client, run, points, chain.params, tags)
    client.set_terminated(run.info.run_id, "FINISHED", now)
    return str(run.info.run_id)
