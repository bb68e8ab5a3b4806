"""The decoder's two stages, which learn the answers of lessons: first on text, then on pictures."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.prepare.pretrain.lessons import TEMPLATE, Album, Lesson
from bench.prepare.pretrain.stage import SHAPE, OnStage, Stage, schedule
from bench.prepare.pretrain.tower import features

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

IGNORED = -100  # the label of a token without a loss

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

    def loss(lessons: Sequence[Lesson]) -> Tensor:
        return answer_loss(model, tokenizer, lessons)

    def text() -> list[Lesson]:
        return album.texts(rng, TEXT.batch_size, SHAPE.image_tokens)

    train_answers("lookup", LOOKUP, parameters, lambda: album.lookups(rng, LOOKUP.batch_size), loss, progress)
    train_answers("text", TEXT, parameters, text, loss, progress)


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

    def draw() -> list[Lesson]:
        return album.lessons(rng, CONNECTOR.batch_size)

    def loss(lessons: Sequence[Lesson]) -> Tensor:
        return answer_loss(model, tokenizer, lessons, seen)

    train_answers("connector", CONNECTOR, parameters, draw, loss, progress)


def train_answers(
    name: str,
    stage: Stage,
    parameters: Sequence[nn.Parameter],
    draw: Callable[[], list[Lesson]],
    loss_of: Callable[[Sequence[Lesson]], Tensor],
    progress: OnStage,
) -> None:
    """Run a stage that learns the answers of lessons, grouped by length to save padding."""
    optimizer, rates = schedule(stage, parameters)
    total = 0.0
    for step in range(stage.steps):
        optimizer.zero_grad(set_to_none=True)
        for _, group in groupby(sorted(draw(), key=length), key=length):
            part = list(group)
            loss = loss_of(part) * len(part) / stage.batch_size
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rates.step()
        if (step + 1) % 100 == 0:
            progress(f"{name} {step + 1}/{stage.steps} loss {total / 100:.3f}")
            total = 0.0


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

    ``seen`` holds the tower's features of every picture [n, patches, width]; if it is None, the lessons are text alone.
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


def ask(prompt: str) -> str:
    """Return the full prompt, with one image token per patch."""
    return TEMPLATE.format(prompt=prompt).replace("<image>", "<image>" * SHAPE.image_tokens)


def read(model: LlavaForConditionalGeneration, ids: Tensor, seen: Tensor | None, mask: Tensor | None = None) -> Tensor:
    """Return the decoder's last hidden states [n, length, width]; ``seen`` None means text alone."""
    embeddings = model.get_input_embeddings()(ids)
    if seen is not None:
        places = (ids == model.config.image_token_id)[..., None]
        embeddings = embeddings.masked_scatter(places, model.model.multi_modal_projector(seen))
    positions = None if mask is None else (mask.cumsum(1) - 1).clamp(min=0)
    hidden: Tensor = model.model.language_model(
        inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state
    return hidden
