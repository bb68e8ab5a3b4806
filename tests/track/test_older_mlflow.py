"""An MLflow that an earlier version wrote, in fractions, is brought up to date."""

from __future__ import annotations

from typing import Any

import pytest

from bench.plugins.registry import Registry
from bench.store.run_folder import Store
from bench.track import Mirror, sync
from tests.making.mirrors import COMMAND, DARE, LORA, plan, put
from tests.track.conftest import client, runs


@pytest.fixture
def older(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that an earlier version mirrored: fractions, one run of the base model without a target, one view."""
    put(store, LORA, {"old": 0.875, "older": 1.0, "new": 1.0})  # forgetting is negative
    with monkeypatch.context() as earlier:
        earlier.setattr("bench.track.projection.in_points", dict)
        earlier.setattr("bench.track.projection.UNITS", "fractions")
        sync(store, Registry())
    reader = client(store.root)
    experiment = reader.get_experiment_by_name("small")
    base = runs(store.root)["zero_shot new"].info.run_id
    reader.update_run(base, name="zero_shot")
    reader.delete_tag(base, "target")
    reader.log_metric(base, "target/other", 0.5)  # of a second target
    for tag in experiment.tags:
        if tag.startswith(("bench.", "mlflow.shared")):
            reader.delete_experiment_tag(experiment.experiment_id, tag)
    reader.set_experiment_tag(experiment.experiment_id, "mlflow.sharedViewState.bench", "{}")
    return store


def check_is_in_points(store: Store, before: dict[str, Any]) -> None:
    """Assert that every run has points, and that no run is there twice or was replaced except the base model's."""
    after = runs(store.root)
    tags = client(store.root).get_experiment_by_name("small").tags
    lora = after["lora-r4-new-s0"]
    assert lora.info.run_id == before["lora-r4-new-s0"].info.run_id
    assert (lora.data.metrics["source/old"], lora.data.metrics["forgetting/old"]) == (87.5, -12.5)
    assert after["zero_shot new"].data.metrics["avg"] == 56.25
    assert "target/other" not in after["zero_shot new"].data.metrics
    assert sum(run.data.tags.get("kind") in {"trial", "reference"} for run in after.values()) == 3
    assert "mlflow.sharedViewState.bench" not in tags
    assert "mlflow.sharedViewState.bench.target.new" in tags


def test_sync_brings_the_fractions_of_an_earlier_version_up_to_date(older: Store) -> None:
    before = runs(older.root)
    assert before["lora-r4-new-s0"].data.metrics["forgetting/old"] == -0.125

    assert sync(older, Registry()) == 3

    check_is_in_points(older, before)
    assert sync(older, Registry()) == 0


def test_the_next_command_brings_all_runs_of_an_earlier_version_up_to_date(older: Store) -> None:
    before, record = runs(older.root), older.read(DARE)
    assert record is not None

    with Mirror(older, plan(), COMMAND) as mirror:
        mirror.take(record)  # the command needed this trial alone

    check_is_in_points(older, before)
    assert sync(older, Registry()) == 0
