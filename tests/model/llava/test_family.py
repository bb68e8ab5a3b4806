"""LLaVA's names, and images as the original LLaVA prepares them, against a computation of our own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench import rgb_image
from bench.model.families import block_of, connector_of
from bench.model.family import role_of
from bench.model.llava.family import Llava
from bench.model.resident import Base, Form
from bench.plan.suite import MICRO
from bench.values.recipe import ImageMode
from tests.layouts.checkpoint import MEAN, STD, write

SIDE = 336
Q, TOWER = "self_attn.q_proj.weight", "vision_tower.vision_model.encoder.layers.3.self_attn.q_proj.weight"
GREY = (122, 116, 104)  # int(255 * mean)


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Llava().processor(write(tmp_path_factory.mktemp("hub"), image_size=SIDE), "pad").image_processor


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    whole = Image.fromarray(rng.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA")
    return whole if mode == "RGBA" else whole.convert("RGB").convert(mode)


def prepared(image: Image.Image) -> torch.Tensor:
    """Paste the image in the middle of a square of the mean color, resize by bicubic, normalise each channel."""
    image = image.convert("RGB")
    side = max(image.size)
    square = Image.new("RGB", (side, side), GREY)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    pixels = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    channels = [
        ((pixels[:, :, channel].astype(np.float64) / 255).astype(np.float32) - np.float32(MEAN[channel]))
        / np.float32(STD[channel])
        for channel in range(3)
    ]
    return torch.from_numpy(np.stack(channels))


def test_the_colour_of_the_borders_is_the_mean() -> None:
    assert tuple(int(255 * value) for value in MEAN) == GREY


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
@pytest.mark.parametrize(
    "size",
    [
        (336, 336),
        (640, 480),
        (480, 640),
        (97, 1000),
        (1000, 97),
        (50, 50),
        (337, 336),
        (1, 1),
        (1, 7),
        (200, 3),
        (3, 200),
        (1, 2000),
        (2000, 1),
    ],
)
def test_padded_images_equal_the_originals(processor: Any, size: tuple[int, int], mode: str) -> None:
    image = noise(*size, mode)

    pixels = processor(images=[rgb_image(image)], return_tensors="pt").pixel_values[0]

    assert torch.equal(pixels, prepared(image))


@pytest.mark.parametrize(
    ("mode", "kind"), [("P", "GIF"), ("P", "PNG"), ("L", "PNG"), ("RGB", "PNG")], ids=["GIF", "P", "L", "RGB"]
)
def test_a_transparent_colour_reaches_the_tower_as_the_original_has_it(
    processor: Any, tmp_path: Path, mode: str, kind: str
) -> None:
    path = tmp_path / "image"
    image = Image.new(mode, (40, 30), 7 if mode != "RGB" else (7, 90, 200))  # a sheet of the transparent colour
    if mode == "P":
        image.putpalette([value for colour in range(256) for value in (colour, 90, 200)])
    image.save(path, kind, transparency=image.getpixel((0, 0)))

    pixels = processor(images=[rgb_image(path)], return_tensors="pt").pixel_values[0]

    with Image.open(path) as opened:
        assert "transparency" in opened.info
        assert torch.equal(pixels, prepared(opened))


def test_a_batch_of_unlike_images_is_that_of_each(processor: Any) -> None:
    images = [noise(640, 480), noise(48, 64), noise(1, 1)]

    together = processor(images=images, return_tensors="pt").pixel_values

    assert all(torch.equal(one, prepared(image)) for one, image in zip(together, images, strict=True))


def test_the_borders_of_a_wide_image_survive_where_the_hubs_crop_loses_them(tmp_path: Path) -> None:
    folder = write(tmp_path, image_size=SIDE)
    image = Image.new("RGB", (800, 400))
    image.paste((255, 0, 0), (0, 0, 100, 400))  # red at the far left alone

    padded, cropped = (
        Llava().processor(folder, mode).image_processor(images=[image], return_tensors="pt").pixel_values[0]
        for mode in ("pad", "processor")  # type: ignore[arg-type]
    )

    red = (1 - MEAN[0]) / STD[0]
    assert padded[0, 168, :40] == pytest.approx(red, abs=1e-4)
    assert cropped[0].max() < 0


@pytest.mark.parametrize("image", ["processor", "pad"])
def test_images_go_through_pillow(image: Any) -> None:
    assert type(Llava().processor(MICRO.folder, image).image_processor).__name__.endswith("Pil")


def test_a_recipes_way_with_images_reaches_the_features(tmp_path: Path) -> None:
    folder, image = write(tmp_path), noise(90, 30)

    modes: tuple[ImageMode, ...] = ("processor", "pad")
    bases = [Base.load(folder, Form(image=mode), torch.device("cpu")) for mode in modes]
    plain, padded = (base.encode(base.pixels([image]))[0]["states"] for base in bases)

    assert plain.shape == padded.shape == (17, 16)
    assert not torch.equal(plain, padded)


@pytest.mark.parametrize(
    "start", ["model.language_model.layers.3", "language_model.model.layers.3", "language_model.layers.3"]
)
def test_a_decoder_linear_is_known_in_files_of_any_age(start: str) -> None:
    assert Llava.stored_linears.fullmatch(f"{start}.{Q}")
    assert not Llava.stored_linears.fullmatch(f"{start}.self_attn.q_proj.bias")


@pytest.mark.parametrize("start", ["model.", ""])
def test_the_vision_towers_linears_are_not_the_decoders(start: str) -> None:
    assert not Llava.stored_linears.fullmatch(start + TOWER)
    assert not re.fullmatch(Llava.decoder_linears, (start + TOWER).removesuffix(".weight"))
    assert block_of(start + TOWER) is None


def test_a_live_models_name_says_block_and_role() -> None:
    layer, connector = f"model.language_model.layers.11.{Q}", "model.multi_modal_projector.linear_2.weight"

    assert re.fullmatch(Llava.decoder_linears, layer.removesuffix(".weight"))
    assert re.fullmatch(Llava.connector_linears, connector.removesuffix(".weight"))
    assert (block_of(layer), role_of(layer)) == (11, "q_proj")
    assert (block_of(connector), role_of(connector)) == (None, "linear_2")
    assert (connector_of(layer), connector_of(connector)) == (None, Llava.connector)


@pytest.mark.parametrize("image", ["processor", "pad"])
@pytest.mark.parametrize("missing", ["processor_config.json", "chat_template.json"])
def test_what_a_processor_saves_makes_the_same_prompt_in_plain_transformers(
    image: ImageMode, missing: str, tmp_path: Path
) -> None:
    from transformers import AutoProcessor, LlavaConfig

    folder = write(tmp_path / "hub")
    (folder / missing).unlink()
    ours = Llava().processor(folder, image)
    ours.save_pretrained(tmp_path / "saved")
    plain = AutoProcessor.from_pretrained(tmp_path / "saved", backend="pil")

    config = LlavaConfig.from_pretrained(folder)
    batch = plain(text="USER: <image>", images=noise(90, 40), return_tensors="pt")
    assert int((batch.input_ids == config.image_token_index).sum()) == Llava().image_tokens(config)
    expected = ours.image_processor(images=[noise(90, 40)], return_tensors="pt").pixel_values
    assert torch.equal(batch.pixel_values, expected)
