import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import StoreError, UsageError
from bench.store.changes import StoredChange
from bench.store.run_folder import RECORD, Store
from bench.values.record import Record
from bench.values.scores import Score
from bench.values.trial import Trial
from tests.making.recording import recorded
from tests.making.trials import ASKED, TRIAL


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
    listed, looked = recorded(monkeypatch, Path, "iterdir"), recorded(monkeypatch, Store, "read")

    assert store.read_all(trials) == {trials[1].id: Record(trials[1], "done")}

    assert (len(listed), len(looked)) == ((0, 3) if count == 3 else (1, 2))


def test_of_many_trials_only_those_that_began_and_are_not_done_are_asked_for_their_change(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [replace(TRIAL, seed=seed) for seed in range(200)]
    for record in (Record(trials[1], "done"), Record(trials[2], "failed"), Record(trials[3], "failed")):
        store.write(record)
    for trial in trials[3:5]:
        (store.begin(trial) / "change").mkdir()
        (store.folder(trial) / "fitted.json").touch()
    store.begin(trials[5])
    listed, looked = recorded(monkeypatch, Path, "iterdir"), recorded(monkeypatch, StoredChange, "is_there")

    found = store.holdings(trials)

    assert found.records.keys() == {trial.id for trial in trials[1:4]}
    assert found.learnt == {trials[1].id, trials[3].id, trials[4].id}
    assert (len(listed), len(looked)) == (1, 4)


def test_a_record_is_parsed_once_as_long_as_its_file_is_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(Record(TRIAL, "failed", error="why"))
    parsed = recorded(monkeypatch, json, "loads")

    before = [store.read(TRIAL), *store.records(), store.read(TRIAL)]
    Store(store.root).write(Record(TRIAL, "done"))
    after = [store.read(TRIAL), *store.records()]

    assert before == 3 * [Record(TRIAL, "failed", error="why")]
    assert after == 2 * [Record(TRIAL, "done")]
    assert len(parsed) == 2


def test_a_folder_that_does_not_exist_has_no_records(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").read_all([replace(TRIAL, seed=seed) for seed in range(100)]) == {}


@pytest.mark.parametrize("content", ["{", "{}", "null", '{"id": 1}'])
def test_a_command_with_the_lock_sets_a_corrupt_record_aside_and_names_it(
    store: Store, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = noted(store, content)

    with caplog.at_level(logging.WARNING), store.locked():
        assert store.read(TRIAL) is None

    assert f"{path} is corrupt (" in caplog.text
    assert not path.exists()
    assert path.with_name("record.json.corrupt").read_text(encoding="utf-8") == content


def test_a_command_that_only_reads_names_a_corrupt_record_once_and_leaves_it(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    path = noted(store, "{")
    with store.locked():
        pass  # the lock is given back, too

    with caplog.at_level(logging.WARNING):
        assert store.read(TRIAL) is None
        assert list(store.records()) == []

    (told,) = caplog.messages
    assert told.startswith(f"{path} is corrupt (")
    assert told.endswith("It is skipped. bench run sets it aside and runs its trial again.")
    assert path.read_text(encoding="utf-8") == "{"
    assert sorted(item.name for item in path.parent.iterdir()) == [RECORD]


NEWER: list[tuple[str, ...]] = [
    ("color",),
    ("cost", "color"),
    ("trial", "color"),
    ("trial", "recipe", "color"),
    ("trial", "parent", "color"),
    ("trial", "parent", "recipe", "color"),
    ("scores", ASKED.key, "color"),
    ("scores", ASKED.key, "asked", "color"),
]


def newer(trial: Trial, place: tuple[str, ...]) -> str:
    """Return the text of a record with a field that this version does not have."""
    record = Record(trial, "done", {ASKED.key: Score(ASKED, "exact", {"exact": 1.0}, "f")}).to_json()
    part = record
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = "red"
    return json.dumps(record)


CHILD = replace(TRIAL, method="dare", parent=TRIAL)


@pytest.mark.parametrize("place", NEWER)
def test_a_record_of_a_newer_version_stops_a_command_that_may_write_it(store: Store, place: tuple[str, ...]) -> None:
    text = newer(CHILD, place)
    path = noted(store, text, CHILD)

    with store.locked():
        with pytest.raises(StoreError, match=r"newer version .+ the field 'color'\. Update .+ another --output\.$"):
            store.read(CHILD)
        assert list(store.records()) == []  # others may be worked on

    assert path.read_text(encoding="utf-8") == text


def test_a_command_that_holds_the_folder_but_runs_no_trial_leaves_records_where_they_are(store: Store) -> None:
    newer_path, corrupt_path = noted(store, newer(CHILD, ("cost", "color")), CHILD), noted(store, "{", TRIAL)

    with store.locked(runs=False):
        assert store.read(CHILD) is None
        assert store.read(TRIAL) is None

    assert newer_path.is_file()
    assert corrupt_path.is_file()


def test_a_command_that_only_reads_skips_records_of_a_newer_version_and_says_so_once(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    others = [replace(TRIAL, seed=seed) for seed in (1, 2)]
    paths = [noted(store, newer(trial, ("cost", "color")), trial) for trial in others]
    store.write(Record(TRIAL, "done"))

    with caplog.at_level(logging.WARNING):
        assert [record.trial for record in store.records()] == [TRIAL]
        assert store.read(others[1]) is None

    (told,) = caplog.messages
    assert "a newer version of retain-bench wrote it, with the field 'color'" in told
    assert all(path.is_file() for path in paths)


def noted(store: Store, content: str, trial: Trial = TRIAL) -> Path:
    """Write something in the place of a record, and return its path."""
    path = store.folder(trial) / RECORD
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    return path


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
