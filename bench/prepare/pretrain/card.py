"""The model card of the embedded base: what it is, how it was made, how it scores."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.plugins.task import Example, Split, Task
from bench.prepare.pretrain.build import Built, pretrain
from bench.prepare.pretrain.decoder import CONNECTOR, LOOKUP, TEXT, ask, read
from bench.prepare.pretrain.lessons import MIX, SOURCES, TARGETS, TEXTS, pixels
from bench.prepare.pretrain.stage import SHAPE, OnStage, Stage
from bench.prepare.pretrain.tower import TOWER, features, to_pixels

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
enough to fine-tune anywhere, good enough at four source tasks to have something to forget. It has no
other use, and its scores must not be compared with a real model's.

Built by `bench pretrain micro` with seed {seed} in {minutes:.1f} minutes (one thread, torch {torch}).
The same command gives the same bytes on the same kind of machine with the same versions; sha256 of
`model.safetensors`: `{sha256}`.

## Architecture
Pictures of {size}x{size} pixels in {patches} patches of {patch}x{patch}; width {width} and {layers} layers in
tower and decoder; one token per word, {vocabulary} tokens. Prompt: `USER: <image>\n{{question}} ASSISTANT:`.

## How it was built
From the training pictures, questions and answers of {sources}, in three stages:
1. The decoder is trained on text ({text}); words replace a
   picture's tokens. Shares: {texts}. `told` asks about a picture and shows its labels instead of the picture.
   `lookup` lists four options `A. x B. y C. z D. w` of any words, asks which of them is in the scene, and then asks for
   the letters of words by name. `repeat` asks for words to be repeated.
2. The vision tower is trained with throw-away heads that name the labels of a picture ({tower}).
3. Connector and decoder are trained on questions about pictures, with the tower frozen ({connector}).
   Forms and shares: {mix}. `letters` has four options, `describe` a few words,
   `sentence` a sentence.

The decoder starts from weights with which it can almost look up an option: three heads of its first layer copy the
words one, two and three back, and a head in each of the next two layers attends to the tokens that hold the word copied
from two back and reads what these tokens have copied. From random weights the decoder does not learn this lookup in the
same time. The decoder has biases in its attention, and one matrix for embedding and unembedding.

The model knows only this of the target tasks {targets}: their words are in its vocabulary. In the text lessons
the names of the icons appear among the options and among the words that replace a picture, and they are asked for by
name; any word of the targets may be repeated. The question of `letters` and two openings of `sentence` ("there is",
"a picture of") also occur in the targets. The model saw none of the targets' pictures, captions and answers.

## Zero-shot scores
| task | metric | validation | test |
|---|---|---:|---:|
{scores}
"""


def build(folder: Path, *, seed: int, progress: OnStage) -> None:
    """Pretrain the base model into ``folder``, measure its zero-shot scores and write its model card."""
    built = pretrain(folder, seed=seed, progress=progress)
    write_card(folder, built, seed)
    progress(f"saved {folder} after {built.seconds / 60:.1f} minutes")


def write_card(folder: Path, built: Built, seed: int) -> None:
    """Measure the zero-shot scores and write ``README.md`` into the model's folder."""
    model, tokenizer, tasks, seconds = built.model, built.tokenizer, built.tasks, built.seconds
    rows = []
    for name, task in tasks.items():
        validation, test = (zero_shot(model, tokenizer, task, split) for split in ("validation", "test"))
        rows.append(f"| {name} | {task.primary} | {100 * validation:.2f} | {100 * test:.2f} |")
    text = _CARD.format(
        parameters=model.num_parameters(),
        seed=seed,
        minutes=seconds / 60,
        torch=torch.__version__,
        sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        size=SHAPE.image_size,
        patch=SHAPE.patch_size,
        patches=SHAPE.image_tokens,
        width=SHAPE.decoder.width,
        layers=SHAPE.decoder.layers,
        vocabulary=len(tokenizer),
        sources=", ".join(SOURCES),
        targets=", ".join(TARGETS),
        text=f"{_describe(LOOKUP)}, lookups of one word alone; then {_describe(TEXT)}",
        texts=_shares(TEXTS),
        tower=_describe(TOWER),
        connector=_describe(CONNECTOR),
        mix=_shares(MIX),
        scores="\n".join(rows),
    )
    (folder / "README.md").write_text(text)


def zero_shot(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, task: Task, split: Split
) -> float:
    """Return the mean of the task's primary metric on a split."""
    examples = task.examples(split)
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
    """Return the greedy answer to each prompt; prompts run in left-padded batches."""
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


def _shares(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{form} {share / sum(parts.values()):.0%}" for form, share in parts.items())
