"""The paper's six data sets, small and on a site of this machine: fetched, looked through and described."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from PIL import Image

from bench import Download
from bench.cli.main import main
from bench.plan.fingerprint import of_examples
from bench.plugins.registry import Registry
from bench.prepare.data import get as fetching
from tests.layouts import NAMES, Sizes, opened, write_files

Site = Any
ANY = [word for name in NAMES for word in ("--set", f"{name}.expect=any")]


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data as it is when all six are there."""
    root = tmp_path_factory.mktemp("official")
    for name in NAMES:
        write_files(root, name, Sizes(12, 4, 6))
    return root


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return ``bench("check", "gqa", …)``, the command on a folder of data of its own."""
    monkeypatch.setattr(fetching, "KEEP_FREE", 0)
    monkeypatch.setattr(fetching, "free_bytes", lambda root: 1 << 50)
    return lambda what, tasks, *words: main(["data", what, tasks, "--data", str(tmp_path / "data"), *ANY, *words])


def cards() -> dict[str, tuple[Download, ...]]:
    found = {}
    for name in NAMES:
        card = Registry().task_class(name).card
        assert card is not None
        found[name] = card.downloads
    return found


def put_up(site: Site, official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve the official files from the site, zips as their owners pack them, and let the cards point there."""
    for name, downloads in cards().items():
        for download in downloads:
            if not download.by_hand:
                site.files[f"/{download.path}"] = packed(official, download)
        moved = tuple(replace(each, url=f"{site.url}/{each.path}") for each in downloads)
        plugin = Registry().task_class(name)
        monkeypatch.setattr(plugin, "card", replace(plugin.card, downloads=moved))  # type: ignore[type-var]


def packed(official: Path, download: Download) -> bytes:
    if download.unpacks_to is None:
        return (official / download.path).read_bytes()
    target = official / download.unpacks_to
    base = target.parent
    files = [path for path in target.rglob("*") if path.is_file()] if target.is_dir() else list(base.glob("*.json"))
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for path in files:
            archive.write(path, path.relative_to(base))
    return buffer.getvalue()


def digests(names: tuple[str, ...], root: Path) -> list[str]:
    tasks = [opened(name, root) for name in names]
    return [of_examples(task.examples("test"), [task.prompt(e) for e in task.examples("test")]) for task in tasks]


def test_every_file_that_the_cards_name_is_one_that_the_official_layout_has(
    bench: Any, official: Path, capsys: pytest.CaptureFixture[str], site: Site
) -> None:
    assert main(["data", "get", "all", "--data", str(official), *ANY]) == 0

    printed = capsys.readouterr().out
    assert {line.split()[0] for line in printed.splitlines()} == {"present"}
    assert len(printed.splitlines()) == len({each.path for each in sum(cards().values(), ())})


@pytest.mark.slow
def test_fetched_data_are_the_official_ones_and_pass_the_check(
    bench: Any, site: Site, official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_up(site, official, monkeypatch)
    fetched = tuple(name for name in NAMES if name != "ocrvqa")  # whose list no program can fetch

    assert bench("get", ",".join(fetched), "--yes") == 0
    asked = len([method for method, *_ in site.asked if method == "GET"])
    assert bench("get", ",".join(fetched)) == 0

    assert len([method for method, *_ in site.asked if method == "GET"]) == asked == 16
    assert bench("check", ",".join(fetched)) == 0
    assert digests(fetched, tmp_path / "data") == digests(fetched, official)


@pytest.mark.slow
def test_covers_are_fetched_by_the_addresses_that_the_list_names(
    bench: Any, site: Site, official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("get", "ocrvqa") == 1
    printed = capsys.readouterr()
    assert "by hand  ocrvqa/dataset.json: put it there from https://drive.google.com/" in printed.out

    covers = json.loads((official / "ocrvqa" / "dataset.json").read_text(encoding="utf-8"))
    for number, (key, cover) in enumerate(covers.items()):
        cover["imageURL"] = f"{site.url}/{key}.gif"
        if number:
            site.files[f"/{key}.gif"] = (official / "ocrvqa" / "images" / f"{key}.jpg").read_bytes()
    (tmp_path / "data" / "ocrvqa").mkdir()
    (tmp_path / "data" / "ocrvqa" / "dataset.json").write_text(json.dumps(covers), encoding="utf-8")

    assert bench("get", "ocrvqa", "--yes") == 0
    printed = capsys.readouterr()
    assert "  download 22 single images of ocrvqa (about 660.0 kB)\n" in printed.out
    assert "ocrvqa: 21 images downloaded, 1 no longer exist, 0 failed." in printed.err
    assert json.loads((tmp_path / "data/ocrvqa/dead.json").read_text(encoding="utf-8")) == {
        f"ocrvqa/images/{next(iter(covers))}.jpg": "the server answers 404 Not Found"
    }
    assert bench("check", "ocrvqa") == 1
    assert bench("check", "ocrvqa", "--skip-bad", "3") == 0  # the three questions on the one cover


def test_only_the_covers_of_twice_what_is_drawn_are_fetched(
    bench: Any, site: Site, official: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ocrvqa = opened("ocrvqa", official, test_samples=1, validation=1, samples=1)

    wanted = list(ocrvqa.pictures())

    assert 3 <= len(wanted) <= 6
    drawn = {e.image for split in ("train", "validation", "test") for e in ocrvqa.examples(split)}
    assert drawn <= {official / each.path for each in wanted}


def test_a_target_s_training_picture_among_a_source_s_test_pictures_is_found(
    bench: Any, site: Site, official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path / "data", "coco_caption", Sizes(12, 4, 6))
    write_files(tmp_path / "data", "gqa", Sizes(12, 4, 6))
    ours = min((tmp_path / "data/coco/train2014").iterdir())
    theirs = sorted((tmp_path / "data/gqa/images").iterdir())[-1]
    assert bench("check", "coco_caption,gqa") == 0

    Image.open(ours).resize((60, 50)).save(theirs, quality=70)

    assert bench("check", "coco_caption,gqa") == 1
    said = capsys.readouterr().out
    assert f"wrong  coco_caption train: {ours}: looks like (dHash " in said
    assert said.endswith("One thing is wrong.\n")


def test_a_card_names_licence_sources_and_every_prompt(
    bench: Any, official: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "info", "textvqa", "--data", str(official), *ANY]) == 0

    printed = capsys.readouterr().out
    assert "  licence  CC BY 4.0; pictures are OpenImages', CC BY 2.0\n" in printed
    assert "present   textvqa/train_images  from https://dl.fbaipublicfiles.com/textvqa/images/" in printed
    assert printed.count("Answer the question using a single word or phrase.") == 4
    assert printed.count("Reference OCR token:") == 2
    assert "test        5,000 declared, 12 here, manifest " in printed
