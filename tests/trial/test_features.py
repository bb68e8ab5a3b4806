from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from PIL.Image import Image

from bench.checks.tiny import Squares, Tiny, tiny
from bench.model.family import Features
from bench.trial.corpus import Corpus
from bench.trial.features import FeatureCache
from tests.making.towers import counted_passes

TEMPLATE = "USER: <image>\n{prompt} ASSISTANT:"


class Tower:
    """Makes one image's ten numbers, 40 bytes, that tell the group, and notes the groups."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, groups: Sequence[int]) -> Iterator[tuple[int, list[Features]]]:
        for group in groups:
            self.made.append(group)
            yield group, [{"states": torch.full((10,), float(group))}]


@pytest.fixture
def block() -> Tower:
    return Tower()


def test_the_least_recently_used_goes_first_and_the_bytes_stay_within_the_limit(block: Tower) -> None:
    cache, one, other = FeatureCache(120), object(), object()
    cache.take(one, [0, 1], block)
    cache.take(other, [0], block)
    cache.take(one, [0], block)  # now 1 of one is the oldest

    cache.take(other, [5], block)

    assert (block.made, cache.bytes) == ([0, 1, 0, 5], 120)
    cache.take(one, [0], block)
    assert block.made == [0, 1, 0, 5]
    cache.take(one, [1], block)
    assert (block.made, cache.bytes) == ([0, 1, 0, 5, 1], 120)


def test_what_a_batch_needs_is_not_evicted_by_the_rest_of_it(block: Tower) -> None:
    cache, owner = FeatureCache(80), object()
    cache.take(owner, [0, 1], block)

    taken = cache.take(owner, [2, 1, 0], block)  # 120 bytes at once: only 2 is new

    assert {group: features[0]["states"][0].item() for group, features in taken.items()} == {0: 0.0, 1: 1.0, 2: 2.0}
    assert block.made == [0, 1, 2]
    assert cache.bytes <= 80


def test_a_limit_of_nothing_holds_nothing(block: Tower) -> None:
    cache = FeatureCache(0)

    taken = cache.take(object(), [3, 4], block)

    assert taken[4][0]["states"][0].item() == 4.0
    assert cache.bytes == 0


def test_the_size_of_an_images_features_is_known_beforehand() -> None:
    base = tiny().base
    image = Squares().examples("test")[0].image
    assert isinstance(image, Image)

    assert base.encode(base.pixels([image]))[0]["states"].nbytes == base.feature_bytes


@pytest.fixture
def bench() -> Tiny:
    return tiny()


def counted(bench: Tiny, monkeypatch: pytest.MonkeyPatch, limit: int) -> tuple[Corpus, list[int]]:
    seen = counted_passes(monkeypatch)
    return Corpus(bench.base, bench.test.task, "test", TEMPLATE, FeatureCache(limit)), seen


def test_a_split_that_fits_goes_through_the_tower_in_fixed_groups_whatever_is_asked(
    bench: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench.test.prompt_batch(range(12))["pixel_values"]
    corpus, seen = counted(bench, monkeypatch, 12 * bench.base.feature_bytes)

    pixels = corpus.prompt_batch([7])["pixel_values"]

    assert torch.equal(pixels[0], whole[7])
    assert seen == [12]


def test_of_a_split_that_does_not_fit_an_image_alone_is_computed_and_no_more_than_once_a_batch(
    bench: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench.test.prompt_batch(range(12))["pixel_values"]
    corpus, seen = counted(bench, monkeypatch, 12 * bench.base.feature_bytes - 1)

    pixels = corpus.prompt_batch([7, 2, 7])["pixel_values"]

    torch.testing.assert_close(pixels, whole[[7, 2, 7]])
    assert seen == [1, 1]
