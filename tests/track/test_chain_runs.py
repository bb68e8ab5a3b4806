"""Chains of a sequence as runs of MLflow, with a curve over stages and the stages nested in them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.track.chain_runs import ChainRun, change_units, write_chains
from tests.track.conftest import client, runs

LORA = ChainRun(
    "lora r4 a.b s0",
    {"method": "lora", "rank": "4", "order": "a.b"},
    (("ap_k", 0.5, 1), ("task/a", 0.5, 1), ("ap_k", 0.75, 2), ("bwt", -0.25, 2)),
    ("first", "second"),
)
LINES = replace(LORA, name="lora+lines r4 a.b s0", stages=("first", "edited"))
REPLAY = replace(LORA, name="lora replay r4 a.b s0", stages=("first", "second", "third"))


@pytest.fixture
def root(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder whose experiment has a command and a run for each of four trials."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(database, tmp_path)
    reader = client(tmp_path)
    experiment = reader.create_experiment("small")
    command = reader.create_run(experiment, run_name="command").info.run_id
    for trial in ("first", "second", "third", "edited"):
        tags = {"trial": trial, "mlflow.parentRunId": command}
        reader.create_run(experiment, tags=tags, run_name=trial)
    return tmp_path


def write(root: Path, *chains: ChainRun) -> dict[str, Any]:
    reader, experiment = client(root), client(root).get_experiment_by_name("small").experiment_id
    write_chains(reader, experiment, "small", runs(root)["command"].info.run_id, chains)
    return runs(root)


def parent(run: Any) -> str:
    return str(run.data.tags["mlflow.parentRunId"])


def test_a_chain_is_a_run_of_the_command_with_its_numbers_after_each_stage(root: Path) -> None:
    found = write(root, LORA)

    run = found[LORA.name]
    history = client(root).get_metric_history(run.info.run_id, "ap_k")
    assert parent(run) == found["command"].info.run_id
    assert [(point.step, point.value) for point in history] == [(1, 50.0), (2, 75.0)]
    assert run.data.metrics["bwt"] == -25.0
    assert run.data.params == LORA.params
    assert (run.info.status, run.data.tags["kind"], run.data.tags["suite"]) == ("FINISHED", "chain", "small")


def test_stages_are_nested_in_their_chain_but_the_first_stays_an_ordinary_trial(root: Path) -> None:
    found = write(root, LORA, LINES, REPLAY)

    command = found["command"].info.run_id
    nested = {name: parent(found[name]) for name in ("first", "second", "edited", "third")}
    assert nested == {
        "first": command,
        "second": found[LORA.name].info.run_id,  # REPLAY has it too, and comes later
        "edited": found[LINES.name].info.run_id,
        "third": found[REPLAY.name].info.run_id,
    }


def test_the_same_chain_again_is_left_alone_and_another_number_replaces_its_run(root: Path) -> None:
    first = write(root, LORA)[LORA.name].info.run_id

    again = write(root, LORA)[LORA.name].info.run_id
    changed = write(root, replace(LORA, points=(("ap_k", 0.25, 1),)))

    assert again == first
    assert changed[LORA.name].info.run_id != first
    assert [point.value for point in client(root).get_metric_history(changed[LORA.name].info.run_id, "ap_k")] == [25.0]
    assert parent(changed["second"]) == changed[LORA.name].info.run_id


def test_a_chain_in_fractions_of_an_earlier_version_is_replaced_by_one_in_points(root: Path) -> None:
    before = write(root, LORA)
    reader, old = client(root), before[LORA.name].info.run_id
    experiment = before[LORA.name].info.experiment_id
    reader.delete_tag(old, "units")
    reader.log_metric(old, "bwt", -0.25, step=3)
    reader.log_metric(old, "cost/seconds_per_stage", 7.0, step=2)

    change_units(reader, experiment, ["another command"])
    assert runs(root)[LORA.name].info.run_id == old
    change_units(reader, experiment, [before["command"].info.run_id])

    after = runs(root)
    run = after[LORA.name]
    assert [(point.step, point.value) for point in reader.get_metric_history(run.info.run_id, "bwt")][-1] == (3, -25.0)
    assert run.data.metrics["cost/seconds_per_stage"] == 7.0
    assert (parent(run), run.data.params) == (before["command"].info.run_id, LORA.params)
    assert parent(after["second"]) == run.info.run_id
    assert reader.get_run(old).info.lifecycle_stage == "deleted"  # in MLflow's trash


@pytest.mark.parametrize("interrupted", ["log_batch", "set_terminated", "set_tag", "delete_run"])
def test_a_change_of_units_that_was_interrupted_is_completed_and_leaves_no_chain_twice(
    root: Path, interrupted: str
) -> None:
    old = write(root, replace(LORA, points=(("bwt", -0.0025, 2),)))[LORA.name]  # MLflow has -0.25
    reader = client(root)
    reader.delete_tag(old.info.run_id, "units")
    stopped = client(root)

    def stop(*words: object) -> None:
        raise KeyboardInterrupt

    setattr(stopped, interrupted, stop)
    with pytest.raises(KeyboardInterrupt):
        change_units(stopped, old.info.experiment_id, None)
    change_units(reader, old.info.experiment_id, None)

    found = reader.search_runs([old.info.experiment_id])
    (run,) = [each for each in found if each.info.run_name == LORA.name]
    assert run.data.metrics["bwt"] == -25.0
    assert run.info.status == "FINISHED"
    assert parent(runs(root)["second"]) == run.info.run_id
