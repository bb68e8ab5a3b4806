from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bench import Example
from bench.prepare.data import leaks
from bench.prepare.data.leaks import DISTANCE, Match, pairs
from bench.prepare.data.likeness import Look, look_at

GRAY = bytes(192)


def example(image: Image.Image | Path) -> Example:
    return Example("1", "q", ("a",), image)


def scene(seed: int, side: int = 160) -> Image.Image:
    """A picture with some structure: a colour gradient, and discs here and there."""
    rng = random.Random(seed)
    ramp = np.linspace(0, 255, side, dtype=np.float64)
    grid = np.stack([np.add.outer(rng.random() * ramp, rng.random() * ramp) / 2 for _ in range(3)], axis=2)
    image = Image.fromarray(grid.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, r = rng.randrange(side), rng.randrange(side), rng.randrange(10, 40)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.randrange(256) for _ in range(3)))
    return image


def seen(image: Image.Image) -> Look:
    found = look_at([example(image)])[0]
    assert isinstance(found, Look)
    return found


def test_a_picture_saved_anew_smaller_is_found_and_others_are_not(tmp_path: Path) -> None:
    scenes = [scene(n) for n in range(40)]
    again = scenes[7].resize((100, 100))
    again.save(tmp_path / "again.jpg", quality=60)
    train = [seen(image) for image in scenes[:20]]
    test = [seen(image) for image in [*scenes[20:], Image.open(tmp_path / "again.jpg")]]

    found = pairs(train, test)

    assert [(pair.first, pair.second, pair.identical) for pair in found] == [(7, 20, False)]
    assert found[0].distance <= DISTANCE


def test_the_same_bytes_are_identical(tmp_path: Path) -> None:
    scene(1).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    first, second = look_at([example(tmp_path / name) for name in ("a.jpg", "b.jpg")])
    assert isinstance(first, Look)
    assert isinstance(second, Look)

    assert pairs([first], [seen(scene(2)), second]) == [Match(0, 1, 0, True)]


def test_flat_pictures_hash_alike_and_are_told_apart_by_colour() -> None:
    red, blue, other_red = (seen(Image.new("RGB", (32, 32), colour)) for colour in ("red", "blue", (250, 3, 3)))
    assert red.dhash == blue.dhash

    assert pairs([red], [blue]) == []
    assert [(pair.first, pair.second) for pair in pairs([red], [blue, other_red])] == [(0, 1)]


def test_pairs_are_those_that_comparing_all_with_all_finds() -> None:
    rng = random.Random(3)
    first = [Look(b"", rng.getrandbits(64), GRAY) for _ in range(300)]
    second = [Look(b"", rng.getrandbits(64), GRAY) for _ in range(300)]
    for place in range(0, 300, 3):  # some at every distance from 0 to 7
        flips = rng.sample(range(64), place // 3 % 8)
        second[place] = Look(b"", first[299 - place].dhash ^ sum(1 << bit for bit in flips), GRAY)

    slow = {
        (i, j): (a.dhash ^ b.dhash).bit_count()
        for i, a in enumerate(first)
        for j, b in enumerate(second)
        if (a.dhash ^ b.dhash).bit_count() <= 4
    }

    assert {(pair.first, pair.second): pair.distance for pair in pairs(first, second)} == slow
    assert len(slow) == 64  # 100 planted, of which 13, 13, 13, 13 and 12 differ in 0 to 4 bits; none by chance


def test_simple_drawings_whose_hashes_crowd_give_what_comparing_all_with_all_gives() -> None:
    rng = random.Random(1)
    first, second = [drawing(rng) for _ in range(150)], [drawing(rng) for _ in range(120)]
    nearest = {}
    for i, a in enumerate(first):
        bits = [(a.dhash ^ b.dhash).bit_count() for b in second]
        apart = [sum(abs(x - y) for x, y in zip(a.tiny, b.tiny, strict=True)) / 192 for b in second]
        alike = [(bits[j], apart[j], j) for j in range(120) if bits[j] <= 4 and apart[j] <= 10]
        if alike:
            nearest[i] = min(alike)[2]

    assert {pair.first: pair.second for pair in pairs(first, second)} == nearest
    assert 20 < len(nearest) < 150


def drawing(rng: random.Random) -> Look:
    dhash = sum({1 << rng.randrange(64) for _ in range(rng.randrange(7))})
    return Look(b"", dhash, bytes(min(255, int(rng.gauss(215, 8))) for _ in range(192)))


def test_the_nearest_of_several_is_reported() -> None:
    own = Look(b"x", 0b1111, GRAY)
    others = [Look(b"y", 0b1101, GRAY), Look(b"z", 0b1111, bytes([3]) * 192), Look(b"x", 0b1111, GRAY)]

    assert pairs([own], others) == [Match(0, 2, 0, True)]


def test_few_of_all_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, expanded = list[int](), leaks._expanded

    def noted(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        compared.append(int(counts.sum()))
        return expanded(starts, counts)

    monkeypatch.setattr(leaks, "_expanded", noted)
    rng = random.Random(5)
    first = [Look(b"", rng.getrandbits(64), GRAY) for _ in range(10_000)]
    second = [Look(b"", rng.getrandbits(64), GRAY) for _ in range(25_000)]

    assert pairs(first, second) == []

    assert sum(compared) < 10_000 * 25_000 / 1_000
