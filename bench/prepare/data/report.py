"""Report what a check of the data found, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Literal

from bench.plugins.task import Split

Kind = Literal["split", "count", "record", "id", "answer", "picture", "leak"]

_SHOWN = 5  # printed findings of each kind; the JSON has all


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault (if ``wrong``) or a note about a split; ``place`` is a file, a record or an example."""

    kind: Kind
    task: str
    split: Split
    place: str
    reason: str
    wrong: bool = True

    def __str__(self) -> str:
        """Return the finding as one line."""
        text = f"{self.task} {self.split}: {self.place}: {self.reason}"
        return f"{'wrong' if self.wrong else 'note '}  {' '.join(text.splitlines())}"


@dataclass(frozen=True, slots=True)
class Seen:
    """How much of a split was checked: examples, their distinct images, and skipped records."""

    examples: int
    pictures: int
    skipped: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """Everything that was checked, by task and split, and all findings."""

    seen: Mapping[str, Mapping[Split, Seen]]
    findings: Sequence[Finding]

    @property
    def wrong(self) -> int:
        """The number of findings that are ``wrong``."""
        return sum(finding.wrong for finding in self.findings)

    def verdict(self) -> str:
        """Return the last line of the report, which says whether anything is wrong."""
        if not self.wrong:
            return "Nothing is wrong."
        return "One thing is wrong." if self.wrong == 1 else f"{self.wrong:,} things are wrong."

    def as_json(self) -> str:
        """Return the whole report as JSON."""
        seen = {task: {split: asdict(one) for split, one in splits.items()} for task, splits in self.seen.items()}
        whole = {"wrong": self.wrong, "seen": seen, "findings": [asdict(finding) for finding in self.findings]}
        return json.dumps(whole, indent=1) + "\n"

    def lines(self) -> Iterator[str]:
        """Yield what was checked, then the findings, at most five of each kind for each split."""
        width = max(map(len, self.seen), default=0)
        for task, splits in self.seen.items():
            for split, one in splits.items():
                skipped = f", {one.skipped:,} skipped" if one.skipped else ""
                yield f"{task:{width}}  {split:10}  {one.examples:7,} examples, {one.pictures:7,} images{skipped}"
        for _, found in groupby(self.findings, lambda one: (one.task, one.split, one.kind, one.wrong)):
            group = list(found)
            yield from map(str, group[:_SHOWN])
            if len(group) > _SHOWN:
                first = group[0]
                yield f"       … and {len(group) - _SHOWN:,} more of {first.task} {first.split} like this"
