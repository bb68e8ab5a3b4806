from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import Example
from bench.prepare.data.likeness import Look, dhash, look_at


def example(image: Image.Image | Path) -> Example:
    return Example("1", "q", ("a",), image)


def test_the_hash_is_of_brightness_that_rises_to_the_right() -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 252, 28, dtype=np.uint8), (8, 1)))  # 9 columns, 8 rows

    assert dhash(ramp) == (1 << 64) - 1
    assert dhash(ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == 0
    rows = np.asarray(ramp).copy()
    rows[0] = 7
    assert dhash(Image.fromarray(rows)) == (1 << 56) - 1  # the first row is the highest byte


@pytest.mark.parametrize("kind", ["cut", "text", "none", "folder"])
def test_a_picture_that_cannot_be_drawn_has_a_reason(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jpg"
    if kind == "cut":
        Image.radial_gradient("L").save(path)
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "text":
        path.write_text("<html>", encoding="utf-8")
    elif kind == "folder":
        path.mkdir()

    reason = look_at([example(path)])[0]

    assert isinstance(reason, str)
    expected = {"cut": "it cannot be decoded: ", "text": "it is not an image", "none": "it is missing"}
    assert reason.startswith(expected.get(kind, "it is a folder"))
    assert str(path) not in reason


def test_pictures_are_looked_at_in_order_and_counted() -> None:
    told: list[int] = []
    images = [Image.new("RGB", (9, 9), (n, n, n)) for n in range(50)]

    found = look_at([example(image) for image in images], told.append)

    assert [look.tiny[0] for look in found if isinstance(look, Look)] == list(range(50))
    assert sum(told) == 50
