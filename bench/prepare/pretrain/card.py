"""The model card of the embedded base: what it is, how it was made, how it scores."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import torch

from bench.model.resident import Base, Form
from bench.plugins.task import Split, Task
from bench.plugins.tasks import Tasks
from bench.prepare.pretrain.build import pretrain
from bench.prepare.pretrain.decoder import CONNECTOR, LOOKUP, TEXT
from bench.prepare.pretrain.lessons import MIX, SOURCES, TARGETS, TEXTS
from bench.prepare.pretrain.stage import SHAPE, OnStage, Stage
from bench.prepare.pretrain.tower import TOWER
from bench.trial.corpus import Corpus
from bench.trial.evaluate import evaluate
from bench.values.recipe import TEMPLATE
from bench.values.scores import ScoreSpec

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
Images of {size}x{size} pixels in {patches} patches of {patch}x{patch}; width {width} and {layers} layers in
tower and decoder; one token per word, {vocabulary} tokens. Prompt: `USER: <image>\n{{question}} ASSISTANT:`.

## How it was built
From the training images, questions and answers of {sources}, in three stages:
1. The decoder is trained on text ({text}); words replace an
   image's tokens. Shares: {texts}. `told` asks about an image and shows its labels instead of the image.
   `lookup` lists four options `A. x B. y C. z D. w` of any words, asks which of them is in the scene, and then asks for
   the letters of words by name. `repeat` asks for words to be repeated.
2. The vision tower is trained with auxiliary heads, discarded afterwards, that name the labels of an image
   ({tower}).
3. Connector and decoder are trained on questions about images, with the tower frozen ({connector}).
   Forms and shares: {mix}. `letters` has four options, `describe` a few words,
   `sentence` a sentence.

The decoder starts from weights with which it can almost look up an option: three heads of its first layer copy the
words one, two and three back, and a head in each of the next two layers attends to the tokens that hold the word copied
from two back and reads what these tokens have copied. From random weights the decoder does not learn this lookup in the
same time. The decoder has biases in its attention, and one matrix for embedding and unembedding.

The model knows only this of the target tasks {targets}: their words are in its vocabulary. In the text lessons
the names of the icons appear among the options and among the words that replace an image, and they are asked for by
name; any word of the targets may be repeated. The question of `letters` and two openings of `sentence` ("there is",
"a picture of") also occur in the targets. The model saw none of the targets' images, captions and answers.

## Zero-shot scores
| task | metric | validation | test |
|---|---|---:|---:|
{scores}
"""


def build(folder: Path, *, seed: int, progress: OnStage) -> None:
    """Pretrain the base model into ``folder``, measure its zero-shot scores and write its model card."""
    start, installed = time.perf_counter(), Tasks()
    tasks = {name: installed.load(name) for name in (*SOURCES, *TARGETS)}
    model = pretrain(folder, tasks, seed=seed, progress=progress)
    minutes = (time.perf_counter() - start) / 60
    base = Base.load(folder, Form(), torch.device("cpu"))
    rows = []
    for name, task in tasks.items():
        validation, test = (100 * zero_shot(base, task, split) for split in ("validation", "test"))
        rows.append(f"| {name} | {task.metric} | {validation:.2f} | {test:.2f} |")
    text = _CARD.format(
        parameters=model.num_parameters(),
        seed=seed,
        minutes=minutes,
        torch=torch.__version__,
        sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        size=SHAPE.image_size,
        patch=SHAPE.patch_size,
        patches=SHAPE.image_tokens,
        width=SHAPE.decoder.width,
        layers=SHAPE.decoder.layers,
        vocabulary=len(base.processor.tokenizer),
        sources=", ".join(SOURCES),
        targets=", ".join(TARGETS),
        text=f"{_describe(LOOKUP)}, lookups of one word alone; then {_describe(TEXT)}",
        texts=_shares(TEXTS),
        tower=_describe(TOWER),
        connector=_describe(CONNECTOR),
        mix=_shares(MIX),
        scores="\n".join(rows),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    progress(f"built and measured after {minutes:.1f} minutes")


def zero_shot(base: Base, task: Task, split: Split, most: int | None = None) -> float:
    """Return the mean of the task's main metric on a split, or on ``most`` of its examples."""
    corpus = Corpus(base, task, split, TEMPLATE)
    asked = ScoreSpec(task.name, split, len(corpus.examples[:most]), "", task.answer_tokens, "")
    answers = evaluate(base.model, corpus, asked)
    return fmean(answer.scores[task.metric] for answer in answers)


def _describe(stage: Stage) -> str:
    return f"{stage.steps:,} steps of {stage.batch_size}, learning rate {stage.lr:g}"


def _shares(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{form} {share / sum(parts.values()):.0%}" for form, share in parts.items())
