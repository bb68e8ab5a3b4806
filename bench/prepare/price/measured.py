"""The speed that the records of a run folder show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bench.environment import environment
from bench.prepare.price.rates import Rates, plain_rate
from bench.spec import Record

_SAME = ("device", "processor")  # what the machine of a record must share with the one that is asked about


def measured(records: Iterable[Record], model: str, machine: Mapping[str, str]) -> Rates | None:
    """Return the rates that records show, or None if no training of this model ran on such a machine.

    ``model`` is the base model's revision, and ``machine`` an environment. Trials that share the machine with other
    lanes count as they ran, so the rates are those of one lane.
    """
    found = [record for record in records if record.trial.model == model and _alike(record.environment, machine)]
    trained = _rates(pair for record in found for pair in _training(record))
    answers = _rates(pair for record in found for pair in _answers(record))
    if not trained or not answers:
        return None
    mean = sum(answers.values()) / len(answers)
    edits = {name: 1 / rate for name, rate in _rates(pair for record in found for pair in _edit(record)).items()}
    origin = f"measured: {len(found)} trials of the run folder, on {machine.get('device')}"
    return Rates(plain_rate(trained), mean, origin, trained, answers, edits)


def this_machine() -> Mapping[str, str]:
    """Return the environment of this machine."""
    import torch

    return environment(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


Counted = tuple[str, float, float]  # a name, a count, and the seconds of one device that the count took


def _training(record: Record) -> Iterator[Counted]:
    trial = record.trial
    if trial.rank is not None and trial.parent is None:
        examples = trial.recipe.updates * trial.recipe.batch_size
        yield trial.method, examples, record.cost.train_seconds * _workers(record)


def _answers(record: Record) -> Iterator[Counted]:
    for score in record.scores.values():
        yield score.asked.task, score.asked.count, score.seconds * _workers(record)


def _edit(record: Record) -> Iterator[Counted]:
    if record.trial.parent is not None:
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
