from pathlib import Path

import pytest
import torch

from bench.model.change import Change, LowRank
from bench.store.changes import Handover
from bench.store.run_folder import Store
from tests.making.trials import TRIAL


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_change_is_committed_with_its_losses_and_facts(store: Store) -> None:
    change = Change({"x.weight": LowRank(torch.ones(2, 1), torch.ones(1, 3), 2.0)})
    store.folder(TRIAL).mkdir()
    (store.folder(TRIAL) / "checkpoint.pt").touch()

    store.change_of(TRIAL).write(change, [0.1, 1 / 3], {"seconds": 1.0})

    assert store.change_of(TRIAL).facts() == {"seconds": 1.0}
    assert store.change_of(TRIAL).losses() == [0.1, 1 / 3]
    assert list(store.change_of(TRIAL).read()) == ["x.weight"]
    assert not (store.folder(TRIAL) / "checkpoint.pt").exists()


def test_a_change_that_is_half_written_is_trained_again(store: Store) -> None:
    change = Change({"x.weight": LowRank(torch.ones(2, 1), torch.ones(1, 3), 2.0)})
    store.folder(TRIAL).mkdir()
    store.change_of(TRIAL).write(change, [], {"seconds": 1.0})

    (store.folder(TRIAL) / "fitted.json").unlink()

    assert store.change_of(TRIAL).facts() is None


def test_the_bytes_handed_over_are_those_of_what_is_kept_and_of_the_bank(store: Store) -> None:
    change = Change({"x.weight": LowRank(torch.ones(2, 1), torch.ones(1, 3), 2.0)})
    store.folder(TRIAL).mkdir()
    stored = store.change_of(TRIAL)
    assert stored.handed_over_bytes() == 0

    stored.write(change, [], {}, Handover(own=change, kept={"seen": torch.zeros(100)}, bank={"a": change, "b": change}))

    files = [path for part in ("kept.safetensors", "bank/a/*", "bank/b/*") for path in stored.folder.glob(part)]
    assert len(files) > 3
    assert stored.handed_over_bytes() == sum(len(path.read_bytes()) for path in files) > 400


def test_a_trial_that_keeps_nothing_hands_nothing_over(store: Store) -> None:
    change = Change({"x.weight": LowRank(torch.ones(2, 1), torch.ones(1, 3), 2.0)})
    store.folder(TRIAL).mkdir()
    store.change_of(TRIAL).write(change, [], {})

    assert store.change_of(TRIAL).handed_over_bytes() == 0
