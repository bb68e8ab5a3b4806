"""Read a run folder as data frames: its trials, the score of every example, and the leaderboard of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.store.places import place
from bench.store.run_folder import Store
from bench.store.runs import read_runs
from bench.values.record import Record
from bench.values.scores import Score
from bench.values.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

LEADERBOARD = "leaderboard.parquet"
SCORES = "scores.parquet"
_TRIAL = {"trial": "string", "label": "string", "method": "string", "target": "string"}
_NUMBERS = ("score", "lenient")
_TEXT = ("task", "split", "example", "question", "prediction", "metric")


@dataclass(frozen=True)
class RunFolder:
    """A run folder as data frames. Each is read when it is first asked for. Scores are fractions."""

    root: Path
    run: str

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial: its settings, its status, its cost, and its mean score on each task of the test split."""
        import pandas as pd

        return pd.DataFrame([_trial_line(record) for record in Store(self.root).records()])

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per trial, task and example, for every finished score of the run folder (see ``scores_frame``)."""
        store = Store(self.root)
        return scores_frame(store, store.records())

    @cached_property
    def leaderboard(self) -> pd.DataFrame:
        """One row per target and row of the leaderboard of ``run``, with the bounds of each interval.

        Raises:
            StoreError: the run has no such file.
        """
        import pandas as pd

        for run in read_runs(Store(self.root)):
            if run.name == self.run and (path := self.root / run.reports / LEADERBOARD).is_file():
                with path.open("rb") as file:
                    return pd.read_parquet(file)
        raise StoreError(f"The run {self.run!r} in {self.root} has no {LEADERBOARD}. Run its command again.")


def read(folder: str | PathLike[str], run: str = "") -> RunFolder:
    """Read a run folder, a directory or a URL, as data frames of pandas.

    ``run`` names the run of the ``leaderboard``; by default it is the latest that has one. ``bench ls runs`` lists the
    names.

    Raises:
        StoreError: there is no such run folder.
    """
    root = place(str(folder))
    known = read_runs(Store(root)) if root.is_dir() else []
    if not known:
        raise StoreError(f"There is no run folder {root}. Start one: bench run --output {root}")
    if run and run not in [each.name for each in known]:
        raise StoreError(f"{root} has no run {run!r}. Known: {', '.join(each.name for each in known)}.")
    tables = [each.name for each in known if (root / each.reports / LEADERBOARD).is_file()]
    return RunFolder(root, run or (tables or [known[-1].name])[-1])


def scores_frame(store: Store, records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per trial, task and example of some records.

    Columns: trial (id), label, method, rank, target, seed; task, split, example (id), question, answers (a list),
    prediction; metric (the main one of the task), score, and lenient (NaN if the task has no lenient score). Scores are
    fractions from 0 to 1; CIDEr may exceed 1.
    """
    import pandas as pd

    columns: dict[str, list[Any]] = {name: [] for name in (*_TRIAL, "rank", "seed", *_TEXT, "answers", *_NUMBERS)}
    for record in records:
        for score in record.scores.values():
            _add(columns, record.trial, score, store.scores_of(record.trial).read(score))
    kinds = {**_TRIAL, **dict.fromkeys(_TEXT, "string"), "rank": "Int64", "seed": "Int64"}
    return pd.DataFrame(columns).astype({**kinds, **dict.fromkeys(_NUMBERS, "float64")})


def _add(columns: dict[str, list[Any]], trial: Trial, score: Score, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add the examples of one score to the columns."""
    same = {name: getattr(trial, name) for name in ("label", "method", "rank", "target", "seed")}
    same |= {"trial": trial.id, "task": score.asked.task, "split": score.asked.split, "metric": score.primary}
    for name, value in same.items():
        columns[name] += [value] * len(rows)
    columns["example"] += [row["id"] for row in rows]
    columns["question"] += [row["question"] for row in rows]
    columns["answers"] += [list(row["answers"]) for row in rows]
    columns["prediction"] += [row["prediction"] for row in rows]
    columns["score"] += [row["scores"][score.primary] for row in rows]
    columns["lenient"] += [row["scores"].get("lenient") for row in rows]


def _trial_line(record: Record) -> dict[str, Any]:
    trial, cost = record.trial, record.cost
    line: dict[str, Any] = {"trial": trial.id, "label": trial.label, "status": record.status, "method": trial.method}
    line |= {"rank": trial.rank, "target": trial.target, "seed": trial.seed, "error": record.error}
    line |= {name: getattr(cost, name) for name in cost.__slots__}
    line |= {f"hyper.{name}": value for name, value in trial.hyper.items()}
    tested = (score for score in record.scores.values() if score.asked.split == "test")
    return line | {f"score.{score.asked.task}": score.value for score in tested}
