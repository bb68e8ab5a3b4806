"""Which trials may be held against each other: what matters of their environments, and where two of them differ.

What is not known differs from nothing. How work was shared (workers, micro-batch, checkpointing) does not count: the
update is the same up to rounding. Neither do host, Ray, Python and patch versions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.environment import AND

TRAINING = "training"
LEARNT_WITH = ("device", "torch", "transformers", "peft", "bitsandbytes", "attention", "dtype", "quantization")
SCORED_WITH = ("device", "torch", "transformers", "attention", "dtype", "eval_batch")

Facts = Mapping[tuple[str, str], frozenset[str]]  # (TRAINING or a task, field) -> what is known, seldom two values
BySeed = Mapping[int, Facts]

_VERSIONS = ("torch", "transformers", "peft", "bitsandbytes")
_UNKNOWN = {"", "unknown"}
_WORDS = {"eval_batch": "batch size"}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A field in which two rows' environments differ; ``other`` is the row that is compared with."""

    stage: str
    field: str
    mine: str
    other: str
    theirs: str


def facts(learnt: Iterable[Mapping[str, str]], scored: Mapping[str, Mapping[str, str]]) -> Facts:
    """Return what matters of a trial: what it and its parents were learnt with, and by task, what scored it."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    stages = [(TRAINING, LEARNT_WITH, environment) for environment in learnt]
    for stage, fields, environment in (*stages, *((task, SCORED_WITH, each) for task, each in scored.items())):
        for field in fields:
            values = {_value(field, text) for text in environment.get(field, "").split(AND)} - _UNKNOWN
            if values:
                found[stage, field] = found.get((stage, field), frozenset()) | values
    return found


def merged(many: Iterable[Facts]) -> Facts:
    """Return what is known of several together, every value of a field."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for each in many:
        for key, values in each.items():
            found[key] = found.get(key, frozenset()) | values
    return found


def _value(field: str, text: str) -> str:
    """Return a value as it is compared: of a version, major and minor.

    >>> _value("torch", "2.13.0+cu126")
    '2.13'
    """
    return ".".join(text.partition("+")[0].split(".")[:2]) if field in _VERSIONS else text


def against(
    mine: BySeed, others: Sequence[tuple[str, BySeed]], stages: Collection[str] | None = None
) -> tuple[Mismatch, ...]:
    """Return where a row differs from the first of the others that says so, field by field, seed by seed.

    ``stages`` are the tasks (or TRAINING) that count; None, all.
    """
    found: dict[Mismatch, None] = {}
    for seed, known in mine.items():
        for (stage, field), values in known.items():
            if stages is None or stage in stages:
                name, first = _first((stage, field), seed, others)
                if first and first != values:
                    found[Mismatch(stage, field, _joined(values), name, _joined(first))] = None
    return tuple(found)


def _first(key: tuple[str, str], seed: int, others: Sequence[tuple[str, BySeed]]) -> tuple[str, frozenset[str] | None]:
    known = ((name, by_seed.get(seed, {}).get(key)) for name, by_seed in others)
    return next(((name, values) for name, values in known if values), ("", None))


def _joined(values: Iterable[str]) -> str:
    return AND.join(sorted(values))


def described(found: Sequence[Mismatch]) -> str:
    """Return what differs, with both values, or "" where nothing does.

    >>> described([Mismatch("vqa", "eval_batch", "32", "lora r16", "64")])
    'scored with batch size 32 (lora r16: 64) on vqa'
    """
    training = [_pair(item) for item in found if item.stage == TRAINING]
    return "; ".join(([f"trained with {', '.join(training)}"] if training else []) + list(_scores(found)))


def _scores(found: Sequence[Mismatch]) -> Iterator[str]:
    """Yield a clause for each group of tasks whose scores differ in the same way."""
    by_task: dict[str, list[str]] = {}
    for item in found:
        if item.stage != TRAINING:
            by_task.setdefault(item.stage, []).append(_pair(item))
    tasks: dict[str, list[str]] = {}
    for task, pairs in by_task.items():
        tasks.setdefault(", ".join(pairs), []).append(task)
    for pairs_text, on in tasks.items():
        yield f"scored with {pairs_text} on {', '.join(on)}"


def _pair(item: Mismatch) -> str:
    return f"{_WORDS.get(item.field, item.field)} {item.mine} ({item.other}: {item.theirs})"
