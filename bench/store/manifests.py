"""Write into the run folder, for each split, which files and which examples a run used."""

from __future__ import annotations

from collections.abc import Sequence

from bench.plugins.task import Split
from bench.plugins.tasks import Tasks
from bench.store.json_note import write_note
from bench.store.run_folder import Store

FOLDER = "data"


def write(store: Store, tasks: Tasks, targets: Sequence[str], sources: Sequence[str], split: Split) -> list[str]:
    """Write ``data/TASK-SPLIT.json`` for every split that a run trains on or scores.

    Tasks that draw their examples from a seed have no such file. Return a line for each split whose broken records
    were skipped.
    """
    lines = []
    scored = [(name, split) for name in dict.fromkeys((*sources, *targets))]
    trained: list[tuple[str, Split]] = [(name, "train") for name in targets]
    for name, part in [*trained, *scored]:
        if manifest := tasks.load(name).manifest(part):
            path = store.root / FOLDER / f"{name}-{part}.json"
            write_note(path, manifest)
            if count := len(tasks.load(name).faults(part)):
                lines.append(f"{name} {part}: {count:,} broken record{'s' * (count != 1)} skipped; {path} lists them.")
    return lines
