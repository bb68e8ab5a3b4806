"""Record a study for later commands: its command line, commit, cells and trials."""

from __future__ import annotations

import json
from pathlib import Path

from bench.environment import commit
from bench.plan.plan import Plan
from bench.store.json_note import read_note
from bench.store.places import make, replace_file
from bench.store.run_folder import Store

_FILE = "study.json"


def save(folder: Path, name: str, command: str, plan: Plan) -> None:
    """Write study.json into a study's folder; ``trials`` includes the parents of its cells."""
    cells = [
        {
            "method": cell.key.method,
            "variant": cell.key.variant,
            "rank": cell.trial.rank,
            "target": cell.trial.target,
            "seed": cell.trial.seed,
            "connector": cell.trial.recipe.connector,
            "trial": cell.trial.id,
        }
        for cell in plan.cells
    ]
    data = {"study": name, "command": command, "commit": commit(), "suite": plan.request.suite.name, "cells": cells}
    data["trials"] = [work.trial.id for work in plan.works]
    make(folder)
    replace_file(folder / _FILE, json.dumps(data, indent=1) + "\n")


def studied(store: Store) -> set[str]:
    """Return the ids of all trials that the studies of a run folder need.

    Raises:
        StoreError: a study.json is damaged.
    """
    found: set[str] = set()
    for path in sorted(store.root.glob(f"studies/*/{_FILE}")):
        damaged = "{path} is damaged ({error}). Delete it and run bench study again."
        found |= read_note(path, lambda data: set(data["trials"]), damaged) or set()
    return found
