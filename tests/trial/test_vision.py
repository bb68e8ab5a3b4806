"""Groups of images become features: the same bits from threads, from files and from another lane."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.checks.tiny import tiny
from bench.errors import DataError
from bench.model import tower_key as keys
from bench.model.family import Features, Pixels
from bench.model.resident import Base
from bench.store.shared_folder import Claim
from bench.trial import vision
from bench.trial.feature_files import FeatureFiles
from bench.trial.vision import Images, encoded
from tests.making.towers import counted_passes

LIMIT = 1 << 30


@pytest.fixture
def base() -> Base:
    """A base model with a processor of its own, because the checks share theirs."""
    shared = tiny().base
    return replace(shared, processor=copy.deepcopy(shared.processor))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureFiles:
    """A lane's files, which also a small tower writes."""
    monkeypatch.setattr(vision, "SMALL", 0)
    return FeatureFiles(tmp_path / "cache", LIMIT)


def pictures(folder: Path, count: int) -> list[Image.Image | Path]:
    """Pictures in memory, and every third as a file."""
    rng, made = np.random.default_rng(0), list[Image.Image | Path]()
    for place in range(count):
        image = Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
        if place % 3 == 0:
            image.save(path := folder / f"{place}.png")
        made.append(path if place % 3 == 0 else image)
    return made


def groups_of(images: Images) -> list[Images]:
    return [images[:32], images[32:]]


def one_by_one(base: Base, groups: Sequence[Images]) -> list[Sequence[Features]]:
    """The features as plain code makes them: decode, resize, then the tower."""
    opened = [[Image.open(each) if isinstance(each, Path) else each for each in images] for images in groups]
    return [base.encode(base.pixels([image.convert("RGB") for image in images])) for images in opened]


def same(found: dict[int, Sequence[Features]], expected: Sequence[Sequence[Features]]) -> bool:
    pairs = [
        (one, other) for place, group in enumerate(expected) for one, other in zip(found[place], group, strict=True)
    ]
    return all(torch.equal(one["states"], other["states"]) for one, other in pairs)


def test_threads_and_files_give_the_bits_of_the_tower_and_each_image_passes_it_once(
    base: Base, files: FeatureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = groups_of(pictures(tmp_path, 40))
    expected = one_by_one(base, groups)
    counts = counted_passes(monkeypatch)

    without = dict(encoded(base, groups, FeatureFiles(tmp_path, 0)))
    assert counts == [32, 8]
    written = dict(encoded(base, groups, files))
    assert counts == [32, 8] * 2
    read = dict(encoded(base, groups, FeatureFiles(tmp_path / "cache", LIMIT)))

    assert counts == [32, 8] * 2
    assert all(same(found, expected) for found in (without, written, read))


def test_a_group_of_other_images_or_in_another_order_is_another_file(
    base: Base, files: FeatureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(tmp_path, 4)
    counts = counted_passes(monkeypatch)

    for group in (images, images[:3], images[::-1], images):
        list(encoded(base, [group], files))

    assert counts == [4, 3, 4]


def test_a_file_with_other_pixels_is_computed_again(
    base: Base, files: FeatureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, path = counted_passes(monkeypatch), tmp_path / "one.png"
    for color in ("red", "blue", "red"):
        Image.new("RGB", (16, 16), color).save(path)
        list(encoded(base, [[path]], files))

    assert counts == [1, 1]


def test_a_small_tower_writes_no_file(base: Base, tmp_path: Path) -> None:
    list(encoded(base, [pictures(tmp_path, 4)], FeatureFiles(tmp_path / "cache", LIMIT)))

    assert not (tmp_path / "cache").exists()


def test_an_image_that_cannot_be_decoded_is_named_and_its_group_is_free_again(
    base: Base, files: FeatureFiles, tmp_path: Path
) -> None:
    images = pictures(tmp_path, 40)
    (broken := tmp_path / "broken.png").write_bytes(b"no picture")

    for path, reason in ((broken, "is not an image that Pillow can read"), (tmp_path / "no.png", "is missing")):
        with pytest.raises(DataError, match=f"{path.name} {reason}.*bench data check finds all such files"):
            list(encoded(base, [images[:32], [*images[32:], path]], files))

    assert not list((tmp_path / "cache").glob("*.lock"))


def test_threads_decode_the_next_group_while_the_tower_works(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[Images] = [pictures(tmp_path, 32), [Image.new("RGB", (30, 30))]]
    second = threading.Event()
    pixels, encode = Base.pixels, Base.encode

    def noted(own: Base, images: Sequence[Image.Image]) -> Sequence[Pixels]:
        if images[0].size == (30, 30):
            second.set()
        return pixels(own, images)

    def slow(own: Base, values: Sequence[Pixels]) -> Sequence[Features]:
        assert second.wait(240), "the second group was not decoded ahead"
        return encode(own, values)

    monkeypatch.setattr(Base, "pixels", noted)
    monkeypatch.setattr(Base, "encode", slow)

    assert dict(encoded(base, groups, FeatureFiles(tmp_path, 0))).keys() == {0, 1}


def test_a_lane_computes_other_groups_first_while_another_lane_computes_one(
    base: Base, files: FeatureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, expected = groups_of(pictures(tmp_path, 40)), one_by_one(base, groups_of(pictures(tmp_path, 40)))
    other = FeatureFiles(tmp_path / "cache", LIMIT)
    key = vision._keys(base, groups, files)[0]
    claim = other.claim(key)
    assert claim is not None
    counts = counted_passes(monkeypatch)

    found, places = {}, []
    for place, features in encoded(base, groups, files):
        if place == 1:  # the lane has nothing else to do now
            other.write(key, expected[0])
            claim.release()
        places.append(place)
        found[place] = features

    assert (places, counts) == ([1, 0], [8])
    assert same(found, expected)


def test_a_lane_that_hangs_costs_the_others_one_wait_for_all_its_groups(
    base: Base, files: FeatureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, expected = groups_of(pictures(tmp_path, 40)), one_by_one(base, groups_of(pictures(tmp_path, 40)))
    hanging = FeatureFiles(tmp_path / "cache", LIMIT)
    claims = [hanging.claim(key) for key in vision._keys(base, groups, files)]
    assert None not in claims
    waited, claim = list[float](), FeatureFiles.claim

    def noted(own: FeatureFiles, key: str | None, seconds: float = 0.0) -> Claim | None:
        waited.append(seconds)
        return claim(own, key, seconds)

    monkeypatch.setattr(FeatureFiles, "claim", noted)
    monkeypatch.setattr(vision, "_WAIT_SECONDS", 0.01)

    found = dict(encoded(base, groups, files))

    assert same(found, expected)
    assert waited == [0.0, 0.0, 0.01, 0.0]


_LANE = """
import json, sys
from pathlib import Path
import torch
from bench.checks.tiny import tiny
from bench.model.resident import Base
from bench.trial import vision
from bench.trial.feature_files import FeatureFiles
from tests.trial.test_vision import LIMIT, groups_of
vision.SMALL, counts, encode = 0, [], Base.encode
Base.encode = lambda base, pixels: counts.append(len(pixels)) or encode(base, pixels)
images = sorted(Path(sys.argv[1]).glob("*.png"))
base, files = tiny().base, FeatureFiles(Path(sys.argv[1]) / "cache", LIMIT)
groups = [images[start : start + 4] for start in range(0, len(images), 4)]
print("ready", flush=True)
sys.stdin.readline()
found = dict(vision.encoded(base, groups, files))
sums = [float(one["states"].double().sum()) for place in range(len(groups)) for one in found[place]]
print(json.dumps([sum(counts), sums]), flush=True)
"""


@pytest.mark.slow
def test_two_lanes_that_start_at_once_share_the_work_and_get_the_same_features(base: Base, tmp_path: Path) -> None:
    for place in range(32):
        Image.effect_noise((20, 20), 60).convert("RGB").save(tmp_path / f"{place}.png")
    command = [sys.executable, "-c", _LANE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    lanes = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    try:
        assert [lane.stdout.readline() for lane in lanes] == ["ready\n"] * 2
        for lane in lanes:
            lane.stdin.write("go\n")
            lane.stdin.flush()
        (one, sums), (other, others) = (json.loads(lane.stdout.readline()) for lane in lanes)
    finally:
        for lane in lanes:
            lane.communicate()

    images = sorted(tmp_path.glob("*.png"))
    groups = [images[start : start + 4] for start in range(0, 32, 4)]
    expected = [float(each["states"].double().sum()) for group in one_by_one(base, groups) for each in group]
    assert one + other == 32
    assert sums == others == expected
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == len(list((tmp_path / "cache").iterdir())) == 8


def flipped(base: Base) -> None:
    next(base.tower.parameters()).view(-1)[0] += 1e-3


def resized(base: Base) -> None:
    base.processor.image_processor.image_mean = [0.5, 0.5, 0.5]


def lower(base: Base) -> None:
    base.tower.half()


def deeper(base: Base) -> None:
    config: Any = base.model.config
    config.vision_feature_layer = -1


@pytest.mark.parametrize("change", [flipped, resized, lower, deeper])
def test_what_decides_the_bits_of_features_is_in_the_key(change: Callable[[Base], None], base: Base) -> None:
    before = tiny().base.tower_key
    with torch.no_grad():
        change(base)

    assert base.tower_key != before


def test_machine_and_versions_are_in_the_key_and_the_folder_of_the_model_is_not(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, moved = tiny().base.tower_key, tiny().base
    config: Any = moved.model.config
    config._name_or_path = "/elsewhere"
    monkeypatch.setattr(keys, "tower_environment", lambda *_: {"torch": "3.0.0"})

    assert base.tower_key != before
    monkeypatch.undo()
    assert moved.tower_key == before
