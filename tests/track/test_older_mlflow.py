"""An MLflow that an earlier version wrote, in fractions, is brought up to date."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from bench.plugins.registry import Registry
from bench.store.run_folder import Store
from bench.track import ChainRun, Mirror, sync
from bench.track.chain_runs import write_chains
from bench.track.experiment import Experiment
from tests.making.mirrors import COMMAND, DARE, LORA, plan, put
from tests.track.conftest import another_process, client, runs


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
    for run in runs(store.root).values():
        if "units" in run.data.tags:
            reader.delete_tag(run.info.run_id, "units")
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


@pytest.mark.slow
def test_sync_brings_the_fractions_of_an_earlier_version_up_to_date(older: Store) -> None:
    before = runs(older.root)
    assert before["lora-r4-new-s0"].data.metrics["forgetting/old"] == -0.125

    assert sync(older, Registry()) == 3

    check_is_in_points(older, before)
    assert sync(older, Registry()) == 0


@pytest.mark.slow
def test_the_next_command_brings_all_runs_of_an_earlier_version_up_to_date(older: Store) -> None:
    before, record = runs(older.root), older.read(DARE)
    assert record is not None

    with Mirror(older, plan(), COMMAND) as mirror:
        mirror.take(record)  # the command needed this trial alone

    check_is_in_points(older, before)
    assert sync(older, Registry()) == 0


@pytest.mark.slow
def test_a_metric_that_is_no_longer_written_does_not_stay_in_fractions(older: Store) -> None:
    reader, before = client(older.root), runs(older.root)["lora-r4-new-s0"].info.run_id
    reader.log_metric(before, "forgetting/gone", 0.5)
    chain = reader.create_run(runs(older.root)["lora-r4-new-s0"].info.experiment_id, run_name="chain").info.run_id
    reader.set_tag(before, "mlflow.parentRunId", chain)

    sync(older, Registry())

    after = runs(older.root)["lora-r4-new-s0"]
    assert "forgetting/gone" not in after.data.metrics
    assert after.data.metrics["source/old"] == 87.5
    assert after.data.tags["mlflow.parentRunId"] == chain
    assert reader.get_run(before).info.lifecycle_stage == "deleted"  # in MLflow's trash
    assert len(reader.get_metric_history(after.info.run_id, "train/loss")) == 3


@pytest.mark.slow
def test_chains_of_another_machine_are_changed_too_and_a_moved_folder_is_not_changed_again(
    older: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, command = client(older.root), runs(older.root)["bench sync"]
    chain = ChainRun("lora a.b s0", {"method": "lora"}, (("ap_k", 0.5, 1),), ())
    write_chains(reader, command.info.experiment_id, "small", command.info.run_id, [chain])
    reader.delete_tag(runs(older.root)[chain.name].info.run_id, "units")
    monkeypatch.setattr(socket, "gethostname", lambda: "another")

    sync(older, Registry())

    assert runs(older.root)[chain.name].data.tags["units"] == "points"
    moved = Store(older.root.rename(tmp_path / "moved"))
    another_process()
    monkeypatch.setattr(socket, "gethostname", lambda: "a third")
    monkeypatch.setattr(Experiment, "modernize", lambda self: pytest.fail("the folder is changed again"))
    assert sync(moved, Registry()) == 0


def test_the_first_command_says_once_that_it_brings_earlier_trials_up_to_date(
    older: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    record = older.read(DARE)
    assert record is not None

    for _ in range(2):
        with Mirror(older, plan(), COMMAND) as mirror:
            mirror.take(record)
    sync(older, Registry())

    assert capsys.readouterr().err == "MLflow: bringing 2 earlier trials up to date; this happens once.\n"


def test_sync_says_once_that_it_brings_earlier_trials_up_to_date(
    older: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        sync(older, Registry())

    assert capsys.readouterr().err == "MLflow: bringing 3 earlier trials up to date; this happens once.\n"
