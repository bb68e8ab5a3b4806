"""Build the embedded base model from scratch: tower, then connector and decoder, then the card."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.api import Task
from bench.pretrain_data import TEMPLATE, Album, Lesson, pictures, words

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

SOURCES = ("easy_vqa", "cover_digits", "sign_words", "thing_facts")
TARGETS = ("icon_choice", "scene_caption")

IMAGE_SIZE = 64
PATCH_SIZE = 16
IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2
WIDTH = 128

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """How one stage is trained: AdamW, linear warm-up over 5 % of the steps, cosine to zero."""

    steps: int
    batch_size: int
    lr: float
    weight_decay: float


TOWER = Stage(steps=3500, batch_size=96, lr=1e-3, weight_decay=0.05)
DECODER = Stage(steps=2500, batch_size=96, lr=1.5e-3, weight_decay=0.05)


@dataclass(frozen=True, slots=True)
class Built:
    """A base model fresh from pretraining, the tasks it saw and did not see, and the seconds it took."""

    model: LlavaForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    tasks: Mapping[str, Task]
    seconds: float


def pretrain(folder: Path, *, seed: int = 0, progress: Progress) -> Built:
    """Train the base model on the training pictures of the sources and save it in ``folder``.

    The same seed gives the same bytes on the same machine and versions; the target tasks lend their
    words to the tokenizer, and the names of their icons as wrong options, but no picture and no caption.
    """
    torch.set_num_threads(2)
    torch.manual_seed(seed)
    start = time.perf_counter()
    tasks = {name: load_task(name) for name in (*SOURCES, *TARGETS)}
    album = read_album(tasks)
    tokenizer = build_tokenizer(vocabulary(tasks, album))
    model = build_model(tokenizer)
    images = to_pixels([picture.pixels for picture in album.pictures])
    train_tower(model, album, images, random.Random(seed), progress)
    train_decoder(model, tokenizer, album, images, random.Random(seed + 1), progress)
    save(model, tokenizer, folder)
    return Built(model, tokenizer, tasks, time.perf_counter() - start)


def load_task(name: str) -> Task:
    """Return an instance of the task that is installed under this name."""
    (entry,) = entry_points(group="bench.tasks", name=name)
    task: Task = entry.load()()
    return task


def read_album(tasks: dict[str, Task]) -> Album:
    """Return the training pictures of the sources, and the option words that only the targets use."""
    album = [p for name in SOURCES for p in pictures(tasks[name], "train") if p.labels]
    options = {
        option
        for name in TARGETS
        for example in tasks[name].examples("train")
        for option in re.findall(r"^[A-Z]\. (.+)$", example.question, re.MULTILINE)
    }
    return Album(tuple(album), tuple(sorted(options)))


def vocabulary(tasks: dict[str, Task], album: Album) -> list[str]:
    """Return every word of the sources and targets, and of the forms of instruction, sorted."""
    texts = {TEMPLATE.replace("<image>", "")}
    for name in (*SOURCES, *TARGETS):
        for example in tasks[name].examples("train"):
            texts.update((tasks[name].prompt(example), *example.answers))
    rng = random.Random(0)
    for form in album.forms(rng, 20_000):
        lesson = album.lesson(rng, form)
        texts.update((lesson.prompt, lesson.answer))
    found = {word for text in texts for word in words(text)}
    return sorted(found | {str(digit) for digit in range(10)})


def build_tokenizer(known: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per word; unknown words become ``<unk>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "</s>", "<image>"]
    tokens = {word: number for number, word in enumerate([*special, *known])}
    core = Tokenizer(models.WordLevel(tokens, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=2048,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """Return the model with fresh weights: about 1.4 million parameters."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    tower = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=WIDTH,
    )
    decoder = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=decoder,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=IMAGE_TOKENS,
        multimodal_projector_bias=True,
        tie_word_embeddings=False,
    )
    return LlavaForConditionalGeneration(config)


def to_pixels(images: Sequence[np.ndarray]) -> Tensor:
    """Return pictures of [height, width, 3] as one uint8 tensor [n, 3, height, width]."""
    stacked = torch.from_numpy(np.stack(images))
    return stacked.permute(0, 3, 1, 2).contiguous()


def normalise(images: Tensor) -> Tensor:
    """Return the pictures as the image processor does: from -1 to 1."""
    return (images.float() / 255 - 0.5) / 0.5


def schedule(stage: Stage, parameters: Sequence[nn.Parameter]) -> tuple[Any, Any]:
    """Return the stage's optimizer and its learning-rate schedule."""
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.AdamW(parameters, lr=stage.lr, weight_decay=stage.weight_decay, betas=(0.9, 0.98))
    return optimizer, get_cosine_schedule_with_warmup(optimizer, stage.steps // 20, stage.steps)


def train_tower(
    model: LlavaForConditionalGeneration,
    album: Album,
    images: Tensor,
    rng: random.Random,
    progress: Progress,
) -> None:
    """Train the vision tower to name what is known of each picture, through throw-away heads."""
    tower = model.model.vision_tower
    known = album.known
    heads = nn.ModuleDict({"/".join(key): nn.Linear(2 * WIDTH, len(values)) for key, values in known.items()})
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
    """Return the pictures moved by up to ``reach`` pixels, the border repeated."""
    padded = nn.functional.pad(batch, (reach,) * 4, mode="replicate")
    moved = []
    for picture in padded:
        top, left = rng.randint(0, 2 * reach), rng.randint(0, 2 * reach)
        moved.append(picture[:, top : top + IMAGE_SIZE, left : left + IMAGE_SIZE])
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


def train_decoder(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    album: Album,
    images: Tensor,
    rng: random.Random,
    progress: Progress,
) -> None:
    """Train connector and decoder on the source mix; the tower is frozen and its features kept."""
    seen = features(model, images)
    parts = (model.model.multi_modal_projector, model.model.language_model, model.lm_head)
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimizer, rates = schedule(DECODER, parameters)
    model.train()
    total = 0.0
    for step in range(DECODER.steps):
        optimizer.zero_grad(set_to_none=True)
        for lessons in draw(album, rng):
            loss = decoder_loss(model, tokenizer, seen, lessons)
            share = len(lessons) / DECODER.batch_size
            (loss * share).backward()  # type: ignore[no-untyped-call]
            total += loss.item() * share
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rates.step()
        if (step + 1) % 100 == 0:
            progress(f"decoder {step + 1}/{DECODER.steps} loss {total / 100:.3f}")
            total = 0.0
    model.eval()


def draw(album: Album, rng: random.Random) -> Iterator[list[Lesson]]:
    """Yield the lessons of one step in two parts, long prompts apart, to save padding."""
    forms = album.forms(rng, DECODER.batch_size)
    lessons = [(form, album.lesson(rng, form)) for form in forms]
    for long in (False, True):
        part = [lesson for form, lesson in lessons if (form == "letters") == long]
        if part:
            yield part


def decoder_loss(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    seen: Tensor,
    lessons: Sequence[Lesson],
) -> Tensor:
    """Return the cross-entropy of the answers' tokens, the end token among them."""
    prompts = tokenizer([ask(lesson.prompt) for lesson in lessons])["input_ids"]
    answers = tokenizer([lesson.answer + "</s>" for lesson in lessons])["input_ids"]
    length = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    ids = torch.full((len(lessons), length), tokenizer.pad_token_id)
    labels = torch.full((len(lessons), length), -100)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : end] = torch.tensor(answer)
    hidden = read(model, ids, seen[[lesson.picture for lesson in lessons]])
    wanted = labels[:, 1:] != -100
    logits = model.lm_head(hidden[:, :-1][wanted])
    return nn.functional.cross_entropy(logits, labels[:, 1:][wanted])


def ask(prompt: str) -> str:
    """Return the full prompt, one image token per patch."""
    return TEMPLATE.format(prompt=prompt).replace("<image>", "<image>" * IMAGE_TOKENS)


def read(model: LlavaForConditionalGeneration, ids: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the decoder's last hidden states, [n, length, width], for kept tower features."""
    embeddings = model.get_input_embeddings()(ids)
    places = (ids == model.config.image_token_id)[..., None]
    embeddings = embeddings.masked_scatter(places, model.model.multi_modal_projector(seen))
    positions = None if mask is None else (mask.cumsum(1) - 1).clamp(min=0)
    hidden: Tensor = model.model.language_model(
        inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state
    return hidden


def save(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write model, tokenizer and processor, so that the Auto classes load them offline."""
    from transformers import CLIPImageProcessorPil, GenerationConfig, LlavaProcessor

    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    processor = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
