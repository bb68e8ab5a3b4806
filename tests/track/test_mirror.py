import json
import logging
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from bench.errors import DiskFullError, StoreError, UsageError
from bench.leaderboard.build import build
from bench.leaderboard.heading import Heading
from bench.leaderboard.tables import Leaderboard
from bench.plugins.registry import Registry
from bench.store import left_out
from bench.store.databases import database_file
from bench.store.run_folder import Store
from bench.track import Mirror, Result, sync, tracking_uri
from bench.track.projection import project
from bench.values.record import Cost, Record
from tests.making import boards
from tests.making.mirrors import COMMAND, DARE, LORA, ZERO_SHOT, plan, put
from tests.making.waiting import until
from tests.track.conftest import client, runs


def board() -> Leaderboard:
    cells = [boards.failed("lora", "new", "killed", rank=4)]
    return build(cells, None, sources=("old",), targets=("new",), heading=Heading("small"))


def place(run: Any, name: str) -> Path:
    return Path(url2pathname(urlsplit(run.info.artifact_uri).path), name)


def read(run: Any, name: str) -> str:
    return place(run, name).read_text(encoding="utf-8")


@pytest.fixture
def mirrored(store: Store, tmp_path: Path) -> Store:
    """The store after one command; zero-shot comes last, as it may when lanes work side by side."""
    report = tmp_path / "leaderboard.md"
    report.write_text("# Leaderboard\n", encoding="utf-8")
    with Mirror(store, plan(), COMMAND) as mirror:
        for trial in (LORA, DARE, ZERO_SHOT, LORA):
            record = store.read(trial)
            assert record is not None
            mirror.take(record)
        mirror.finish(partial(Result.of_board, board(), [report]))
    return store


@pytest.mark.slow
def test_a_command_is_a_run_with_a_nested_run_per_trial(mirrored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(mirrored.root))  # load_table asks the global one
    found = runs(mirrored.root)

    parent = found.pop(COMMAND)
    assert sorted(found) == ["dare-r4-new-s0 drop_rate=0.5", "lora-r4-new-s0", "zero_shot new"]
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *found.values())} == {"FINISHED"}
    assert parent.data.tags["command"] == COMMAND
    table = client(mirrored.root).load_table(parent.info.experiment_id, "rows.json", [parent.info.run_id])
    assert table[["target_task", "method", "rank"]].to_numpy().tolist() == [["new", "lora", 4]]
    assert read(parent, "leaderboard.md") == "# Leaderboard\n"


@pytest.mark.slow
def test_the_table_of_a_command_has_scores_as_its_trials_and_its_note_have_them(store: Store) -> None:
    scores = {"old": boards.right(1, 3), "new": boards.right(2, 3)}
    cell = replace(boards.cell("lora", "new", scores, rank=4), cost=Cost(7.25, 1.5, 930, 1000))
    ranked = build([cell], boards.zero_shot(scores), sources=("old",), targets=("new",), heading=Heading("small"))
    record = store.read(LORA)
    assert record is not None

    with Mirror(store, plan(), COMMAND) as mirror:
        mirror.take(record)
        mirror.finish(partial(Result.of_board, ranked, []))

    run = runs(store.root)[COMMAND]
    table = json.loads(read(run, "rows.json"))
    line = dict(zip(table["columns"], table["data"][1], strict=True))
    shown = ("old", "source", "target", "avg", "forgetting")
    assert {name: line[name] for name in ("target_task", "method", "rank", *shown)} == {
        "target_task": "new",
        "method": "lora",
        "rank": 4,
        "old": 33.33,
        "source": 33.33,
        "target": 66.67,
        "avg": 50.0,
        "forgetting": 0.0,
    }
    assert (line["train_seconds"], line["peak_memory_bytes"], line["trainable_parameters"]) == (7.25, 930, 1000)
    assert line["avg_low"] == round(line["avg_low"], 2) > 1
    assert "| lora | 4 | 33.33 " in run.data.tags["mlflow.note.content"]
    assert ranked.frame("new")["avg"].tolist() == [0.5, 0.5]


@pytest.mark.slow
def test_a_trial_has_scores_forgetting_cost_and_its_loss_curve(mirrored: Store) -> None:
    run = runs(mirrored.root)["lora-r4-new-s0"]

    assert run.data.metrics == pytest.approx(
        {
            "source/old": 25.0,
            "source/older": 50.0,
            "source/old/lenient": 35.0,
            "source/older/lenient": 60.0,
            "source/avg": 37.5,
            "target/new": 100.0,
            "target/new/lenient": 110.0,
            "target/avg": 100.0,
            "avg": 68.75,
            "forgetting/old": 50.0,
            "forgetting/older": 50.0,
            "forgetting/avg": 50.0,
            "cost/train_seconds": 7.0,
            "cost/evaluate_seconds": 0.0,
            "cost/peak_memory_bytes": 0.0,
            "cost/trainable_parameters": 0.0,
            "cost/change_bytes": 20.0,
            "train/loss": 1.0,
        }
    )
    curve = client(mirrored.root).get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in curve] == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_a_trial_is_found_by_its_tags_and_shows_what_decided_it(mirrored: Store) -> None:
    reader = client(mirrored.root)
    small = reader.get_experiment_by_name("small").experiment_id
    wanted = "tags.method = 'dare' and tags.rank = '4' and tags.target = 'new' and tags.seed = '0'"

    (run,) = reader.search_runs([small], wanted)

    assert run.data.tags["trial"] == DARE.id
    assert run.data.tags["commit"] == "0123456789ab"
    assert "arXiv" in run.data.tags["paper"]
    assert run.data.params["dare.drop_rate"] == "0.5"
    assert run.data.params["recipe.updates"] == "3"
    assert run.data.params["edits"] == "lora-r4-new-s0"


@pytest.mark.slow
def test_a_learning_rate_left_to_the_recipe_is_shown_as_the_recipes(mirrored: Store) -> None:
    assert runs(mirrored.root)["lora-r4-new-s0"].data.params["lora.lr"] == "0.001"


@pytest.mark.slow
def test_sync_replaces_a_run_in_which_an_older_version_wrote_another_value(mirrored: Store) -> None:
    stale = runs(mirrored.root)["dare-r4-new-s0 drop_rate=0.5"]
    reader = client(mirrored.root)
    for key, value in (("state", "older"), ("trial", LORA.id)):  # LORA's parameters are not those of this run
        reader.set_tag(stale.info.run_id, key, value)
    reader.delete_run(runs(mirrored.root)["lora-r4-new-s0"].info.run_id)

    assert sync(mirrored, Registry()) == 2

    found = runs(mirrored.root)
    assert {found[name].data.params["method"] for name in ("lora-r4-new-s0", "dare-r4-new-s0 drop_rate=0.5")} == {
        "lora",
        "dare",
    }
    assert reader.get_run(stale.info.run_id).info.lifecycle_stage == "deleted"


@pytest.mark.slow
def test_a_trials_files_are_the_stores_own_not_copies(mirrored: Store) -> None:
    run = runs(mirrored.root)["lora-r4-new-s0"]

    names = {file.path for file in client(mirrored.root).list_artifacts(run.info.run_id, "adapter")}
    assert names == {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    weights = place(run, "adapter/adapter_model.safetensors")
    assert weights.samefile(mirrored.folder(LORA) / "change" / "adapter_model.safetensors")
    assert json.loads(read(run, "predictions/old.jsonl").splitlines()[0])["id"] == "0"


@pytest.mark.slow
def test_the_same_command_again_goes_on_in_its_run(mirrored: Store) -> None:
    before = {name: run.info.run_id for name, run in runs(mirrored.root).items()}
    record = put(mirrored, LORA, {"old": 0.5, "older": 0.5, "new": 1.0}, count=4)

    with Mirror(mirrored, plan(), COMMAND) as mirror:
        mirror.take(record)
        mirror.finish(partial(Result.of_board, board(), []))

    after = runs(mirrored.root)
    assert {name: run.info.run_id for name, run in after.items()} == before
    assert after["lora-r4-new-s0"].data.metrics["source/avg"] == 50.0
    assert len(json.loads(read(after[COMMAND], "rows.json"))["data"]) == 1


@pytest.mark.slow
def test_sync_rebuilds_everything_and_then_has_nothing_to_do(store: Store) -> None:
    assert sync(store, Registry()) == 3
    assert sync(store, Registry()) == 0

    found = runs(store.root)
    assert sorted(found) == ["bench sync", "dare-r4-new-s0 drop_rate=0.5", "lora-r4-new-s0", "zero_shot new"]
    assert found["dare-r4-new-s0 drop_rate=0.5"].data.metrics["forgetting/avg"] == 12.5
    assert found["zero_shot new"].data.metrics["target/new"] == 25.0


@pytest.mark.slow
def test_sync_leaves_alone_what_a_command_has_mirrored(mirrored: Store) -> None:
    assert sync(mirrored, Registry()) == 0
    assert "bench sync" not in runs(mirrored.root)


@pytest.mark.slow
def test_sync_brings_new_scores_to_the_run_that_is_there(store: Store) -> None:
    sync(store, Registry())
    put(store, LORA, {"old": 0.0, "older": 0.0, "new": 0.0}, count=4)

    assert sync(store, Registry()) == 1
    assert runs(store.root)["lora-r4-new-s0"].data.metrics["avg"] == 0.0


@pytest.mark.slow
def test_the_page_of_a_command_shows_the_figure_of_its_reports(store: Store, tmp_path: Path) -> None:
    figure, record = tmp_path / "source-target.png", store.read(LORA)
    figure.write_bytes(b"")
    assert record is not None

    with Mirror(store, plan(), COMMAND) as mirror:
        mirror.take(record)
        mirror.finish(partial(Result.of_board, board(), [figure]))

    run = runs(store.root)[COMMAND]
    address = f"(get-artifact?path=source-target.png&run_uuid={run.info.run_id})"
    assert run.data.tags["mlflow.note.content"].endswith(address)


@pytest.mark.slow
def test_a_trial_that_was_cut_short_is_mirrored_again(store: Store) -> None:
    sync(store, Registry())
    run = runs(store.root)["lora-r4-new-s0"]
    client(store.root).update_run(run.info.run_id, "RUNNING")

    assert sync(store, Registry()) == 1
    assert runs(store.root)["lora-r4-new-s0"].info.status == "FINISHED"
    assert len(client(store.root).get_metric_history(run.info.run_id, "train/loss")) == 3


def test_a_failed_trial_shows_its_error_until_it_is_done(store: Store) -> None:
    failed = Record(LORA, "failed", error="ValueError: boom")
    (store.folder(LORA) / "error.txt").write_text("Traceback\nValueError: boom\n", encoding="utf-8")
    with Mirror(store, plan(), COMMAND) as mirror:
        mirror.take(failed)
    run = runs(store.root)["lora-r4-new-s0"]

    assert run.info.status == runs(store.root)[COMMAND].info.status == "FAILED"
    assert run.data.tags["error"] == "ValueError: boom"
    assert read(run, "error.txt").endswith("boom\n")

    sync(store, Registry())

    run = runs(store.root)["lora-r4-new-s0"]
    assert run.info.status == "FINISHED"
    assert "error" not in run.data.tags


def test_an_interrupted_command_ends_as_killed(store: Store) -> None:
    record = store.read(LORA)
    assert record is not None
    mirror = Mirror(store, plan(), COMMAND)
    mirror.take(record)
    until(lambda: list(store.root.glob("mlartifacts/*/artifacts/adapter")))

    mirror.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    assert runs(store.root)[COMMAND].info.status == "KILLED"


def test_a_dead_server_is_one_warning_and_the_run_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with caplog.at_level(logging.WARNING, "bench"), Mirror(store, plan(), COMMAND) as mirror:
        for record in store.records():
            mirror.take(record)
        mirror.finish(partial(Result.of_board, board(), []))

    (warning,) = [record.getMessage() for record in caplog.records if record.name == "bench.track.mirror"]
    assert warning.startswith("MLflow is not reachable (http://127.0.0.1:9: ")
    assert warning.endswith("The run continues; bench sync updates MLflow later.")
    assert "secret" not in warning
    assert "\n" not in warning


def test_a_full_disk_is_one_warning_and_leaves_no_database_that_mlflow_cannot_use(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(tracking_uri: str, registry_uri: str) -> None:
        file = database_file(tracking_uri)
        assert file is not None
        file.write_text("the first table", encoding="utf-8")
        raise RuntimeError("DROP TABLE runs") from sqlite3.OperationalError("database or disk is full")

    (store.root / "mlflow.db").unlink()
    monkeypatch.setattr("mlflow.MlflowClient", full)

    with caplog.at_level(logging.WARNING, "bench"), Mirror(store, plan(), COMMAND) as mirror:
        for record in store.records():
            mirror.take(record)
        mirror.finish(partial(Result.of_board, board(), []))

    (warning,) = [record.getMessage() for record in caplog.records if record.name == "bench.track.mirror"]
    assert warning.startswith(f"MLflow gets no copy. The disk is full: {store.root} has ")
    assert warning.endswith("MB free. The run continues; bench sync updates MLflow later.")
    assert not list(store.root.glob("mlflow.db*"))
    with pytest.raises(DiskFullError, match="Free some space, then run the same command again"):
        sync(store, Registry())


@pytest.mark.slow
def test_a_database_elsewhere_has_its_files_in_the_run_folder_all_the_same(
    store: Store, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(database, tmp_path / "mine.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mine.db")
    monkeypatch.chdir(tmp_path)

    sync(store, Registry())

    assert place(runs(store.root)["lora-r4-new-s0"], "adapter").is_relative_to(store.root / "mlartifacts")
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.slow
def test_an_experiment_that_is_there_keeps_the_place_of_its_files(store: Store, tmp_path: Path) -> None:
    client(store.root).create_experiment("small", (tmp_path / "before").as_uri())

    sync(store, Registry())

    assert place(runs(store.root)["lora-r4-new-s0"], "adapter").is_relative_to(tmp_path / "before")


def test_sync_says_that_a_server_is_dead(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with pytest.raises(StoreError, match="did not accept the run folder"):
        sync(store, Registry())


def test_a_command_that_had_nothing_to_do_leaves_nothing(store: Store) -> None:
    (store.root / "mlflow.db").unlink()

    with Mirror(store, plan(), COMMAND) as mirror:
        mirror.finish(partial(Result.of_board, board(), []))

    assert not (store.root / "mlflow.db").exists()


@pytest.mark.parametrize("output", ["s3://bucket/runs", "s3:/bucket/runs", "/home/me/gs:/bucket"])
def test_a_database_is_refused_on_a_remote_run_folder(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    with pytest.raises(UsageError, match="Set MLFLOW_TRACKING_URI"):
        tracking_uri(Path(output))


@pytest.mark.slow
def test_a_task_in_another_variant_is_mirrored_under_a_name_that_mlflow_takes(store: Store) -> None:
    put(store, replace(LORA, target="new@short"), {"old@lmms": 0.5, "new@short": 1.0})

    sync(store, Registry())

    assert runs(store.root)["lora-r4-new@short-s0"].data.metrics["source/old:lmms"] == 50.0


@pytest.mark.slow
def test_importing_the_tracker_does_not_import_mlflow() -> None:
    code = "import sys, bench.track; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_means_leave_out_the_sources_that_the_last_command_left_out(store: Store) -> None:
    left_out.save(store, ZERO_SHOT, ["older"])
    record, reference = store.read(LORA), store.read(ZERO_SHOT)
    assert record is not None

    metrics = project(record, reference, {"new"}, Registry(), left_out.read(store, ZERO_SHOT)).metrics

    assert metrics["source/older"] == 50.0
    assert metrics["source/avg"] == 25.0
    assert metrics["avg"] == (25.0 + 100.0) / 2
    assert metrics["forgetting/avg"] == 50.0
