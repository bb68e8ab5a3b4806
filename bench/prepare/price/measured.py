"""The speed that the records of a run folder show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import median_low

from bench.environment import environment
from bench.prepare.price.rates import Rates, Slowdown
from bench.values.record import Record

_SAME = ("device", "processor")  # what the machine of a record must share with the one that is asked about
_FEW = 20  # updates; bench plan --probe measures as many, after a start that it does not count


def measured(records: Iterable[Record], model: str, machine: Mapping[str, str], slowdown: Slowdown) -> Rates | None:
    """Return the rates that records show, or None if no training of this model ran on such a machine.

    ``model`` is the base model's revision, ``machine`` an environment, and ``slowdown`` what a method declares. Trials
    that share the machine with other lanes count as they ran, so the rates are those of one lane.
    """
    found = [record for record in records if record.trial.model == model and _alike(record.environment, machine)]
    trained = _training(found)
    answers = _rates(pair for record in found for pair in _answers(record))
    if not trained or not answers:
        return None
    mean = sum(answers.values()) / len(answers)
    edits = {name: 1 / rate for name, rate in _rates(pair for record in found for pair in _edit(record)).items()}
    origin = f"measured: {len(found)} trials of the run folder, on {machine.get('device')}"
    return Rates.of_methods(trained, slowdown, mean, origin, answers, edits)


def this_machine() -> Mapping[str, str]:
    """Return the environment of this machine."""
    import torch

    return environment(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


Counted = tuple[str, float, float]  # a name, a count, and the seconds of one device that the count took


def _training(records: Iterable[Record]) -> dict[str, float]:
    """Return training examples per second by method: those of its median trial, and of two trials the faster.

    The first training on a target in a lane also computes the vision features of the images, so it does not stand for
    the others. Trainings of a few updates count only if there are no others: most of their time is such a start.
    """
    trained = [record for record in records if record.trial.rank is not None and not record.trial.is_edit]
    timed = [record for record in trained if record.cost.train_seconds > 0]
    seconds = dict[str, list[float]]()
    for record in [each for each in timed if each.trial.recipe.updates >= _FEW] or timed:
        recipe = record.trial.recipe
        each = record.cost.train_seconds * _workers(record) / (recipe.updates * recipe.batch_size)
        seconds.setdefault(record.trial.method, []).append(each)
    return {name: 1 / median_low(found) for name, found in seconds.items()}


def _answers(record: Record) -> Iterator[Counted]:
    for score in record.scores.values():
        yield score.asked.task, score.asked.count, score.seconds * _workers(record)


def _edit(record: Record) -> Iterator[Counted]:
    if record.trial.is_edit:
        yield record.trial.method, 1, record.cost.train_seconds * _workers(record)


def _workers(record: Record) -> int:
    """Return how many devices a trial had; a record of the untouched base model does not say, and counts as one."""
    text = record.environment.get("workers", "1")
    return int(text) if text.isdigit() else 1


def _rates(counted: Iterable[Counted]) -> dict[str, float]:
    """Return counts per second by name; what took no time was not measured."""
    counts, seconds = dict[str, float](), dict[str, float]()
    for name, count, took in counted:
        if took > 0:
            counts[name] = counts.get(name, 0.0) + count
            seconds[name] = seconds.get(name, 0.0) + took
    return {name: count / seconds[name] for name, count in counts.items()}


def _alike(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return all(one.get(name) == other.get(name) for name in _SAME)
