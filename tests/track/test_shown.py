"""The targets that MLflow shows, and the splits of their views."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bench.plan import suite
from bench.plugins.registry import Registry
from bench.store.run_folder import Store
from bench.track import Mirror, sync
from bench.track.views import PREFIX, key_of
from bench.values.record import Record
from bench.values.scores import Score
from bench.values.trial import Trial
from tests.making.mirrors import COMMAND, LORA, ZERO_SHOT, asked, plan, small
from tests.track.conftest import client

SEARCHED = replace(LORA, target="newer")


def score(store: Store, trial: Trial, split: str, *tasks: str) -> Record:
    """Write a record with scores on a split next to those that the trial has."""
    specs = [asked(task, split=split) for task in tasks]
    scores = {item.key: Score(item, "accuracy", {"accuracy": 0.5}, "f") for item in specs}
    found = store.read(trial)
    record = Record(trial, "done", {**(found.scores if found else {}), **scores})
    store.folder(trial).mkdir(exist_ok=True)
    store.write(record)
    return record


def views(store: Store) -> dict[str, str]:
    """Return the texts of the views of targets by target."""
    tags = client(store.root).get_experiment_by_name("small").tags
    texts = {target: tags.get(PREFIX + key_of(target)) for target in ("new", "newer")}
    return {target: text for target, text in texts.items() if text is not None}


def listed(store: Store, target: str) -> set[str]:
    """Return the names of the runs that the view of a target lists."""
    reader = client(store.root)
    state: dict[str, Any] = json.loads(json.loads(views(store)[target])["state"])
    experiment = reader.get_experiment_by_name("small").experiment_id
    return {run.info.run_name for run in reader.search_runs([experiment], state["searchFilter"])}


def test_each_view_lists_the_trials_and_the_base_model_on_the_split_that_its_target_has(store: Store) -> None:
    score(store, SEARCHED, "validation", "old", "older", "newer")
    score(store, ZERO_SHOT, "validation", "old", "older", "newer")

    sync(store, Registry())

    assert listed(store, "new") == {"zero_shot new", "lora-r4-new-s0", "dare-r4-new-s0 drop_rate=0.5"}
    assert listed(store, "newer") == {"zero_shot newer", "lora-r4-newer-s0"}


def test_a_command_that_sees_one_target_leaves_the_views_as_they_are(store: Store) -> None:
    score(store, SEARCHED, "test", "old", "older", "newer")
    sync(store, Registry())
    before = views(store)

    with Mirror(store, plan(), COMMAND) as mirror:
        mirror.take(score(store, replace(LORA, seed=1), "validation", "old", "older", "new"))

    assert before.keys() == {"new", "newer"}
    assert views(store) == before


def test_a_view_folds_the_stored_targets_that_are_no_sources(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(suite.SUITES, "small", small())
    score(store, SEARCHED, "test", "old", "older", "newer")
    score(store, replace(LORA, target="older"), "test", "old", "older")
    record = store.read(LORA)
    assert record is not None

    with Mirror(store, plan(), COMMAND) as mirror:
        mirror.take(record)

    assert "task/newer" in views(store)["new"]
    assert "task/older" not in views(store)["new"]
