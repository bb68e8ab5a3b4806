"""Turn a record into what a tracker shows (name, parameters, tags, metrics), for no specific tracker."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

from bench.errors import BenchError
from bench.plugins.registry import Registry
from bench.track.points import UNITS, in_points
from bench.values.canonical import digest
from bench.values.recipe import EVALUATED, Recipe
from bench.values.record import Record
from bench.values.scores import Score
from bench.values.trial import Scalar, Trial

NOT_SHOWN = frozenset({"lr"})  # fields of the recipe that are hidden: the method's own lr is shown


@dataclass(frozen=True, slots=True)
class Projection:
    """One trial as a tracker's run. ``predictions`` gives the score's file in the trial's folder by task."""

    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    predictions: Mapping[str, str]

    @property
    def state(self) -> str:
        """A digest of everything that is shown; a tracker's run with the same digest is up to date."""
        return digest([UNITS, asdict(self)])[:12]


def project(  # noqa: PLR0913  all that decides what is shown
    record: Record,
    zero_shot: Record | None,
    targets: Collection[str],
    registry: Registry,
    left_out: Collection[str] = (),
    sources: Collection[str] = (),
    *,
    name: str = "",
    of: str | None = None,
) -> Projection:
    """Return what is shown of a record; forgetting compares it with ``zero_shot`` on the same examples.

    A trial's own task is its target. The other tasks that it or an earlier stage of its sequence learns, and those of
    ``targets`` that are not among the suite's ``sources``, are shown by name alone. All others are sources. The
    untouched base model learns no task; its record is shown once for each target, ``of``, with the Avg that the
    target's table has, and with the split and the number of examples of that target and the sources. ``registry`` knows
    the papers of the methods. The means over sources do not count the sources in ``left_out``. ``name`` is shown
    instead of the trial's label.
    """
    scores, trial = _newest(record, of), record.trial
    learnt = trial.learns or ((of,) if of else tuple(targets))
    others = {*trial.tasks, *(task for task in targets if task not in sources)}.difference(learnt)
    counted = {task: score for task, score in scores.items() if of is None or task not in others}
    return Projection(
        name=name or trial.label,
        params=_params(trial),
        tags=_tags(record, counted, registry, of),
        metrics=in_points(
            {
                **_scores(scores, learnt, others, left_out),
                **_forgetting(record, scores, zero_shot, {*left_out, *others}),
                **_cost(record),
            }
        ),
        predictions={task: score.file for task, score in scores.items()},
    )


def reference_of(record: Record, zero_shots: Collection[Record]) -> Record | None:
    """Return the zero-shot record that a record is compared with, or None."""
    return next((other for other in zero_shots if other.trial.is_reference_of(record.trial)), None)


def split_of(record: Record) -> str:
    """Return the split of a record's scores that are shown, or several with a space between them."""
    return _splits(_newest(record))


def _splits(scores: Mapping[str, Score]) -> str:
    return " ".join(sorted({score.asked.split for score in scores.values()}))


def _newest(record: Record, of: str | None = None) -> dict[str, Score]:
    """Return one score per task: prefer the wanted split, the newest version, the most examples, the latest.

    The wanted split is test. If the task ``of`` has scores on other splits only, its split is wanted for every task,
    so that no mean compares a validation score with a test score.
    """
    splits = {score.asked.split for score in record.scores.values() if score.asked.task == of}
    wanted = max(splits) if splits and "test" not in splits else "test"
    chosen: dict[str, Score] = {}
    for score in record.scores.values():
        other = chosen.get(score.asked.task)
        if other is None or _standing(score, wanted) >= _standing(other, wanted):
            chosen[score.asked.task] = score
    return chosen


def _standing(score: Score, wanted: str) -> tuple[bool, int, int]:
    return (score.asked.split == wanted, score.asked.version, score.asked.count)


def _params(trial: Trial) -> dict[str, str]:
    if trial.rank is None:
        return {"method": trial.method, **_recipe(trial.recipe, EVALUATED)}
    parent = trial.parent
    values = {
        **_hyper(trial),
        **(_hyper(parent) if parent else {}),
        **_recipe(trial.recipe, [field.name for field in fields(Recipe) if field.name not in NOT_SHOWN]),
        "method": trial.method,
        "rank": trial.rank,
        "target": trial.target,
        "seed": trial.seed,
        **({"edits" if trial.is_edit else "continues": parent.label} if parent else {}),
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def _hyper(trial: Trial) -> dict[str, Scalar]:
    """Return a trial's hyperparameters as METHOD.FIELD, with the recipe's learning rate if the method sets none.

    A method's field may be called target, rank or seed; the prefix keeps it apart from the trial's own.
    """
    hyper = dict(trial.hyper)
    if "lr" in hyper and hyper["lr"] is None:
        hyper["lr"] = trial.recipe.lr
    return {f"{trial.method}.{name}": value for name, value in hyper.items()}


def _recipe(recipe: Recipe, names: Iterable[str]) -> dict[str, Any]:
    return {f"recipe.{name}": getattr(recipe, name) for name in names}


def _tags(record: Record, scores: Mapping[str, Score], registry: Registry, of: str | None) -> dict[str, str]:
    """Return the tags; ``stage`` is the place of a trial in a sequence of tasks, counted from 1 and shown from 2."""
    trial = record.trial
    counts = sorted({score.asked.count for score in scores.values()})
    tags = {
        "kind": "trial" if trial.target else "reference",
        "method": trial.method,
        "rank": trial.rank,
        "target": trial.target or of,
        "seed": None if trial.rank is None else trial.seed,
        "connector": None if trial.rank is None else trial.recipe.connector,
        "trial": trial.id,
        "label": trial.label,
        "edits": trial.parent.id if trial.parent and trial.is_edit else None,
        "continues": trial.parent.id if trial.parent and not trial.is_edit else None,
        "tasks": " > ".join(trial.tasks) if len(trial.tasks) > 1 else None,
        "stage": len(trial.targets) if len(trial.targets) > 1 else None,
        "given": trial.given,
        "model": trial.model,
        "commit": record.environment.get("commit"),
        "device": record.environment.get("device"),
        "paper": _paper(trial.method, registry),
        "status": record.status,
        "error": record.error,
        "split": _splits(scores),
        "examples": "-".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else None,
    }
    return {name: str(value)[:1000] for name, value in tags.items() if value not in (None, "")}


def _paper(method: str, registry: Registry) -> str | None:
    """Return the method's paper, or None if its plugin is no longer installed."""
    try:
        return registry.method(method).paper
    except BenchError:
        return None


def _scores(
    scores: Mapping[str, Score], learnt: Collection[str], others: Collection[str], left_out: Collection[str]
) -> dict[str, float]:
    own = [scores[task].value for task in learnt if task in scores]
    metrics: dict[str, float] = {}
    for task, score in scores.items():
        place = f"{'target' if task in learnt else 'task' if task in others else 'source'}/{task}"
        metrics[place] = score.value
        rest = {name: value for name, value in score.metrics.items() if name != score.primary}
        metrics |= {f"{place}/{name}": value for name, value in rest.items()}
    counted = [task for task in scores if task not in {*learnt, *others, *left_out}]
    sources = [scores[task].value for task in counted]
    if sources:
        metrics["source/avg"] = fmean(sources)
    if own:
        metrics["target/avg"] = fmean(own)
    if sources and own:
        metrics["avg"] = (metrics["source/avg"] + metrics["target/avg"]) / 2
    return metrics


def _forgetting(
    record: Record, scores: Mapping[str, Score], zero_shot: Record | None, left_out: Collection[str]
) -> dict[str, float]:
    """Return forgetting (zero-shot minus trial) by source, and its mean if every source that counts has a value."""
    if zero_shot is None or record.trial.target is None:
        return {}
    before = {score.asked.task: zero_shot.scores.get(score.asked.key) for score in scores.values()}
    sources = [task for task in scores if task not in record.trial.tasks]
    lost = {
        f"forgetting/{task}": was.value - scores[task].value for task in sources if (was := before[task]) is not None
    }
    count = [f"forgetting/{task}" for task in sources if task not in left_out]
    if count and lost.keys() >= set(count):
        lost["forgetting/avg"] = fmean(lost[name] for name in count)
    return lost


def _cost(record: Record) -> dict[str, float]:
    if record.status == "failed":
        return {}
    return {f"cost/{name}": float(value) for name, value in asdict(record.cost).items()}
