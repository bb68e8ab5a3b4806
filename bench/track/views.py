"""The saved views of MLflow's pages: one table with charts for each target, and views of commands and searches.

A view is a tag of an experiment, in the format of the "Views" menu of MLflow 3.17: ``mlflow.sharedViewState.KEY`` holds
a name and a state. Without a saved view, MLflow's table shows no metric, and its charts begin with the costs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PREFIX = "mlflow.sharedViewState."
KEY = "bench"  # every key of ours begins with it
_ALL_TRIALS = f"{KEY}.trials"
_OLD = KEY  # the one view of earlier versions

_AVG, _SOURCE, _TARGET, _LOST = "avg", "source/avg", "target/avg", "forgetting/avg"
_NAME = "attributes.`Run Name`"
_WIDTHS = {_NAME: 340, **{f"metrics.`validation/{name}`": 140 for name in ("avg", "source", "target")}}  # in pixels
_SCORES = (_AVG, _SOURCE, _TARGET, _LOST)


@dataclass(frozen=True, slots=True)
class View:
    """A saved view: ``where`` filters the runs, the highest ``sort`` comes first, ``charts`` are by section."""

    key: str
    name: str
    where: str
    columns: tuple[str, ...]
    sort: str = f"metrics.`{_AVG}`"
    charts: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    folded: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The name of the experiment's tag."""
        return PREFIX + self.key

    @property
    def text(self) -> str:
        """The value of the experiment's tag."""
        state: dict[str, Any] = {
            "searchFilter": self.where,
            "orderByKey": self.sort,
            "orderByAsc": False,
            "runsHiddenMode": "SHOW_ALL",  # charts would otherwise show only ten runs
            "selectedColumns": self.columns,
            "columnOrder": (_NAME, *self.columns),
            "columnWidths": _WIDTHS,  # MLflow's own widths cut our names
        }
        if self.charts:
            state |= {**_charts(self.charts, self.folded), "isAccordionReordered": True}
        return json.dumps({"name": self.name, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


def key_of(target: str) -> str:
    """Return the key of a target's view, which is a part of an address.

    >>> key_of("icon_choice"), key_of("gqa@lmms")
    ('bench.target.icon_choice', 'bench.target.gqa.lmms')
    """
    return f"{KEY}.target.{re.sub('[^A-Za-z0-9_.-]', '.', target)}"


def target_views(splits: Mapping[str, str], others: Collection[str], sources: Collection[str]) -> Iterator[View]:
    """Yield the view of each target, with the trials that were scored on the target's split, and that of all trials.

    ``splits`` holds the split by target. ``others`` are all tasks that a trial of the suite learns, except its sources.
    """
    for target, split in sorted(splits.items()):
        yield View(
            key_of(target),
            target,
            f"tags.target = '{target}' and tags.trial IS NOT NULL and tags.stage IS NULL and tags.split = '{split}'",
            _columns(_SCORES, ("method", "rank", "seed", "examples")),
            charts=_target_charts(sources),
            folded=_folded(target, others, sources),
        )
    columns = _columns(_SCORES, ("target", "method", "rank", "seed", "split", "examples"))
    yield View(_ALL_TRIALS, "All trials", "tags.trial IS NOT NULL", columns, sort="tags.`target`")


def commands_view() -> View:
    """Return the view of commands, whose pages hold the leaderboards."""
    return View(
        f"{KEY}.commands",
        "Commands",
        "tags.kind = 'command'",
        _columns((), ("suite",)),
        "attributes.start_time",
    )


def searches_view() -> View:
    """Return the view of the configurations that searches tried."""
    scores = ("validation/avg", "validation/source", "validation/target")
    charts = {"Source against Target": [_scatter("validation/target", "validation/source")], "Scores": _bars(scores)}
    columns = _columns(scores, ("method", "rank", "target", "number", "is", "state"))
    return View(
        f"{KEY}.searches", "Searches", "tags.kind = 'configuration'", columns, "metrics.`validation/avg`", charts
    )


def save_views(client: Any, experiment: Any, views: Collection[View]) -> None:
    """Bring the saved views of an experiment up to date; ``experiment`` is MLflow's own object."""
    there: Mapping[str, str] = experiment.tags
    for view in views:
        if there.get(view.tag) != view.text:
            client.set_experiment_tag(experiment.experiment_id, view.tag, view.text)
    if PREFIX + _OLD in there:
        client.delete_experiment_tag(experiment.experiment_id, PREFIX + _OLD)


def names_in(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the names of an experiment's saved views by key, in the order in which a reader wants them."""
    found = {
        key.removeprefix(PREFIX): str(json.loads(text)["name"])
        for key, text in tags.items()
        if key.startswith(f"{PREFIX}{KEY}.")
    }
    targets = sorted(key for key in found if key.startswith(key_of("")))
    return {key: found[key] for key in (*targets, *sorted(found.keys() - set(targets)))}


def _columns(metrics: Collection[str], tags: Collection[str]) -> tuple[str, ...]:
    return (*(f"metrics.`{name}`" for name in metrics), *(f"tags.`{name}`" for name in tags))


def _target_charts(sources: Collection[str]) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Return the charts by section: what one looks at first, then losses, then each source.

    A section that is named like the first part of metrics also gets those that the view does not know.
    """
    return {
        "Source against Target": [_scatter(_TARGET, _SOURCE)],
        "Loss": [{"type": "LINE", "metricKey": "train/loss", "useGlobalXaxisKey": True}],
        "Scores": _bars((_AVG, _SOURCE, _TARGET)),
        "forgetting": _bars((_LOST, *(f"forgetting/{name}" for name in sources))),
        "source": _bars([f"source/{name}" for name in sources]),
    }


def _folded(target: str, learnt: Collection[str], sources: Collection[str]) -> tuple[str, ...]:
    """Return the sections that MLflow fills by itself, named like the first parts of metrics; costs come last.

    ``target/NAME`` and ``source/NAME`` hold a task's other metrics, such as its lenient score.
    """
    others = [f"task/{name}" for name in sorted(learnt) if name != target]
    own = ["target", f"target/{target}", *(f"source/{name}" for name in sources)]
    return (*own, *(["task", *others] if others else []), "cost")


def _bars(metrics: Collection[str]) -> list[dict[str, Any]]:
    return [{"type": "BAR", "metricKey": name} for name in metrics]


def _scatter(x: str, y: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return {"type": "SCATTER", **axes, "runsCountToCompare": 100}


def _charts(charts: Mapping[str, Sequence[Mapping[str, Any]]], folded: Sequence[str]) -> dict[str, Any]:
    """Return charts and their sections as MLflow's pages keep them; the sections of ``folded`` are closed."""
    sections = [
        {"uuid": f"{KEY}-{name}", "name": name, "display": name not in folded, "isReordered": False, "deleted": False}
        for name in (*charts, *folded)
    ]
    cards = [
        {
            "uuid": f"{KEY}-{name}-{number}",
            "metricSectionId": f"{KEY}-{name}",
            "runsCountToCompare": 10,
            "deleted": False,
            "isGenerated": False,
            **({"displayName": chart["metricKey"]} if "metricKey" in chart else {}),
            **chart,
        }
        for name, cards in charts.items()
        for number, chart in enumerate(cards)
    ]
    return {"compareRunCharts": cards, "compareRunSections": sections}
