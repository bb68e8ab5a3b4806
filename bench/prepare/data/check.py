"""Check the data of tasks: records, ids, answers, images, and images shared by training and test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from pathlib import Path

from bench.errors import DataError
from bench.plan.suite import SUITES
from bench.plugins.task import SPLITS, Example, Fault, Split, Task
from bench.prepare.data.leaks import pairs
from bench.prepare.data.likeness import Look, look_at
from bench.prepare.data.progress import meter
from bench.prepare.data.report import DataReport, Finding, Seen
from bench.trial.tokens import Tokens

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


_Pictures = list[tuple[Example, Look]]  # the distinct readable images of a split, each with its first example


def check(tasks: Sequence[Task], allowed: int, tokens: Tokens | None, max_length: int) -> DataReport:
    """Return a report of what is wrong with the data of tasks, and of what is only worth knowing.

    With ``tokens``, the texts are checked too, as a model reads them that trains on ``max_length`` tokens.

    Up to ``allowed`` skipped records of a split are tolerated. ``Reading.skip_bad`` of the tasks must be so large that
    no task stops at its first broken record. It is wrong if a target's training shares an image with a source's test.
    If two splits of one task share an image, this is only noted, because the owner of the data drew the splits.
    """
    seen: dict[str, dict[Split, Seen]] = {}
    findings: list[Finding] = []
    pictures: dict[tuple[str, Split], _Pictures] = {}
    for task in tasks:
        ids: dict[str, Split] = {}
        for split in SPLITS:
            try:
                examples = task.examples(split)
            except DataError as error:
                findings.append(Finding("split", task.name, split, "it cannot be read", str(error)))
                continue
            untold = _untold(tokens, task, split, max_length) if tokens else []
            findings += _records(task, split, examples, allowed, untold)
            findings += _ids(task, split, examples, ids)
            findings += _answers(task, split, examples)
            found, broken = _look(task, split, examples)
            findings += broken
            pictures[task.name, split] = found
            count = len(found) + len(broken)
            seen.setdefault(task.name, {})[split] = Seen(len(examples), count, len(task.faults(split)) + len(untold))
    findings += _leaks(tasks, pictures)
    return DataReport(
        seen, sorted(findings, key=lambda one: (not one.wrong, [task.name for task in tasks].index(one.task)))
    )


def _untold(tokens: Tokens, task: Task, split: Split, max_length: int) -> list[Fault]:
    """Return the faults that only a tokenizer finds: in a prompt and its answer in training, else in a prompt."""
    found: list[Fault] = []
    for example in task.examples(split):
        try:
            if split != "train":
                tokens.prompt(task, example)
            elif example.answers:
                tokens.lesson(task, example, max_length)
        except DataError as error:
            found.append(Fault(task.place(example, split), str(error)))
    return found


def _records(
    task: Task, split: Split, examples: Sequence[Example], allowed: int, untold: Sequence[Fault]
) -> Iterator[Finding]:
    faults = [*task.faults(split), *untold]
    tolerated = len(faults) <= allowed
    for fault in faults:
        yield Finding("record", task.name, split, fault.place, fault.reason, wrong=not tolerated)
    declared = task.sizes.get(split)
    if declared is not None and declared != len(examples):
        reason = f"it has {len(examples):,} examples, but {declared:,} are expected"
        # the options of a task may change the number
        yield Finding("count", task.name, split, "count", reason, wrong=not is_dataclass(task))


def _ids(task: Task, split: Split, examples: Iterable[Example], known: dict[str, Split]) -> Iterator[Finding]:
    for example in examples:
        if example.id in known:
            reason = f"{known[example.id]} already has an example with this id"
            yield Finding("id", task.name, split, example.id, reason)
        known.setdefault(example.id, split)


def _answers(task: Task, split: Split, examples: Iterable[Example]) -> Iterator[Finding]:
    # one answer is enough to train on, and a variant with its own metric takes any number
    counted = split != "train" and task.metric == task.primary
    count = task.card.answer_count if task.card and counted else None
    lettered = task.card.lettered if task.card else False
    for example in examples:
        answers, reason = example.answers, ""
        if not answers or not answers[0].strip():
            reason = "it has no answer"
        elif count is not None and len(answers) != count:
            reason = f"it has {len(answers)} answers, not {count}"
        elif lettered and (
            empty := [letter for letter, hint in zip(_LETTERS, example.hints, strict=False) if not hint.strip()]
        ):
            reason = f"its option {empty[0]} is empty"
        elif lettered and answers[0] not in list(_LETTERS[: len(example.hints) or None]):
            reason = f"its answer {answers[0]!r} is not one of its {len(example.hints) or 'lettered'} options"
        if reason:
            yield Finding("answer", task.name, split, example.id, reason)


def _look(task: Task, split: Split, examples: Sequence[Example]) -> tuple[_Pictures, list[Finding]]:
    first: dict[object, Example] = {}
    for example in examples:
        first.setdefault(example.image if isinstance(example.image, Path) else id(example.image), example)
    distinct = list(first.values())
    found, broken = _Pictures(), []
    with meter(f"check the images of {task.name} {split}", len(distinct), counted=True) as advance:
        looks = look_at(distinct, advance)
    for example, look in zip(distinct, looks, strict=True):
        if isinstance(look, str):
            broken.append(Finding("picture", task.name, split, _place(example), look))
        else:
            found.append((example, look))
    return found, broken


def _leaks(tasks: Sequence[Task], pictures: dict[tuple[str, Split], _Pictures]) -> Iterator[Finding]:
    targets = {name for suite in SUITES.values() for name in suite.targets}
    sources = {name for suite in SUITES.values() for name in suite.sources}
    for learnt in tasks:
        if learnt.name in sources and learnt.name not in targets:
            continue
        for asked in tasks:
            own = asked.name == learnt.name
            if own or asked.name in sources or asked.name not in targets:
                ours, theirs = pictures.get((learnt.name, "train")), pictures.get((asked.name, "test"))
                if ours and theirs:
                    yield from _shared(learnt.name, ours, asked.name, theirs)


def _shared(learnt: str, ours: _Pictures, asked: str, theirs: _Pictures) -> Iterator[Finding]:
    for pair in pairs([look for _, look in ours], [look for _, look in theirs]):
        how = "is also" if pair.identical else f"looks like (dHash differs in {pair.distance} of 64 bits)"
        other = _place(theirs[pair.second][0])
        reason = f"{how} {other} of {asked} test"
        yield Finding("leak", learnt, "train", _place(ours[pair.first][0]), reason, wrong=learnt != asked)


def _place(example: Example) -> str:
    return str(example.image) if isinstance(example.image, Path) else f"the image of {example.id}"
