"""Save the suite and the model of each revision; a trial names its base model by revision only."""

from __future__ import annotations

from pathlib import Path

from bench.store.json_note import read_note, write_note

_FILE = "models.json"


def note_model(root: Path, revision: str, suite: str, model: str) -> None:
    """Save in a run folder the suite and the model (a folder or a hub id) of a revision."""
    noted = noted_models(root)
    if noted.get(revision) != (suite, model):
        write_note(root / _FILE, {**noted, revision: (suite, model)})


def noted_models(root: Path) -> dict[str, tuple[str, str]]:
    """Return the suites and models saved in a run folder, by revision.

    Raises:
        StoreError: the file is damaged.
    """
    noted = read_note(
        root / _FILE,
        lambda data: {revision: (suite, model) for revision, (suite, model) in data.items()},
        "{path} is damaged ({error}). Delete it; the next run writes it again.",
    )
    return noted or {}
