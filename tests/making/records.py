"""What trials left behind, written by hand: nothing was trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from bench.store.run_folder import Store
from bench.values.job import Job
from bench.values.record import Record
from bench.values.scores import Score, ScoreSpec
from bench.values.trial import Trial


def done(job: Job, values: Mapping[str, float] | None = None) -> Record:
    """Return the record of a finished job: 1 on every score, or the ``values`` by task. No file holds its examples."""
    scores = {item.key: _score(item, 1.0 if values is None else values[item.task]) for item in job.asked}
    return Record(job.trial, "done", scores)


def write_scores(
    store: Store,
    trial: Trial,
    asked: Iterable[ScoreSpec],
    right: float = 0.5,
    environment: Mapping[str, str] | None = None,
) -> Record:
    """Write scores of a trial with a row per example, the first ``right`` of them right, and return its record."""
    known = store.read(trial) or Record(trial, "done")
    for item in asked:
        hits = round(right * item.count)
        rows = [
            {
                "id": str(place),
                "question": "is it?",
                "answers": ["True"],
                "prediction": str(place < hits),
                "scores": {"exact": float(place < hits)},
            }
            for place in range(item.count)
        ]
        score = _score(item, hits / item.count, store.scores_of(trial).write(item.key, rows))
        known = replace(known, scores={**known.scores, item.key: replace(score, environment=environment or {})})
    store.write(known)
    return known


def weights(store: Store, of: Record | Job) -> bytes:
    """Return the bytes of what a trial learnt."""
    return (store.folder(of.trial) / "change" / "adapter_model.safetensors").read_bytes()


def _score(asked: ScoreSpec, value: float, file: str = "") -> Score:
    return Score(asked, "exact", {"exact": value}, file)
