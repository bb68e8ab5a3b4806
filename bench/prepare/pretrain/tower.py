"""The vision tower's stage: throw-away heads teach it to recognise the labels of each picture."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bench.prepare.pretrain.lessons import SOURCES, Album
from bench.prepare.pretrain.stage import SHAPE, OnStage, Stage, schedule

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

TOWER = Stage(steps=3500, batch_size=96, lr=1e-3, weight_decay=0.05)


def train_tower(
    model: LlavaForConditionalGeneration,
    album: Album,
    images: Tensor,
    rng: random.Random,
    progress: OnStage,
) -> None:
    """Train the vision tower to recognise the labels of each picture, through throw-away heads."""
    tower = model.model.vision_tower
    known = album.known
    heads = nn.ModuleDict(
        {"/".join(key): nn.Linear(2 * SHAPE.tower.width, len(values)) for key, values in known.items()}
    )
    optimizer, rates = schedule(TOWER, [*tower.parameters(), *heads.parameters()])
    tower.train()
    total = 0.0
    for step in range(TOWER.steps):
        chosen = [rng.choice(album.by_task[SOURCES[n % 4]]) for n in range(TOWER.batch_size)]
        batch = shifted(normalise(images[chosen]), rng)
        hidden = tower(batch).last_hidden_state[:, 1:]
        pooled = torch.cat([hidden.mean(1), hidden.amax(1)], -1)
        loss = tower_loss(heads, album, chosen, pooled)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        rates.step()
        total += loss.item()
        if (step + 1) % 100 == 0:
            progress(f"tower {step + 1}/{TOWER.steps} loss {total / 100:.3f}")
            total = 0.0


def shifted(batch: Tensor, rng: random.Random, reach: int = 3) -> Tensor:
    """Return each picture shifted at random by up to ``reach`` pixels; the border is repeated."""
    padded = nn.functional.pad(batch, (reach,) * 4, mode="replicate")
    moved = []
    for picture in padded:
        top, left = rng.randint(0, 2 * reach), rng.randint(0, 2 * reach)
        moved.append(picture[:, top : top + SHAPE.image_size, left : left + SHAPE.image_size])
    return torch.stack(moved)


def tower_loss(heads: nn.ModuleDict, album: Album, chosen: Sequence[int], pooled: Tensor) -> Tensor:
    """Return the mean cross-entropy over every known label of the chosen pictures."""
    losses = []
    for (task, kind), values in album.known.items():
        rows = [n for n, number in enumerate(chosen) if album.pictures[number].task == task]
        rows = [n for n in rows if kind in album.pictures[chosen[n]].labels]
        wanted = [values.index(album.pictures[chosen[n]].labels[kind]) for n in rows]
        logits = heads[f"{task}/{kind}"](pooled[rows])
        losses.append(nn.functional.cross_entropy(logits, torch.tensor(wanted)))
    return torch.stack(losses).mean()


@torch.no_grad()
def features(model: LlavaForConditionalGeneration, images: Tensor) -> Tensor:
    """Return the frozen tower's patch features, [n, patches, width]."""
    tower = model.model.vision_tower.eval()
    parts = [tower(normalise(part)).last_hidden_state[:, 1:] for part in torch.split(images, 256)]
    return torch.cat(parts)


def to_pixels(images: Sequence[np.ndarray]) -> Tensor:
    """Return pictures of [height, width, 3] as one uint8 tensor [n, 3, height, width]."""
    stacked = torch.from_numpy(np.stack(images))
    return stacked.permute(0, 3, 1, 2).contiguous()


def normalise(images: Tensor) -> Tensor:
    """Return the pictures scaled and normalised, as the image processor does it."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    mean, std = (torch.tensor(values)[:, None, None] for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (images.float() / 255 - mean) / std
