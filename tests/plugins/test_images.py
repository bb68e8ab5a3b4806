"""Every image reaches a model as the pixels of Pillow's ``Image.open(path).convert("RGB")``, or is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import DataError, image_fault, rgb_image
from bench.plugins.images import read_image

Save = Callable[[Path], None]


def noise(mode: str = "RGB", width: int = 9, height: int = 7) -> Image.Image:
    """Return an image in which every channel, alpha too, has many values."""
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(pixels, "RGBA") if mode == "RGBA" else Image.fromarray(pixels[..., :3]).convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> Save:
    return lambda path: image.save(path, kind, **options)


def animated(path: Path) -> None:
    first, second = noise("P"), noise("P", 9, 7).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    first.save(path, "GIF", save_all=True, append_images=[second], transparency=3, duration=40)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    noise().save(path, "JPEG", exif=exif)


COLOUR = noise().getpixel((0, 0))
FILES: Mapping[str, Save] = {
    "1": saved(noise("1"), "PNG"),
    "1 with a transparent colour": saved(noise("1"), "PNG", transparency=0),
    "L": saved(noise("L"), "PNG"),
    "L with a transparent colour": saved(noise("L"), "PNG", transparency=noise("L").getpixel((0, 0))),
    "LA": saved(noise("RGBA").convert("LA"), "PNG"),
    "P": saved(noise("P"), "PNG"),
    "P with a transparent colour": saved(noise("P"), "PNG", transparency=noise("P").getpixel((0, 0))),
    "P with an alpha for each colour": saved(noise("P"), "PNG", transparency=bytes(range(256))),
    "RGB": saved(noise(), "PNG"),
    "RGB with a transparent colour": saved(noise(), "PNG", transparency=COLOUR),
    "RGBA": saved(noise("RGBA"), "PNG"),
    "RGBA as WebP": saved(noise("RGBA"), "WEBP", lossless=True),
    "RGB as JPEG": saved(noise(), "JPEG"),
    "L as JPEG": saved(noise("L"), "JPEG"),
    "CMYK as JPEG": saved(noise("CMYK"), "JPEG"),
    "CMYK as TIFF": saved(noise("CMYK"), "TIFF"),
    "LAB as TIFF": saved(Image.new("LAB", (5, 4), (120, 90, 200)), "TIFF"),
    "JPEG with an orientation": turned,
    "BMP": saved(noise(), "BMP"),
    "GIF": saved(noise("P"), "GIF"),
    "GIF with a transparent colour": saved(noise("P"), "GIF", transparency=noise("P").getpixel((0, 0))),
    "animated GIF": animated,
    "one pixel": saved(noise("RGB", 1, 1), "PNG"),
    "tall, 1 x 2000": saved(noise("RGB", 1, 2000), "PNG"),
    "wide, 2000 x 1": saved(noise("RGB", 2000, 1), "PNG"),
    "tall, 3 x 2000, with a transparent colour": saved(noise("P", 3, 2000), "PNG", transparency=0),
}


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB")
TRANSPARENT = {kind for kind in FILES if "transparent" in kind or "alpha for" in kind}


@pytest.mark.parametrize("kind", FILES)
def test_an_images_pixels_are_those_that_pillow_converts_and_nothing_tells_of_transparency(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "image"
    FILES[kind](path)
    with warnings.catch_warnings(), Image.open(path) as image:  # Pillow warns of an alpha for each colour
        warnings.simplefilter("ignore")
        mode, is_transparent = image.mode, "transparency" in image.info
        expected = image.convert("RGB")

    with warnings.catch_warnings(), Image.open(path) as image:
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", EncodingWarning)  # of Pillow, where it maps a file into memory
        from_file, in_memory = rgb_image(path), rgb_image(image)

    assert kind.split()[0] not in MODES or kind.startswith(mode)
    assert is_transparent or kind not in TRANSPARENT
    assert image_fault(path) == ""
    for found in (from_file, in_memory):
        assert (found.mode, found.size, found.tobytes()) == ("RGB", expected.size, expected.tobytes())
        assert "transparency" not in found.info


def test_an_image_in_memory_stays_as_it_is() -> None:
    image = noise("P")
    image.info["transparency"] = 3
    before = image.tobytes()

    rgb_image(image)

    assert (image.mode, image.info["transparency"], image.tobytes()) == ("P", 3, before)


DEEP = {
    "I;16": saved(Image.fromarray(np.full((4, 5), 40_000, np.uint16)), "PNG"),
    "I;16B": saved(Image.fromarray(np.full((4, 5), 40_000, ">u2")), "TIFF"),
    "I": saved(Image.new("I", (5, 4), 70_000), "TIFF"),
    "F": saved(Image.new("F", (5, 4), 0.5), "TIFF"),
}


@pytest.mark.parametrize("mode", DEEP)
def test_pixels_that_rgb_would_clip_are_refused_with_what_to_do(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "deep"
    DEEP[mode](path)

    reason = image_fault(path)

    assert f"pixels (mode {mode}), which RGB would clip at 255; save it with 8 bits per channel" in reason
    with pytest.raises(DataError, match=rf"^{path} has .*\(mode {mode}\).*bench data check finds all such files"):
        rgb_image(path)
    with (
        Image.open(path) as image,
        pytest.raises(DataError, match=rf"^An image in memory has .*\(mode {mode}\)"),
    ):
        rgb_image(image)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "is missing"),
        (lambda path: path.mkdir(), "is a folder, not an image"),
        (lambda path: path.write_bytes(b""), "is an empty file (0 bytes)"),
        (lambda path: path.write_text("<html>", encoding="utf-8"), "is not an image that Pillow can read (6 bytes)"),
    ],
    ids=["none", "folder", "empty", "page"],
)
def test_what_is_no_image_is_told(tmp_path: Path, make: Callable[[Path], Any], reason: str) -> None:
    path = tmp_path / "100%d.jpg"
    make(path)

    assert image_fault(path) == read_image(path) == reason


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_path_that_no_file_can_have_is_missing(tmp_path: Path, name: str) -> None:
    assert image_fault(tmp_path / name) == "is missing"


def test_too_many_pixels_are_told_with_their_number_and_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 500)
    path = tmp_path / "large.png"
    Image.new("1", (60, 40)).save(path)

    assert image_fault(path) == "has 2,400 pixels, and at most 1,000 are read; put a smaller one there"


def test_a_file_that_is_cut_off_passes_by_its_header_and_not_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    noise("RGB", 64, 48).save(path)
    path.write_bytes(path.read_bytes()[:-200])

    assert image_fault(path) == ""
    with pytest.raises(DataError, match=rf"^{path} cannot be decoded: image file is truncated.*bench data check"):
        rgb_image(path)


def test_a_file_that_this_user_may_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept.png"
    noise().save(path)

    def refuse(*words: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("PIL.Image.open", refuse)

    assert image_fault(path) == "cannot be read: Permission denied"
