"""Keep a note of every run of a run folder: its command, its cells and its trials, next to its reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bench.store import drafts, places
from bench.store.json_note import read_note, write_note
from bench.store.run_folder import Census, Store
from bench.values.canonical import digest

FOLDER = "reports"
Kind = Literal["run", "search", "study", "sequence"]

_NOTE = "command.json"
_LATEST = "latest.json"
_OLD_REPORTS = ("leaderboard.*", "curves/*")  # version 0.1.0 wrote the reports of its last run to the top
_DAMAGED = "{path} is damaged ({error}). Delete it and run its command again."
_LONGEST = 60  # letters of a name before its digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run, search, study or sequence, as ``kind`` says, and what it left.

    ``selection`` holds the values of the options that say which cells it meant, by name, as JSON stores them.
    ``started`` is the time in UTC, in ISO 8601. ``cells`` holds a pair for each cell: the trial's id and its target;
    ``scores`` holds the score keys that a cell shows, by target. ``trials`` are the ids of all trials that it needs.
    A search learns them only at its end; before that, ``labels`` has the labels of its trials. ``reports`` is the
    folder of its reports, relative to the run folder; it is empty for a run of version 0.1.0. ``methods`` are those
    that the words of ``selection`` meant at the start, because later versions may mean others by the same word.
    ``chained`` holds what only a sequence has: chains, orders, when its sources are scored, controls, and --tuned. The
    search of a sequence has chains and orders. ``files`` are the files of the reports, relative to the run folder, and
    ``made_from`` is a digest of what they follow from, or "" if that is not known.
    """

    name: str
    command: str
    selection: Mapping[str, Any]
    kind: Kind = "run"
    started: str
    finished: bool = False
    cells: tuple[tuple[str, str], ...] = ()
    scores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trials: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    reports: str = ""
    methods: tuple[str, ...] = ()
    chained: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    made_from: str = ""

    @property
    def is_old(self) -> bool:
        """Whether version 0.1.0 wrote the note, which names no cells and no trials."""
        return not self.reports

    def finished_cells(self, census: Census) -> int:
        """Return how many of the cells have every score that they show."""
        return sum(
            census.scores.get(trial, frozenset()).issuperset(self.scores.get(target, ()))
            for trial, target in self.cells
        )

    def finished_scores(self, census: Census) -> int:
        """Return how many scores of the cells are finished."""
        return sum(
            len(census.scores.get(trial, frozenset()).intersection(self.scores.get(target, ())))
            for trial, target in self.cells
        )

    def finished_trials(self, census: Census) -> int:
        """Return how many of the trials are finished."""
        return sum(trial in census.done for trial in self.trials)


def now() -> str:
    """Return the time in UTC, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def run_name(kind: Kind, meaning: Mapping[str, Any]) -> str:
    """Return the name of a run: readable words, and a digest of the options that say which cells it means."""
    words: list[str] = [] if kind == "run" else [kind]
    words += [str(meaning["study"])] if kind == "study" else []
    words += [str(meaning["suite"])]
    words += [str(meaning["methods"])] if kind != "study" else []  # a study decides its methods
    words += [f"r{meaning['ranks']}"]
    words += [str(meaning["targets"])] if meaning["targets"] != "all" else []
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", " ".join(words))[:_LONGEST].strip("-.")
    return f"{readable}-{digest(dict(meaning))[:6]}"


def save_run(store: Store, run: Run) -> None:
    """Write the note of a run, and point to it as the latest run."""
    save_note(store, run)
    write_note(store.root / FOLDER / _LATEST, {"run": run.name, "reports": run.reports})


def save_note(store: Store, run: Run) -> None:
    """Write the note of a run."""
    data = asdict(run)
    del data["name"]  # the folder has it
    write_note(store.root / FOLDER / run.name / _NOTE, data)


def read_runs(store: Store) -> list[Run]:
    """Return the runs of a run folder that have a folder of their own, the earliest first.

    Raises:
        StoreError: a note is damaged.
    """
    paths = (store.root / FOLDER).glob(f"*/{_NOTE}")
    found = (read_note(path, partial(_parsed, path.parent.name), _DAMAGED) for path in sorted(paths))
    return sorted((run for run in found if run is not None), key=lambda run: run.started)


def latest_run(store: Store) -> str:
    """Return the name of the run that was started last, or "" if no run has a folder of its own."""
    return read_note(store.root / FOLDER / _LATEST, lambda data: str(data["run"]), _DAMAGED) or ""


def read_old_run(store: Store) -> Run | None:
    """Return the last run of version 0.1.0, which kept one note at the top of the run folder and has no name.

    Raises:
        StoreError: the note is damaged.
    """
    path = store.root / _NOTE
    found = read_note(path, lambda data: (str(data["command"]), dict(data["selection"])), _DAMAGED)
    if found is None:
        return None
    started = datetime.fromtimestamp(places.modified(path), UTC).isoformat(timespec="milliseconds")
    return Run(name="", command=found[0], selection=found[1], started=started, finished=True)


def move_old_run(store: Store, run: Run) -> None:
    """Give the run of version 0.1.0 a folder of its own, and move its reports there; the old note goes last."""
    folder = store.root / FOLDER / run.name
    reports = list(_old_reports(store))
    for path in reports:
        place = folder / path.relative_to(store.root).as_posix()
        places.make(place.parent)
        drafts.put(place, path.read_bytes())
    save_run(store, replace(run, reports=f"{FOLDER}/{run.name}"))
    for path in reports:
        places.remove(path)
    places.remove(store.root / _NOTE)


def _old_reports(store: Store) -> Iterator[Path]:
    for pattern in _OLD_REPORTS:
        yield from (path for path in sorted(store.root.glob(pattern)) if path.is_file())


def _parsed(name: str, data: dict[str, Any]) -> Run:
    cells = tuple((str(trial), str(target)) for trial, target in data.pop("cells"))
    scores = {target: tuple(keys) for target, keys in data.pop("scores").items()}
    lists: dict[str, Any] = {key: tuple(data.pop(key)) for key in ("trials", "labels")}
    lists |= {key: tuple(data.pop(key, ())) for key in ("methods", "files")}  # which earlier versions did not note
    return Run(name=name, cells=cells, scores=scores, **lists, **data)
