"""Which targets of a suite MLflow shows, and the split of each, which decide the text of the saved views."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from bench.track.projection import Projection, split_of
from bench.track.views import View, commands_view, target_views
from bench.values.record import Record


class Shown:
    """The targets that a command shows, next to all that the run folder has of the suite.

    The text of a view depends on the run folder, not on the command, so two commands do not rewrite each other's views.
    """

    def __init__(self, records: Iterable[Record], sources: Collection[str]) -> None:
        self._sources = sources
        self._learnt: set[str] = set()
        self._trials: dict[str, set[str]] = {}  # the splits of a target's trials
        self._base: dict[str, str] = {}  # the split of the base model, for a target that has no trial yet
        self._targets: set[str] = set()
        for record in records:
            trial = record.trial
            self._learnt.update(trial.learns)
            if trial.target is not None and len(trial.targets) == 1 and record.scores:
                self._trials.setdefault(trial.target, set()).add(split_of(record))

    def add(self, projection: Projection) -> bool:
        """Take in what is shown of a trial or the base model; return whether the views change."""
        tags = projection.tags
        target, split = tags.get("target"), tags.get("split")
        if "stage" in tags or not target or not split:
            return False
        before = (set(self._targets), self._splits())
        self._targets.add(target)
        if tags["kind"] == "reference":
            self._base[target] = split
        else:
            self._trials.setdefault(target, set()).add(split)
        return before != (self._targets, self._splits())

    def views(self) -> Iterator[View]:
        """Yield the views of the targets that were taken in, of all trials and of commands."""
        splits = {target: split for target, split in self._splits().items() if target in self._targets}
        yield from target_views(splits, (self._learnt | self._targets).difference(self._sources), self._sources)
        yield commands_view()

    def _splits(self) -> dict[str, str]:
        """Return the split of each target's view: test if a trial was scored on it."""
        found = {target: "test" if "test" in splits else max(splits) for target, splits in self._trials.items()}
        return self._base | found
