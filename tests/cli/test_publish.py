"""A run as a publication pack, in a folder and on a made-up hub."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """A hub that notes what it is asked to do."""
    calls: list[tuple[str, dict[str, Any]]] = []

    class Api:
        def create_repo(self, name: str, **options: Any) -> None:
            calls.append((f"create {name}", options))

        def upload_folder(self, *, folder_path: str, **options: Any) -> None:
            files = sorted(path.relative_to(folder_path).as_posix() for path in Path(folder_path).rglob("*.*"))
            calls.append(("upload", {**options, "files": files}))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    return calls


def test_a_pack_has_everything_a_reader_needs_and_nothing_private(two_runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pack"

    assert main(["publish", "--run", "latest", "--to", str(folder), "--output", str(two_runs)]) == 0

    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"index.html", "README.md", "run.json", "scores.parquet", "leaderboard.json"} <= names
    assert any(name.startswith("files/") and name.endswith("/page.js") for name in names)
    assert "command.json" not in names
    manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert names == {*manifest["files"], "run.json"}
    assert set(manifest["trials"].values()) == {"zero_shot", "lora-r2-new_squares-s0"}
    assert set(manifest["scored"]) == {"old_squares", "new_squares"}
    assert manifest["recipe"]["batch_size"]
    assert manifest["environment"]["torch"]
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in {".png", ".parquet", ".webp"}:
            assert str(tmp_path) not in path.read_text(encoding="utf-8"), path
    assert "# Leaderboard: suite tiny" in (folder / "README.md").read_text(encoding="utf-8")


def test_nothing_goes_to_the_hub_without_yes(
    two_runs: Path, hub: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["publish", "--run", "latest", "--to", "hub:ann/forgetting", "--output", str(two_runs)]

    assert main(words) == 0
    printed = capsys.readouterr()
    assert hub == []
    assert "would go to the public data set ann/forgetting on the hub. Add --yes to upload them." in printed.err
    assert "index.html" in printed.out
    assert sum(line.endswith("files)") for line in printed.out.splitlines()) >= 1, "folders are one line each"
    assert len(printed.out.splitlines()) < 20

    assert main([*words, "--yes"]) == 0
    (create, _), (upload, options) = hub
    assert (create, upload) == ("create ann/forgetting", "upload")
    assert options["repo_type"] == "dataset"
    assert {"README.md", "run.json", "index.html"} <= set(options["files"])


def test_a_hub_that_refuses_is_one_line(
    two_runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("401 unauthorized")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
    words = ["publish", "--run", "latest", "--to", "hub:ann/forgetting", "--yes", "--output", str(two_runs)]
    capsys.readouterr()

    assert main(words) == 1

    assert "The hub refused ann/forgetting: 401 unauthorized. Log in with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("", "--to is missing."),
        ("hub:ann", "--to hub:ann is not an address. Write hub:OWNER/NAME."),
        ("{runs}", "is not empty. Choose a new folder."),
        ("{runs}/models.json", "Cannot write to"),
        ("s3://bucket/x", "is a URL. Name a folder, or hub:OWNER/NAME."),
    ],
)
def test_a_place_that_cannot_be_is_refused(
    to: str, told: str, two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--to", to.format(runs=two_runs)] if to else []

    assert main(["publish", "--run", "latest", *words, "--output", str(two_runs)]) == 2

    assert told in capsys.readouterr().err


@pytest.fixture
def published(two_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "theirs"
    assert main(["publish", "--to", str(folder), "--output", str(two_runs)]) == 0
    capsys.readouterr()
    return folder


def change(path: Path, **fields: object) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **fields}), encoding="utf-8")


def test_a_published_run_stands_next_to_ours(
    two_runs: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = json.loads((published / "leaderboard.json").read_text(encoding="utf-8"))
    (table,) = board["tables"]
    dare = next(row for row in table["rows"] if row["method"] == "dare")
    dare["scores"]["avg"] = {"value": 0.9, "low": 0.85, "high": 0.95, "by_seed": {"0": 0.9}}
    table["rows"] = [*table["rows"], {**dare, "method": "theirs"}]
    change(published / "leaderboard.json", **board)
    recipe = json.loads((published / "run.json").read_text(encoding="utf-8"))["recipe"]
    change(published / "run.json", environment={"torch": ["1.0"]}, recipe={**recipe, "batch_size": 99})

    assert main(["compare", "--with", str(published), "--run", "tiny-lora-dare", "--output", str(two_runs)]) == 0

    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    place = lines.index(next(line for line in lines if line.startswith("dare r2")))
    assert "90.00 ±5.00" in lines[place + 3]
    assert "=" not in lines[place + 3]
    assert "+0.00= " in lines[place + 1]
    assert "only there: theirs r2" in lines
    assert "torch: " in printed.err
    assert "1.0 there; a difference may come from it" in printed.err
    assert "recipe.batch_size: " in printed.err


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"suite": "micro"}, "it is of suite micro, and yours of tiny"),
        ({"base_models": ["abc"]}, "its base model has revision abc, and yours"),
        ({"fit_versions": [1]}, "it was trained and edited by version 1, and yours"),
        ({"scored": {"old_squares": {"examples": "x", "count": 3}}}, "it scored 3 examples of old_squares, and yours"),
        ({"left_out": ["old_squares"]}, "its Source leaves out old_squares, and yours none"),
        ({"schema": 99}, "has schema 99, and this version reads 1. Update bench."),
    ],
)
def test_a_run_that_is_not_comparable_is_refused(
    fields: dict[str, object], told: str, two_runs: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(published / ("leaderboard.json" if "left_out" in fields else "run.json"), **fields)

    assert main(["compare", "--with", str(published), "--output", str(two_runs)]) == 2

    assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--paper", "lorasculpt", "--with", "x"]])
def test_one_thing_is_compared_with(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *words]) == 2

    assert "Give one of --paper NAME and --with FOLDER." in capsys.readouterr().err


def test_a_folder_that_is_not_a_pack_is_refused(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--with", str(two_runs), "--output", str(two_runs)]) == 2

    assert "has no run.json. Name a folder of a run that bench publish wrote." in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[1]", "{}", '{"schema": 1}', "{"])
def test_a_damaged_pack_is_one_line(
    text: str, two_runs: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (published / "run.json").write_text(text, encoding="utf-8")

    assert main(["compare", "--with", str(published), "--output", str(two_runs)]) == 1

    assert "run.json is damaged (" in capsys.readouterr().err


def test_a_run_that_is_not_finished_is_not_published(
    two_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (note,) = two_runs.glob("reports/*dare*/command.json")
    change(note, finished=False)

    assert main(["publish", "--run", note.parent.name, "--to", str(tmp_path / "x"), "--output", str(two_runs)]) == 2

    assert "is not finished. Run its command again: bench run" in capsys.readouterr().err
