from __future__ import annotations

from pathlib import Path

from bench.store.clean import Used, leftovers, unused
from bench.store.run_folder import RECORD, Store
from bench.values.record import Record
from tests.making.trials import TRIAL


def test_predictions_that_a_killed_evaluation_left_can_go_and_scores_cannot(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(Record(TRIAL, "done"))
    store.scores_of(TRIAL).write("0123", [{"id": "1"}])
    store.scores_of(TRIAL).partial("4567", {}, 1, lambda count: None).keep({0: "red"}, 1.0)

    found = leftovers(store, Used(frozenset({TRIAL.id})))

    assert [item.path.name for item in found] == ["4567.part-1.jsonl"]


def test_a_trial_whose_record_is_of_a_newer_version_is_not_offered(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(Record(TRIAL, "done"))
    folder = store.folder(TRIAL)
    (folder / "change").mkdir()
    (folder / "fitted.json").write_text("{}", encoding="utf-8")
    path = folder / RECORD
    path.write_text(path.read_text(encoding="utf-8").replace('"id"', '"color": "red", "id"'), encoding="utf-8")

    with store.locked():
        assert unused(store, Used(frozenset()), tmp_path / "none") == []

    path.unlink()
    assert [item.path for item in unused(store, Used(frozenset()), tmp_path / "none")] == [folder]
