import errno
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.errors import StoreError
from bench.model.change import Change, LowRank
from bench.store.changes import Handover, StoredChange
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


WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def stored(store: Store) -> StoredChange:
    """A change that is complete."""
    store.folder(TRIAL).mkdir()
    change = store.change_of(TRIAL)
    change.write(Change({"x.weight": LowRank(torch.ones(2, 1), torch.ones(1, 3), 2.0)}), [], {"seconds": 1.0})
    return change


@pytest.mark.parametrize("how", ["cut", "replaced", "emptied"])
def test_a_damaged_change_is_set_aside_and_named(
    stored: StoredChange, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = stored.folder / "change" / WEIGHTS
    if how == "replaced":
        save_file({"x": torch.ones(1)}, path)  # without the kinds of the deltas
    else:
        path.write_bytes(path.read_bytes()[: 20 if how == "cut" else 0])
    damaged = path.read_bytes()
    (stored.folder / "change.corrupt").mkdir()
    (stored.folder / "change.corrupt" / "older").touch()

    with caplog.at_level(logging.WARNING):
        assert not stored.is_whole()

    assert stored.facts() is None
    assert not (stored.folder / "change").exists()
    assert [path.name for path in (stored.folder / "change.corrupt").glob("*.safetensors")] == [WEIGHTS]
    assert (stored.folder / "change.corrupt" / WEIGHTS).read_bytes() == damaged
    assert not (stored.folder / "change.corrupt" / "older").exists()
    assert f"{stored.folder / 'change'} holds no readable change" in caplog.text
    assert "renamed to change.corrupt" in caplog.text


def test_a_change_whose_weights_are_gone_is_learnt_again(stored: StoredChange) -> None:
    (stored.folder / "change" / WEIGHTS).unlink()

    assert not stored.is_whole()
    assert stored.facts() is None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ESTALE, "Stale file handle"),
        PermissionError(errno.EACCES, "Permission denied"),
        FileNotFoundError("No such file or directory: x"),  # what safe_open says if too many files are open
        RuntimeError("unable to mmap 400 bytes from file <x>: Cannot allocate memory (12)"),
    ],
)
def test_a_change_that_cannot_be_read_now_is_left_alone(
    stored: StoredChange, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr("bench.model.change.safe_open", refused)
        with pytest.raises(StoreError, match=r"change cannot be read \(.+\)\. Check .+ run the same command again\."):
            stored.is_whole()

    assert stored.is_whole()


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
