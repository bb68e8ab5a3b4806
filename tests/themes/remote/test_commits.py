"""Killed between any two puts, an object store holds a trial that is unfinished or finished, never in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import StoreError
from bench.model.change import Change, LowRank, Sparse
from bench.store.changes import CHECKPOINT
from bench.store.drafts import put, set_aside
from bench.store.places import place
from bench.store.run_folder import Store
from bench.values.record import Record
from bench.values.scores import Score
from tests.making import trials
from tests.making.trials import ASKED

TRIAL = replace(trials.TRIAL, rank=1)


def change(value: float) -> Change:
    return Change({"x.weight": LowRank(torch.full((2, 1), value), torch.ones(1, 3), 2.0)})


def value_of(found: Change) -> float:
    delta = found["x.weight"]
    assert isinstance(delta, LowRank)
    return float(delta.b[0, 0])


def work(store: Store, value: float) -> None:
    """Do what a lane does of a trial, in its order."""
    store.begin(TRIAL)
    put(store.folder(TRIAL) / CHECKPOINT, b"state")
    store.change_of(TRIAL).snapshot(1).write(change(value / 2))
    store.change_of(TRIAL).write(change(value), [0.5, 0.25], {"seconds": value})
    store.scores_of(TRIAL).write(ASKED.key, [{"id": "1"}, {"id": "2"}])
    store.write(Record(TRIAL, "done"))


def killed(action: Callable[[], None]) -> None:
    with pytest.raises(BaseException, match=r"^$") as caught:
        action()
    assert type(caught.value).__name__ == "Killed"


@pytest.fixture
def store(bucket: Any) -> Store:
    return Store(place("bucket://lab/runs"))


def test_a_trial_that_is_killed_between_any_two_puts_is_unfinished(
    store: Store, bucket: Any, kill_at: Callable[[int | None], None]
) -> None:
    work(store, 1.0)
    puts = len(bucket.log)
    assert [line.rsplit("/", 1)[1] for line in bucket.log[:3]] == [
        CHECKPOINT,
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert bucket.log[-1].endswith("record.json")

    for count in range(puts):
        for file in bucket.folder.iterdir():
            file.unlink()
        kill_at(count)
        killed(lambda: work(store, 1.0))
        kill_at(None)

        assert store.read(TRIAL) is None
        assert list(store.records()) == []
        if store.change_of(TRIAL).snapshot(1).is_whole():
            assert value_of(store.change_of(TRIAL).read(1)) == 0.5
        if store.change_of(TRIAL).facts() is not None:
            assert value_of(store.change_of(TRIAL).read()) == 1.0
            assert store.change_of(TRIAL).losses() == [0.5, 0.25]

    work(store, 1.0)
    assert store.read(TRIAL) == Record(TRIAL, "done")
    assert puts == 10  # checkpoint, snapshot (2), change (2), losses, facts, away with the checkpoint, scores, record
    assert store.scores_of(TRIAL).read(Score(ASKED, "a", {}, f"scores/{ASKED.key}.jsonl")) == [{"id": "1"}, {"id": "2"}]


def test_a_change_that_is_learnt_again_is_never_half_the_old_one(
    store: Store, bucket: Any, kill_at: Callable[[int | None], None]
) -> None:
    store.change_of(TRIAL).write(change(1.0), [], {"seconds": 1.0})
    bucket.log.clear()
    store.change_of(TRIAL).write(change(2.0), [], {"seconds": 2.0})

    for count in range(len(bucket.log)):
        store.change_of(TRIAL).write(change(1.0), [], {"seconds": 1.0})
        kill_at(count)
        killed(lambda: store.change_of(TRIAL).write(change(2.0), [], {"seconds": 2.0}))
        kill_at(None)

        facts = store.change_of(TRIAL).facts()
        assert facts is None or facts["seconds"] == value_of(store.change_of(TRIAL).read())

    store.change_of(TRIAL).write(change(2.0), [], {"seconds": 2.0})
    assert value_of(store.change_of(TRIAL).read()) == 2.0


def test_a_snapshot_that_is_taken_again_is_there_whole_or_not(
    store: Store, bucket: Any, kill_at: Callable[[int | None], None]
) -> None:
    store.change_of(TRIAL).snapshot(1).write(change(1.0))
    bucket.log.clear()
    store.change_of(TRIAL).snapshot(1).write(change(2.0))

    for count in range(len(bucket.log)):
        store.change_of(TRIAL).snapshot(1).write(change(1.0))
        kill_at(count)
        killed(lambda: store.change_of(TRIAL).snapshot(1).write(change(2.0)))
        kill_at(None)

        assert not store.change_of(TRIAL).snapshot(1).is_whole() or value_of(store.change_of(TRIAL).read(1)) in {
            1.0,
            2.0,
        }


def test_a_change_that_peft_cannot_load_takes_the_place_of_one_it_can(root: Path) -> None:
    store = Store(root)
    store.prepare()
    store.begin(TRIAL)
    mask = torch.tensor([[True, False, True]])
    store.change_of(TRIAL).write(change(1.0), [], {})
    store.change_of(TRIAL).write(Change({"x.weight": Sparse.of(torch.ones(1, 3), mask)}), [], {})

    assert isinstance(store.change_of(TRIAL).read()["x.weight"], Sparse)
    assert not (store.folder(TRIAL) / "change" / "adapter_config.json").is_file()


def test_a_damaged_change_is_named_by_its_place(store: Store) -> None:
    store.change_of(TRIAL).write(change(1.0), [], {})
    put(store.folder(TRIAL) / "change" / "adapter_model.safetensors", b"cut")
    with pytest.raises(StoreError, match=r"^bucket://lab/runs/lora.*/change holds no readable change"):
        store.change_of(TRIAL).read()


def test_a_damaged_record_and_change_are_set_aside_wherever_they_lie(root: Path) -> None:
    put(root / "record.json", b"\xff{")
    put(root / "change" / "weights", b"cut")
    put(root / "change.corrupt" / "earlier", b"")

    aside = [set_aside(root / name) for name in ("record.json", "change")]

    assert [path.name for path in aside] == ["record.json.corrupt", "change.corrupt"]
    assert aside[0].read_bytes() == b"\xff{"
    assert [path.name for path in aside[1].iterdir()] == ["weights"]
    assert not (root / "record.json").exists()
    assert not (root / "change").exists()


def test_trials_are_found_wherever_the_run_folder_lies(root: Path) -> None:
    store = Store(root)
    store.prepare()
    store.check()
    work(store, 1.0)

    assert [record.trial for record in store.records()] == [TRIAL]
    assert store.find(TRIAL.label).trial == TRIAL
    assert not (store.folder(TRIAL) / CHECKPOINT).is_file()
    put(store.folder(TRIAL) / "change" / "adapter_model.safetensors", b"cut")
    assert not store.change_of(TRIAL).is_whole()
    assert store.change_of(TRIAL).facts() is None
    assert (store.folder(TRIAL) / "change.corrupt" / "adapter_model.safetensors").read_bytes() == b"cut"
