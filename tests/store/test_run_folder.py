import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.store.run_folder import RECORD, Store
from bench.values.record import Record
from bench.values.trial import Trial
from tests.making.trials import TRIAL


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_folder_without_a_record_is_unfinished(store: Store) -> None:
    store.folder(TRIAL).mkdir()

    assert store.read(TRIAL) is None
    assert list(store.records()) == []


def test_a_written_record_is_read_back(store: Store) -> None:
    store.write(Record(TRIAL, "failed", error="why"))

    assert store.read(TRIAL) == Record(TRIAL, "failed", error="why")


@pytest.mark.parametrize("count", [3, 200])
def test_the_records_of_many_trials_take_one_listing(store: Store, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [replace(TRIAL, seed=seed) for seed in range(count)]
    store.write(Record(trials[1], "done"))
    store.folder(trials[2]).mkdir()
    listed, looked = list[Path](), list[Trial]()
    iterdir, read = Path.iterdir, Store.read
    monkeypatch.setattr(Path, "iterdir", lambda folder: (listed.append(folder), iterdir(folder))[1])  # type: ignore[func-returns-value]
    monkeypatch.setattr(Store, "read", lambda store, trial: (looked.append(trial), read(store, trial))[1])  # type: ignore[func-returns-value]

    assert store.read_all(trials) == {trials[1].id: Record(trials[1], "done")}

    assert (len(listed), len(looked)) == ((0, 3) if count == 3 else (1, 2))


def test_a_record_is_parsed_once_as_long_as_its_file_is_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(Record(TRIAL, "failed", error="why"))
    parsed, loads = list[object](), json.loads
    monkeypatch.setattr(json, "loads", lambda text: (parsed.append(text), loads(text))[1])  # type: ignore[func-returns-value]

    before = [store.read(TRIAL), *store.records(), store.read(TRIAL)]
    Store(store.root).write(Record(TRIAL, "done"))
    after = [store.read(TRIAL), *store.records()]

    assert before == 3 * [Record(TRIAL, "failed", error="why")]
    assert after == 2 * [Record(TRIAL, "done")]
    assert len(parsed) == 2


def test_a_folder_that_does_not_exist_has_no_records(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").read_all([replace(TRIAL, seed=seed) for seed in range(100)]) == {}


@pytest.mark.parametrize("content", ["{", "{}", "null", '{"id": 1}'])
def test_a_corrupt_record_is_set_aside_and_named(store: Store, content: str, caplog: pytest.LogCaptureFixture) -> None:
    path = store.folder(TRIAL) / RECORD
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")

    with caplog.at_level(logging.WARNING):
        assert store.read(TRIAL) is None

    assert str(path) in caplog.text
    assert not path.exists()
    assert path.with_name("record.json.corrupt").read_text(encoding="utf-8") == content


def test_two_commands_cannot_work_in_one_folder(store: Store) -> None:
    with store.locked(), pytest.raises(UsageError, match="Another bench command"), Store(store.root).locked():
        pass


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match="Cannot write to --output"):
        Store(tmp_path / "file" / "runs").prepare()


def test_a_trial_is_found_by_label_id_or_the_start_of_either(store: Store) -> None:
    store.write(Record(TRIAL, "done"))

    for name in (TRIAL.label, TRIAL.id, TRIAL.id[:5], "lora-r4"):
        assert store.find(name).trial == TRIAL


def test_a_name_that_means_several_trials_is_refused_with_their_names(store: Store) -> None:
    other = replace(TRIAL, hyper={"lr": 0.1})
    store.write(Record(TRIAL, "done"))
    store.write(Record(other, "done"))

    with pytest.raises(UsageError, match="matches 2 trials"):
        store.find(TRIAL.label)


def test_records_are_whole_json_on_disk(store: Store) -> None:
    store.write(Record(TRIAL, "done"))

    assert json.loads((store.folder(TRIAL) / RECORD).read_text(encoding="utf-8"))["id"] == TRIAL.id
