"""The decoder's two stages, which learn the answers of lessons: first on text, then on images."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.model.answer_loss import IGNORED
from bench.prepare.pretrain.lessons import Album, Lesson
from bench.prepare.pretrain.stage import SHAPE, OnStage, Stage, train
from bench.prepare.pretrain.tower import features
from bench.values.recipe import TEMPLATE

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

LOOKUP = Stage(steps=200, batch_size=64, lr=1e-3, weight_decay=0.05)
TEXT = Stage(steps=1000, batch_size=64, lr=1e-3, weight_decay=0.05)
CONNECTOR = Stage(steps=3500, batch_size=64, lr=1e-3, weight_decay=0.05)


def train_text(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    album: Album,
    rng: random.Random,
    progress: OnStage,
) -> None:
    """Train the decoder on text alone: first to look up options, then the sources' words and facts."""
    parameters = list(model.model.language_model.parameters())  # lm_head is the embedding, tied

    def lookups() -> Iterator[Tensor]:
        return answer_losses(model, tokenizer, album.lookups(rng, LOOKUP.batch_size))

    def texts() -> Iterator[Tensor]:
        return answer_losses(model, tokenizer, album.texts(rng, TEXT.batch_size, SHAPE.image_tokens))

    train("lookup", LOOKUP, parameters, lookups, progress)
    train("text", TEXT, parameters, texts, progress)


def train_connector(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    album: Album,
    images: Tensor,
    rng: random.Random,
    progress: OnStage,
) -> None:
    """Train connector and decoder on the sources; the tower is frozen, so its features are computed once."""
    seen = features(model, images)
    parts = (model.model.multi_modal_projector, model.model.language_model)
    parameters = [parameter for part in parts for parameter in part.parameters()]

    def losses() -> Iterator[Tensor]:
        return answer_losses(model, tokenizer, album.lessons(rng, CONNECTOR.batch_size), seen)

    train("connector", CONNECTOR, parameters, losses, progress)


def answer_losses(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    lessons: Sequence[Lesson],
    seen: Tensor | None = None,
) -> Iterator[Tensor]:
    """Yield the parts of the loss of all answers; lessons of about the same length are a part, to save padding."""
    for _, group in groupby(sorted(lessons, key=length), key=length):
        part = list(group)
        yield answer_loss(model, tokenizer, part, seen) * len(part) / len(lessons)


def length(lesson: Lesson) -> tuple[bool, bool]:
    """Return the two facts that make a lesson long: whether it has options, and more than one turn."""
    return lesson.has_options, len(lesson.turns) > 1


def answer_loss(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    lessons: Sequence[Lesson],
    seen: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy of the answers' tokens, including the end tokens.

    ``seen`` holds the tower's features of every image [n, patches, width]; if it is None, the lessons are text alone.
    """
    encoded = [encode(tokenizer, lesson) for lesson in lessons]
    width = max(len(ids) for ids, _ in encoded)
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row, _ in encoded])
    labels = torch.tensor([row + [IGNORED] * (width - len(row)) for _, row in encoded])
    hidden = read(model, ids, None if seen is None else seen[[lesson.scene for lesson in lessons]])
    wanted = labels[:, 1:] != IGNORED
    logits = model.lm_head(hidden[:, :-1][wanted])
    return nn.functional.cross_entropy(logits, labels[:, 1:][wanted])


def encode(tokenizer: PreTrainedTokenizerFast, lesson: Lesson) -> tuple[list[int], list[int]]:
    """Return a lesson's tokens and labels; only the answers and their end tokens are learnt."""
    scene = ["<image>"] * SHAPE.image_tokens if isinstance(lesson.scene, int) else lesson.scene
    template, ids, labels = TEMPLATE.replace("<image>", " ".join(scene)), [], []
    for turn in lesson.turns:
        prompt = tokenizer(template.format(prompt=turn.prompt)).input_ids
        answer = tokenizer(f"{turn.answer}</s>").input_ids
        ids += prompt + answer
        labels += [IGNORED] * len(prompt) + answer
        template = TEMPLATE.replace("<image>\n", "")
    return ids, labels


def read(model: LlavaForConditionalGeneration, ids: Tensor, seen: Tensor | None) -> Tensor:
    """Return the decoder's last hidden states [n, length, width]; ``seen`` None means text alone."""
    embeddings = model.get_input_embeddings()(ids)
    if seen is not None:
        places = (ids == model.config.image_token_id)[..., None]
        embeddings = embeddings.masked_scatter(places, model.model.multi_modal_projector(seen))
    hidden: Tensor = model.model.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
    return hidden
