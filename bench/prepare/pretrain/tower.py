"""The vision tower's stage: auxiliary heads, discarded afterwards, teach it to recognise the labels of each image."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bench.prepare.pretrain.lessons import SOURCES, Album
from bench.prepare.pretrain.stage import SHAPE, OnStage, Stage, train

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

TOWER = Stage(steps=3500, batch_size=96, lr=1e-3, weight_decay=0.05)

_REACH = 3  # pixels


def train_tower(
    model: LlavaForConditionalGeneration,
    album: Album,
    images: Tensor,
    rng: random.Random,
    progress: OnStage,
) -> None:
    """Train the vision tower to recognise the labels of each image through auxiliary heads, discarded afterwards."""
    tower = model.model.vision_tower
    known = album.known
    heads = nn.ModuleDict(
        {"/".join(key): nn.Linear(2 * SHAPE.tower.width, len(values)) for key, values in known.items()}
    )
    tower.train()

    def losses() -> Iterator[Tensor]:
        chosen = [rng.choice(album.by_task[SOURCES[n % 4]]) for n in range(TOWER.batch_size)]
        hidden = tower(shifted(normalise(images[chosen]), rng)).last_hidden_state[:, 1:]
        yield tower_loss(heads, album, chosen, torch.cat([hidden.mean(1), hidden.amax(1)], -1))

    train("tower", TOWER, list(tower.parameters()), losses, progress, list(heads.parameters()))


def shifted(batch: Tensor, rng: random.Random) -> Tensor:
    """Return each image shifted at random by up to three pixels; the border is repeated."""
    padded = nn.functional.pad(batch, (_REACH,) * 4, mode="replicate")
    moved = []
    for picture in padded:
        top, left = rng.randint(0, 2 * _REACH), rng.randint(0, 2 * _REACH)
        moved.append(picture[:, top : top + SHAPE.image_size, left : left + SHAPE.image_size])
    return torch.stack(moved)


def tower_loss(heads: nn.ModuleDict, album: Album, chosen: Sequence[int], pooled: Tensor) -> Tensor:
    """Return the mean cross-entropy over every known label of the chosen images."""
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
    """Return images of [height, width, 3] as one uint8 tensor [n, 3, height, width]."""
    stacked = torch.from_numpy(np.stack(images))
    return stacked.permute(0, 3, 1, 2).contiguous()


def normalise(images: Tensor) -> Tensor:
    """Return the images scaled and normalised, as the image processor does."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    mean, std = (torch.tensor(values)[:, None, None] for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (images.float() / 255 - mean) / std
