"""Searches in MLflow: a run per command, in it a run per quest, in that a run per configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.store.places import fetched, modified
from bench.store.search_results import RESULT, Configuration, SearchResult, search_results
from bench.track.client import connect, fill_run, metric, open_experiment, tracking_uri, unreachable
from bench.track.command_run import all_runs, command_run, folder_digest, origin, output_name, quest_key
from bench.track.points import UNITS, in_points
from bench.track.views import save_views, searches_view
from bench.values.canonical import digest

log = logging.getLogger(__name__)

_STATUS = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "running": "RUNNING"}
_TOLD = ("method", "rank", "target", "study", "search_seed", "split", "limit", "seeds")


def mirror_searches(root: Path) -> None:
    """Mirror searches to MLflow; if that fails, only log a warning: a search does not need MLflow."""
    try:
        write(root)
    except Exception as error:  # noqa: BLE001  mlflow, its database and its network may raise anything
        reason = unreachable(tracking_uri(root), error)
        log.warning("%s The search is complete; bench sync updates MLflow later.", reason)


def write(root: Path) -> int:
    """Write every quest whose run in MLflow is out of date; return how many quests were written."""
    found = list(search_results(root))
    if not found:
        return 0
    client = connect(root)
    return sum(_write(client, root, result, folder) for result, folder in found)


def _write(client: Any, root: Path, result: SearchResult, folder: Path) -> bool:
    """Write one quest, its state last, so that an interrupted write is repeated."""
    suite = str(result.facts["suite"])
    opened = open_experiment(client, suite, root)
    experiment = str(opened.experiment_id)
    save_views(client, opened, [searches_view()])
    key = quest_key(result.facts["study"], folder_digest(output_name(root)))
    state = digest([UNITS, asdict(result)])[:12]
    runs = client.search_runs([experiment], f"tags.kind = 'quest' and tags.quest = '{key}'", max_results=1)
    if runs and runs[0].data.tags.get("state") == state:
        return False
    parent = command_run(client, experiment, suite, root, result.command, "search")
    tags = {"kind": "quest", "quest": key, "mlflow.parentRunId": parent, **_tags(result), **origin()}
    name = f"search/{result.label}"
    run = runs[0] if runs else client.create_run(experiment, tags=tags, run_name=name)
    now = round(1000 * modified(folder / RESULT))
    with fetched(folder) as copy:
        client.log_artifacts(run.info.run_id, str(copy))
    _write_configurations(client, experiment, result, (run.info.run_id, key, now))
    values = [metric(name, value, now, 0) for name, value in metrics(result).items()]
    fill_run(client, run, values, _params(result), {**tags, "state": state})
    client.set_terminated(run.info.run_id, "FAILED" if result.chosen is None else "FINISHED")
    client.set_terminated(parent, "FINISHED")
    return True


def _write_configurations(client: Any, experiment: str, result: SearchResult, quest: tuple[str, str, int]) -> None:
    """Write one run per configuration, nested in the quest's; runs that are up to date are skipped."""
    parent, key, now = quest
    there = {
        run.data.tags["number"]: run
        for run in all_runs(client, experiment, f"tags.kind = 'configuration' and tags.quest = '{key}'")
    }
    for item in result.configurations:
        shown = _configuration_tags(result, item)
        run, state = there.get(str(item.number)), digest([UNITS, asdict(item), shown])[:12]
        if run is not None and run.data.tags.get("result") == state:
            continue
        tags = {"kind": "configuration", "quest": key, "number": str(item.number), "mlflow.parentRunId": parent}
        if run is None:
            name = f"search/{result.label}/{item.number}"
            run = client.create_run(experiment, start_time=now, tags=tags, run_name=name)
        scores = {"source": item.source, "target": item.target, "avg": item.avg}
        known = in_points({f"validation/{name}": value for name, value in scores.items() if value is not None})
        values = [metric(name, value, now, 0) for name, value in known.items()]
        hyper = {f"{result.facts['method']}.{name}": value for name, value in item.hyper.items()}
        fill_run(client, run, values, _text(hyper), {**tags, **shown, "result": state})
        client.set_terminated(run.info.run_id, _STATUS.get(item.state, "FINISHED"), now)


def metrics(result: SearchResult) -> dict[str, float]:
    """Return a quest's numbers: counts, hypervolume (of fractions), scores of default and choice, importances."""
    facts = result.facts
    values = {
        "hypervolume": float(facts["hypervolume"]),
        "configurations": float(len(result.configurations)),
        "failed": float(result.count("failed")),
        "stopped": float(result.count("stopped")),
        "front": float(len(facts["front"])),
    }
    for place in ("default", "chosen"):
        if facts[place] is not None:
            scores = {f"{place}/{name}": float(facts[place][name]) for name in ("source", "target", "avg")}
            values |= in_points(scores)
    for objective, shares in facts["importance"].items():
        values |= {f"importance/{objective}/{name}": float(share) for name, share in shares.items()}
    return values


def _params(result: SearchResult) -> dict[str, str]:
    told = {name: result.facts[name] for name in _TOLD if result.facts.get(name) is not None}
    return {**_text(told), **{f"range.{name}": text for name, text in result.space.items()}}


def _tags(result: SearchResult) -> dict[str, str]:
    facts = result.facts
    tags = {name: facts[name] for name in ("method", "rank", "target", "suite", "model", "commit", "objective")}
    # tags, not parameters: a run's parameters never change, but a later command may raise the budget
    tags |= {"label": result.label, "command": result.command, "budget": facts["trials"]}
    if facts["chosen"] is not None:
        tags |= {f"chosen.{name}": value for name, value in facts["chosen"]["hyper"].items()}
    return _text(tags)


def _configuration_tags(result: SearchResult, item: Configuration) -> dict[str, str]:
    facts = result.facts
    places = [name for name in ("default", "chosen") if getattr(result, name) == item.number]
    tags = {name: str(facts[name]) for name in ("method", "rank", "target", "suite")}
    tags |= {"state": item.state, "trials": " ".join(item.trials)[:5000]}
    return {**tags, **({"is": " ".join(places)} if places else {}), **origin()}


def _text(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value)[:5000] for name, value in values.items()}
