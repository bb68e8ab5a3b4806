from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.cli.main import main
from bench.prepare.data import get as fetching

TASK = '''
"""A task that may read from the hub."""
from dataclasses import dataclass
from bench import Card, DataError, Example, Task, option

@dataclass(eq=False, kw_only=True)
class Remote(Task):
    """Whatever."""
    name = "remote"
    paper = "none"
    primary = "exact"
    card = Card("home", "CC0", hub="owner/set@v1", hub_configs=("questions", "images"))
    source: str = option("files", choices=("files", "hub"))
    hub: str = option("")

    def examples(self, split):
        if self.source != "hub" or split == "train":
            raise DataError(f"{split} of {self.source} is not there")
        return [Example("1", "q", ("a",), self.reading.root / "a.png")]

    def score(self, examples, predictions):
        return {}

class Local(Remote):
    """Is on no hub."""
    name = "local"
    card = Card("home", "CC0")
'''


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What the hub was asked, by libraries that stand for it."""
    calls: list[tuple[object, ...]] = []

    def dataset_info(self: object, repository: str, revision: str | None) -> Any:
        calls.append(("info", repository, revision))
        if repository == "owner/none":
            raise ConnectionError("no route to the hub\nand more")
        return SimpleNamespace(sha="c0ffee")

    def load_dataset_builder(repository: str, config: str | None, revision: str) -> Any:
        calls.append(("builder", repository, config, revision))
        return SimpleNamespace(info=SimpleNamespace(download_size=2_000_000, dataset_size=3_000_000))

    api = SimpleNamespace(HfApi=type("HfApi", (), {"dataset_info": dataset_info}))
    monkeypatch.setitem(sys.modules, "huggingface_hub", api)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset_builder=load_dataset_builder))
    return calls


@pytest.fixture
def get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return ``get("remote", …)``, the command with ``--from hub``."""
    plugin = tmp_path / "remote.py"
    plugin.write_text(TASK, encoding="utf-8")
    monkeypatch.setattr(fetching, "KEEP_FREE", 0)

    def command(tasks: str, *words: str) -> int:
        arguments = ["--from", "hub", "--plugin", str(plugin), "--data", str(tmp_path / "data")]
        return main(["data", "get", tasks, *arguments, *words])

    return command


def test_the_configurations_that_are_read_are_weighed_at_one_commit(
    get: Any, asked: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    get("remote", "--yes")

    assert asked == [
        ("info", "owner/set", "v1"),
        ("builder", "owner/set", "questions", "c0ffee"),
        ("builder", "owner/set", "images", "c0ffee"),
    ]
    assert "remote  owner/set@v1 (c0ffee): 4.0 MB to download, 6.0 MB unpacked\n" in capsys.readouterr().out


def test_the_task_reads_its_splits_from_the_hub_and_the_one_that_is_not_there_is_said(
    get: Any, asked: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get("remote", "--yes") == 1

    said = capsys.readouterr().err
    assert "remote train: train of hub is not there\n" in said
    assert "remote test: 1 examples\n" in said


def test_another_data_set_may_be_named(get: Any, asked: Any) -> None:
    get("remote", "--yes", "--set", "remote.hub=me/mine@abc")

    assert asked[0] == ("info", "me/mine", "abc")


def test_what_does_not_fit_is_refused(
    get: Any, asked: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetching, "free_bytes", lambda root: 15_999_999)

    assert get("remote", "--yes") == 2
    assert "This takes 16.0 MB" in capsys.readouterr().err


def test_a_hub_that_cannot_be_asked_is_an_error_with_the_reason(
    get: Any, asked: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get("remote", "--set", "remote.hub=owner/none") == 1
    said = capsys.readouterr().err
    assert "The hub does not answer for owner/none: ConnectionError: no route to the hub. Check the network" in said


def test_without_datasets_the_extra_is_named(
    get: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)

    assert get("remote") == 1
    assert "pip install 'retain-bench[hub]'" in capsys.readouterr().err


def test_a_task_that_is_on_no_hub_says_so(get: Any, asked: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert get("local") == 2
    assert capsys.readouterr().err == "bench: local has no data set on the hub. Use --from files.\n"
    assert asked == []


def test_a_folder_in_place_of_the_hub_is_weighed_as_it_lies(
    get: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.parquet").write_bytes(bytes(1500))

    get("remote", "--yes", "--set", f"remote.hub={tmp_path / 'set'}")

    assert "(a folder here): 0 B to download, 1.5 kB unpacked" in capsys.readouterr().out
