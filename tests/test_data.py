from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bench.checks.tiny import tiny
from bench.data import IGNORED, opened
from bench.errors import DataError


def test_the_tokens_that_are_counted_are_those_that_are_learnt_however_short_the_limit() -> None:
    corpus = tiny().train
    everything = range(len(corpus.examples))

    for max_length in (12, 14, 16, 64):
        labels = corpus.training_batch(everything, max_length)["labels"]

        assert corpus.target_tokens(everything, max_length) == int((labels != IGNORED).sum())


def test_answers_of_one_batch_differ_in_length() -> None:
    corpus = tiny().train

    assert len({corpus.target_tokens([index], 64) for index in range(8)}) > 1


def test_a_picture_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "COCO_val2014_000000000042.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    assert opened(path).mode == "RGB"
    path.write_bytes(path.read_bytes()[:600])

    with pytest.raises(DataError, match=r"COCO_val2014_000000000042\.jpg cannot be read as a picture .*truncated"):
        opened(path)
