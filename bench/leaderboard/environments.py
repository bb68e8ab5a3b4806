"""Find the differences between environments that make two trials incomparable.

An unknown value is treated as equal to any other. The sharing of work (workers, micro-batch, checkpointing) does not
count, because it changes an update only by rounding and by the masks of dropout. Host, Ray, Python and patch versions
do not count either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bench.environment import AND

TRAINING = "training"
LEARNT_WITH = ("device", "torch", "transformers", "peft", "bitsandbytes", "attention", "dtype", "quantization")
SCORED_WITH = ("device", "torch", "transformers", "attention", "dtype", "eval_batch")

Facts = Mapping[tuple[str, str], frozenset[str]]  # (TRAINING or a task, field) -> known values, rarely two
BySeed = Mapping[int, Facts]

_VERSIONS = ("torch", "transformers", "peft", "bitsandbytes")
_UNKNOWN = {"", "unknown"}
_WORDS = {"eval_batch": "batch size"}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A field in which the environments of two rows differ; ``theirs`` belongs to the row ``other``."""

    stage: str
    field: str
    mine: str
    other: str
    theirs: str


def facts(learnt: Iterable[Mapping[str, str]], scored: Mapping[str, Mapping[str, str]]) -> Facts:
    """Return the environment fields of a trial that matter for comparisons.

    ``learnt`` has the environments in which the trial and its parents were trained. ``scored`` has the environment of
    each task's score.
    """
    found: dict[tuple[str, str], frozenset[str]] = {}
    stages = (
        *((TRAINING, LEARNT_WITH, environment) for environment in learnt),
        *((task, SCORED_WITH, environment) for task, environment in scored.items()),
    )
    for stage, fields, environment in stages:
        for field in fields:
            if values := _values(field, environment.get(field, "")):
                known = found.get(place := (stage, field))
                found[place] = known | values if known else values
    return found


def merged(many: Iterable[Facts]) -> Facts:
    """Return the union of several facts, with every known value of each field."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for each in many:
        for key, values in each.items():
            found[key] = found.get(key, frozenset()) | values
    return found


@lru_cache(maxsize=4096)
def _values(field: str, text: str) -> frozenset[str]:
    """Return the known values of a field, as they are compared."""
    return frozenset(_value(field, part) for part in text.split(AND)) - _UNKNOWN


def _value(field: str, text: str) -> str:
    """Return a value as it is compared: only the major and minor number of a version.

    >>> _value("torch", "2.13.0+cu126")
    '2.13'
    """
    return ".".join(text.partition("+")[0].split(".")[:2]) if field in _VERSIONS else text


def against(
    mine: BySeed, others: Sequence[tuple[str, BySeed]], stages: Collection[str] | None = None
) -> tuple[Mismatch, ...]:
    """Return the fields in which a row differs from the others, seed by seed.

    A field is compared with the first of ``others`` that knows its value. Only ``stages`` count, which are tasks or
    TRAINING; None means all stages.
    """
    found: dict[Mismatch, None] = {}
    compared: list[tuple[Facts, list[Facts]]] = []
    for seed, known in mine.items():
        theirs = [by_seed.get(seed, {}) for _, by_seed in others]
        if (theirs and theirs[0] == known) or (known, theirs) in compared:  # most seeds ran in one environment
            continue
        compared.append((known, theirs))
        for (stage, field), values in known.items():
            if stages is None or stage in stages:
                place = next((i for i, each in enumerate(theirs) if each.get((stage, field))), None)
                if place is not None and (first := theirs[place][stage, field]) != values:
                    found[Mismatch(stage, field, _joined(values), others[place][0], _joined(first))] = None
    return tuple(found)


def _joined(values: Iterable[str]) -> str:
    return AND.join(sorted(values))


def described(found: Sequence[Mismatch]) -> str:
    """Return a text that names every difference with both values, or "" if nothing differs.

    >>> described([Mismatch("vqa", "eval_batch", "32", "lora r16", "64")])
    'scored with batch size 32 (lora r16: 64) on vqa'
    """
    training = [_pair(item) for item in found if item.stage == TRAINING]
    return "; ".join(([f"trained with {', '.join(training)}"] if training else []) + list(_scores(found)))


def _scores(found: Sequence[Mismatch]) -> Iterator[str]:
    """Yield a clause for each group of tasks whose scoring differs in the same way."""
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
