"""Pretrain the embedded base model: the decoder on text, the tower, then connector and decoder."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.model.llava.tiny import fresh, processor, word_tokenizer
from bench.model.saving import save_model
from bench.plugins.task import Task
from bench.prepare.pretrain.decoder import train_connector, train_text
from bench.prepare.pretrain.lessons import SOURCES, TARGETS, Album, pictures, words
from bench.prepare.pretrain.prime import prime
from bench.prepare.pretrain.stage import SHAPE, OnStage
from bench.prepare.pretrain.tower import to_pixels, train_tower
from bench.values.recipe import TEMPLATE

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration


def pretrain(folder: Path, tasks: Mapping[str, Task], *, seed: int, progress: OnStage) -> LlavaForConditionalGeneration:
    """Train the base model on the training images of the sources, save it in ``folder`` and return it.

    The same seed gives the same bytes on the same machine with the same versions. The tokenizer and the text-only
    lessons use the words of the target tasks, but no image, no caption and no answer of them.
    """
    torch.set_num_threads(1)  # one and two threads differ in bits
    torch.manual_seed(seed)
    album = read_album(tasks)
    tokenizer = word_tokenizer(album.vocabulary)
    model = fresh(tokenizer, SHAPE).train()
    prime(model.model.language_model)
    images = to_pixels([picture.pixels for picture in album.pictures])
    train_text(model, tokenizer, album, random.Random(seed), progress)
    train_tower(model, album, images, random.Random(seed + 1), progress)
    train_connector(model, tokenizer, album, images, random.Random(seed + 2), progress)
    save_model(model.eval(), folder)
    processor(tokenizer, SHAPE).save_pretrained(folder)
    return model


def read_album(tasks: Mapping[str, Task]) -> Album:
    """Return the training images of the sources, and the words of sources and targets."""
    album = [p for name in SOURCES for p in pictures(tasks[name], "train") if p.labels]
    options = {
        option
        for name in TARGETS
        for example in tasks[name].examples("train")
        for option in re.findall(r"^[A-Z]\. (.+)$", example.question, re.MULTILINE)
    }
    known = Album(tuple(album), tuple(sorted(options)))
    return replace(known, vocabulary=vocabulary(tasks, known))


def vocabulary(tasks: Mapping[str, Task], album: Album) -> list[str]:
    """Return every word of the sources, the targets and the lessons, sorted."""
    texts = {TEMPLATE.replace("<image>", ""), "repeat:"}
    for name in (*SOURCES, *TARGETS):
        for example in tasks[name].examples("train"):
            texts.update((tasks[name].prompt(example), *example.answers))
    for lesson in album.lessons(random.Random(0), 20_000):
        texts.update(part for turn in lesson.turns for part in (turn.prompt, turn.answer))
    found = {word for text in texts for word in words(text)}
    return sorted(found | {str(digit) for digit in range(10)})
