"""A run as a publication pack, in a folder and on a made-up hub."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.plugins.registry import Registry
from tests.making.plugins import add_methods

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


PRIVATE = ("ann7", "/home", "node-12", "10.0.0.3", "hunter2", "lee", "uni.edu")
BREAKS = """
raise OSError(
    "node-12.uni.edu (10.0.0.3) refused ann7 at http://ann7:hunter2@10.0.0.3:80/x and /home/ann7 lee/my/data.json: "
    "see gpu-17:6379, /home/ann7"
)
"""


def test_the_reason_of_a_failed_trial_names_nobody_and_no_machine_in_any_report(
    one_mlflow: None, tiny_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ann7")
    monkeypatch.setattr("socket.gethostname", lambda: "node-12.uni.edu")
    plugin, runs, folder = tmp_path / "broken.py", tmp_path / "runs", tmp_path / "pack"
    add_methods(Registry(), plugin, broken=BREAKS)
    main(["run", "--methods", "lora,broken", "--plugin", str(plugin), *tiny_words, "--lanes", "0"])

    assert main(["publish", "--to", str(folder), "--output", str(runs)]) == 0

    told = {
        path.relative_to(folder).as_posix(): path.read_bytes().decode("utf-8", "ignore") for path in files_in(folder)
    }
    shown = {name for name, text in told.items() if "refused … at http://…/x and …/data.json: see …" in text}
    assert {name.rpartition(".")[2] for name in shown} == {"html", "csv", "json", "parquet", "md", "txt", "tex"}
    assert "index.html" in shown
    for name, text in told.items():
        assert not [private for private in PRIVATE if private in text], name


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


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

    printed = compared(two_runs, published, capsys)

    lines = printed.splitlines()
    place = lines.index(next(line for line in lines if line.startswith("dare r2")))
    assert "90.00 ±5.00" in lines[place + 3]
    assert "=" not in lines[place + 3]
    assert "+0.00= " in lines[place + 1]
    assert "only there: theirs r2" in lines
    assert "†" not in printed


def compared(runs: Path, pack: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Return what is printed if the run of two methods is compared with a pack."""
    assert main(["compare", "--with", str(pack), "--run", "tiny-lora-dare", *more, "--output", str(runs)]) == 0
    return capsys.readouterr().out


def manifest(pack: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((pack / "run.json").read_text(encoding="utf-8"))
    return found


def numbers_of(printed: str, label: str) -> list[str]:
    """Return the lines of Source, Target and Avg of a row."""
    lines = printed.splitlines()
    place = next(number for number, line in enumerate(lines) if line.split("  ")[0] == label)
    return lines[place + 1 : place + 4]


def test_a_difference_from_a_run_of_another_environment_is_not_judged_unless_mixed(
    two_runs: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = manifest(published)["environment"]
    change(published / "run.json", environment={**theirs, "torch": ["1.0.1"]})

    printed = compared(two_runs, published, capsys)
    mixed = compared(two_runs, published, capsys, "--mix")

    reason = f"† lora r2, dare r2: trained with torch {'.'.join(version('torch').split('.')[:2])} (theirs: 1.0)"
    assert reason in printed.splitlines()
    for line in numbers_of(printed, "lora r2 †") + numbers_of(printed, "dare r2 †"):
        assert "†" in line
        assert "=" not in line
    assert all("=" in line for line in numbers_of(printed, "zero_shot"))  # it is not trained
    assert "called neither a tie nor significant. Add --mix" in printed
    assert reason in mixed.splitlines()
    assert all("=" in line for line in numbers_of(mixed, "lora r2 †"))
    assert "It is judged anyway (--mix)." in mixed


def test_the_environment_of_scoring_counts_for_the_untouched_model_too(
    two_runs: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = manifest(published)["scored"]
    assert scored["old_squares"]["environment"]["eval_batch"]
    scored["old_squares"]["environment"]["eval_batch"] = ["999"]
    change(published / "run.json", scored=scored)

    printed = compared(two_runs, published, capsys)

    assert "(theirs: 999) on old_squares" in printed
    assert all("†" in line for line in numbers_of(printed, "zero_shot †"))


def test_a_difference_from_a_run_of_another_recipe_is_not_judged(
    two_runs: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = manifest(published)["recipe"]
    change(published / "run.json", recipe={**recipe, "updates": 99, "micro_batch_size": 1, "adapt": "mlp"})

    printed = compared(two_runs, published, capsys)

    differ = f"recipe.adapt all (theirs: mlp), recipe.updates {recipe['updates']} (theirs: 99)"
    assert f"† lora r2, dare r2: {differ}" in printed.splitlines()
    assert all("†" in line for line in numbers_of(printed, "lora r2 †"))
    assert all("=" in line for line in numbers_of(printed, "zero_shot"))


def test_a_row_with_trials_of_other_ids_is_not_judged(
    two_runs: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = {
        "0" * 12 if label.startswith("dare") else name: label for name, label in manifest(published)["trials"].items()
    }
    change(published / "run.json", trials=trials)

    printed = compared(two_runs, published, capsys)

    assert "† dare r2: its trials have other hyperparameters, code or training examples" in printed.splitlines()
    assert not any("†" in line for line in numbers_of(printed, "lora r2"))


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
