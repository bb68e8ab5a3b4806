"""The model card of the embedded base: what it is, how it was made, how it scores on validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.api import Example, Task
from bench.pretrain import (
    DECODER,
    IMAGE_SIZE,
    PATCH_SIZE,
    SOURCES,
    TARGETS,
    TOWER,
    WIDTH,
    Built,
    Progress,
    Stage,
    ask,
    features,
    pretrain,
    read,
    to_pixels,
)
from bench.pretrain_data import MIX, pixels

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

_BATCH = 64

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# micro

A LLaVA (CLIP tower, two-layer connector, Llama decoder) of {parameters:,} parameters, trained from
scratch in minutes on a processor. It is the base model of retain-bench's embedded suite `micro`: small
enough to fine-tune anywhere, good enough at four source tasks to have something to forget. It is of no
other use, and its scores are never to be compared with a real model's.

Built by `bench pretrain micro` with seed {seed} in {minutes:.1f} minutes (2 threads, torch {torch}).

## Architecture
Pictures of {size}x{size} pixels in {patches} patches of {patch}x{patch}; width {width} and 4 layers in
tower and decoder; one token per word, {vocabulary} words. Prompt: `USER: <image>\\n{{question}} ASSISTANT:`.

## What it saw
The training pictures of {sources}, and nothing else:
1. The tower, with throw-away heads that name what is known of a picture ({tower}).
2. Tower frozen: connector and decoder on questions about the same pictures ({decoder}), in these forms
   and shares: {mix}. `letters` are four options `A. x B. y C. z D. w`.

It saw no picture and no caption of the target tasks {targets}. Their words are in its vocabulary, and the
names of the target icons stood among the wrong options of `letters`.

## Zero-shot scores on validation
| task | metric | score |
|---|---|---:|
{scores}
"""


def build(folder: Path, *, seed: int, progress: Progress) -> None:
    """Pretrain the base model in ``folder`` and write its card beside the weights, with scores measured now."""
    built = pretrain(folder, seed=seed, progress=progress)
    write_card(folder, built, seed)
    progress(f"saved {folder} after {built.seconds / 60:.1f} minutes")


def write_card(folder: Path, built: Built, seed: int) -> None:
    """Write ``README.md`` beside the weights."""
    model, tokenizer, tasks, seconds = built.model, built.tokenizer, built.tasks, built.seconds
    rows = [
        f"| {name} | {task.primary} | {100 * zero_shot(model, tokenizer, task):.1f} |" for name, task in tasks.items()
    ]
    text = _CARD.format(
        parameters=model.num_parameters(),
        seed=seed,
        minutes=seconds / 60,
        torch=torch.__version__,
        size=IMAGE_SIZE,
        patch=PATCH_SIZE,
        patches=(IMAGE_SIZE // PATCH_SIZE) ** 2,
        width=WIDTH,
        vocabulary=len(tokenizer),
        sources=", ".join(SOURCES),
        targets=", ".join(TARGETS),
        tower=_describe(TOWER),
        decoder=_describe(DECODER),
        mix=", ".join(f"{form} {share / sum(MIX.values()):.0%}" for form, share in MIX.items()),
        scores="\n".join(rows),
    )
    (folder / "README.md").write_text(text)


def zero_shot(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, task: Task) -> float:
    """Return the mean of the task's primary metric on validation."""
    examples = task.examples("validation")
    prompts = [task.prompt(example) for example in examples]
    predictions = answers(model, tokenizer, examples, prompts, task.max_new_tokens)
    return float(task.score(examples, predictions)[task.primary].mean())


@torch.no_grad()
def answers(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[Example],
    prompts: Sequence[str],
    max_new_tokens: int,
) -> list[str]:
    """Return the greedy answer to each prompt, left-padded in batches."""
    seen = features(model, to_pixels([pixels(example) for example in examples]))
    replies: list[str] = []
    for start in range(0, len(prompts), _BATCH):
        encoded = tokenizer([ask(p) for p in prompts[start : start + _BATCH]], padding=True, return_tensors="pt")
        rows = seen[start : start + _BATCH]
        ids = _continue(model, encoded["input_ids"], encoded["attention_mask"], rows, max_new_tokens)
        new = ids[:, encoded["input_ids"].shape[1] :]
        replies += [_decode(tokenizer, row) for row in new.tolist()]
    return replies


def _continue(model: LlavaForConditionalGeneration, ids: Tensor, mask: Tensor, seen: Tensor, count: int) -> Tensor:
    for _ in range(count):
        following = model.lm_head(read(model, ids, seen, mask)[:, -1]).argmax(-1, keepdim=True)
        ids = torch.cat([ids, following], 1)
        mask = torch.cat([mask, torch.ones_like(following)], 1)
    return ids


def _decode(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    end = ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids else len(ids)
    text: str = tokenizer.decode(ids[:end])
    return text


def _describe(stage: Stage) -> str:
    return f"{stage.steps:,} steps of {stage.batch_size}, learning rate {stage.lr:g}"
