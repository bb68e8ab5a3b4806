"""Note which suite and which model a revision means: a trial names its base model by revision alone."""

from __future__ import annotations

import json
from pathlib import Path

from bench.store.json_note import read_note
from bench.store.places import replace_file

_FILE = "models.json"


def note_model(root: Path, revision: str, suite: str, model: str) -> None:
    """Note in a run folder which suite and which model, a folder or a hub id, a revision means."""
    noted = noted_models(root)
    if noted.get(revision) != (suite, model):
        data = {**noted, revision: (suite, model)}
        replace_file(root / _FILE, json.dumps(data, indent=1) + "\n")


def noted_models(root: Path) -> dict[str, tuple[str, str]]:
    """Return the suites and models noted in a run folder, by revision.

    Raises:
        StoreError: the note is damaged.
    """
    noted = read_note(
        root / _FILE,
        lambda data: {revision: (suite, model) for revision, (suite, model) in data.items()},
        "{path} is damaged ({error}). Delete it; the next run writes it anew.",
    )
    return noted or {}
