"""Prompts and targets as the original LLaVA splits them into tokens, with a tokenizer of Llama's kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from bench.errors import DataError
from bench.model.answer_loss import IGNORED
from bench.model.resident import Base, Form
from bench.plan.suite import LORASCULPT
from bench.plugins.task import Example, Reading, Split, Task
from bench.trial.corpus import Corpus
from tests.layouts.checkpoint import write

TEMPLATE = LORASCULPT.recipe.template
BOS, EOS, SPACE, BREAK = "<s>", "</s>", "▁", "<0x0A>"


class Questions(Task):
    """Any questions with their answers, about one picture."""

    name: ClassVar[str] = "questions"
    paper: ClassVar[str] = "none"
    primary: ClassVar[str] = "exact"

    def __init__(self, *pairs: tuple[str, str]) -> None:
        picture = Image.new("RGB", (20, 10), (200, 30, 30))
        self._examples = [
            Example(f"q{place}", question, (answer,), picture) for place, (question, answer) in enumerate(pairs)
        ]

    def examples(self, split: Split) -> Sequence[Example]:
        return self._examples

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def base(folder: Path) -> Base:
    return Base.load(folder, Form(image="pad"), torch.device("cpu"))


@pytest.fixture(scope="module")
def words(folder: Path) -> Tokenizer:
    """The bare tokenizer, read from its file by the library under transformers."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def original(words: Tokenizer, text: str, image: int) -> list[int]:
    """Split a text as LLaVA does: every chunk between images on its own, with the start token of the first alone."""
    first, *others = [words.encode(chunk).ids for chunk in text.split("<image>")]
    return [*first, *(token for chunk in others for token in [*[image] * 16, *chunk[1:]])]


def row(corpus: Corpus, index: int = 0, max_length: int = 2048) -> tuple[list[int], list[int]]:
    batch = corpus.training_batch([index], max_length)
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()


PAIRS = [
    ("What color is the square?\nAnswer the question using a single word or phrase.", "red"),
    ("Is it a t-shirt?", "yes"),
    ("café 🙂 中", "½ of  it"),
    ("A. red\nB. green\nReference OCR token: A, B", "B"),
    ("", "no"),
]


def test_the_template_is_vicunas_word_for_word() -> None:
    assert TEMPLATE == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: <image>\n{prompt} ASSISTANT:"
    )


@pytest.mark.parametrize("pair", PAIRS)
def test_prompt_and_target_are_the_originals_tokens(pair: tuple[str, str], base: Base, words: Tokenizer) -> None:
    corpus = Corpus(base, Questions(pair), "train", TEMPLATE)
    question, answer = pair
    image = words.get_vocab()["<image>"]
    prompt = TEMPLATE.replace("{prompt}", question)

    ids, labels = row(corpus)

    assert ids == original(words, f"{prompt} {answer}{EOS}", image)
    asked = corpus.prompt_batch([0])["input_ids"][0].tolist()
    assert asked == original(words, prompt, image)
    assert labels == [IGNORED] * len(asked) + ids[len(asked) :]


def test_what_stands_around_the_image(base: Base, words: Tokenizer) -> None:
    ids, _ = row(Corpus(base, Questions(PAIRS[0]), "train", TEMPLATE))
    tokens = [words.id_to_token(token) for token in ids]
    first = tokens.index("<image>")

    assert tokens[0] == BOS
    assert tokens.count(BOS) == 1
    assert tokens[first : first + 16] == ["<image>"] * 16
    assert tokens.count("<image>") == base.family.image_tokens(base.model.config) == 16
    assert tokens[first - 1] == SPACE  # of "USER: "
    assert tokens[first + 16 : first + 18] == [SPACE, BREAK]  # Llama begins a chunk with a space


def test_the_answer_and_the_end_token_alone_are_learnt(base: Base, words: Tokenizer) -> None:
    ids, labels = row(Corpus(base, Questions(PAIRS[0]), "train", TEMPLATE))
    learnt = [words.id_to_token(label) for label in labels if label != IGNORED]
    before = words.decode([token for token, label in zip(ids, labels, strict=True) if label == IGNORED])

    assert learnt == ["▁red", EOS]
    assert before.endswith("phrase. ASSISTANT:")
    assert labels[-2:] == ids[-2:]


def test_training_pads_on_the_right_and_generation_on_the_left(base: Base, words: Tokenizer) -> None:
    corpus = Corpus(base, Questions(*PAIRS), "train", TEMPLATE)
    pad = words.token_to_id("<pad>")

    learnt, asked = corpus.training_batch([0, 1], 2048), corpus.prompt_batch([0, 1])

    for batch, ends in ((learnt, -1), (asked, 0)):
        rows = zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True)
        for tokens, mask in rows:
            assert [token == pad for token in tokens] == [not seen for seen in mask]
        assert batch["attention_mask"][1, ends] == 0
        assert batch["attention_mask"][1, -1 - ends] == 1
    assert (learnt["labels"][learnt["attention_mask"] == 0] == IGNORED).all()


def test_the_chat_template_makes_no_targets(base: Base, words: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner in (base.processor, base.processor.tokenizer):
        monkeypatch.setattr(owner, "chat_template", "{{ 1 / 0 }}")

    ids, _ = row(Corpus(base, Questions(PAIRS[0]), "train", TEMPLATE))

    assert words.decode(ids, skip_special_tokens=False).endswith(f" red{EOS}")  # the chat template ends in "red "


def test_what_is_too_long_is_cut_after_the_image_is_in_place(base: Base) -> None:
    corpus = Corpus(base, Questions(("What?", "red green blue white yellow")), "train", TEMPLATE)
    whole, labels = row(corpus)

    for length in (len(whole) - 3, corpus.prompt_length(0)):
        assert row(corpus, max_length=length) == (whole[:length], labels[:length])
        assert corpus.target_tokens([0], length) == length - corpus.prompt_length(0)


def test_a_limit_that_cuts_the_image_is_refused_by_name(base: Base) -> None:
    corpus = Corpus(base, Questions(PAIRS[0]), "train", TEMPLATE)

    with pytest.raises(DataError, match=r"questions q0: recipe.max_length 40 keeps only \d+ of the 16 image tokens"):
        corpus.training_batch([0], 40)


def test_an_image_that_a_prompt_names_is_the_templates(base: Base) -> None:
    plain = Corpus(base, Questions(("What is it?", "red")), "train", TEMPLATE)

    for named in ("<image>\nWhat is it?", "What is it?\n<image>"):
        assert row(Corpus(base, Questions((named, "red")), "train", TEMPLATE)) == row(plain)


def test_an_image_token_in_an_answer_is_refused_by_name(base: Base) -> None:
    corpus = Corpus(base, Questions(PAIRS[0], ("What?", "an <image> here")), "train", TEMPLATE)

    with pytest.raises(DataError, match="questions: example q1: its text contains the image token <image>"):
        corpus.target_tokens([0, 1], 2048)


class Joining:
    """A tokenizer of words, to which a colon and a following r are one."""

    eos_token = EOS
    eos_token_id = None

    def __call__(self, text: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[hash(word) for word in text.replace(": r", ":r").split()])


def test_an_answer_that_joins_the_prompts_last_word_is_refused_by_name(base: Base) -> None:
    other = replace(base, processor=SimpleNamespace(tokenizer=Joining(), image_token="<image>"))
    corpus = Corpus(other, Questions(("What?", "no"), ("What?", "red")), "train", TEMPLATE)

    assert corpus.target_tokens([0], 2048) == 1
    with pytest.raises(DataError, match="questions: example q1: its answer changes how its prompt is split"):
        corpus.target_tokens([1], 2048)


ODD = [("What?", "a </s> b"), ("What?", "an <image>"), ("What? " * 400, "red")]


def test_a_training_leaves_out_what_cannot_be_taught_if_so_many_records_may_be_skipped(base: Base) -> None:
    task = Questions(PAIRS[0], *ODD, PAIRS[1])
    task.reading = Reading(skip_bad=3)

    corpus = Corpus(base, task, "train", TEMPLATE, max_length=300)

    assert [example.id for example in corpus.examples] == ["q0", "q4"]
    for place, pair in enumerate((PAIRS[0], PAIRS[1])):
        assert row(corpus, place) == row(Corpus(base, Questions(pair), "train", TEMPLATE))


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (ODD[0], "its answer contains </s>, which ends an answer"),
        (ODD[1], "its text contains the image token <image>"),
        (ODD[2], r"its prompt has [\d,]+ tokens, so recipe.max_length 300 leaves no room for its answer"),
    ],
)
def test_a_training_refuses_a_broken_record_beyond_those_that_may_be_skipped(
    pair: tuple[str, str], reason: str, base: Base
) -> None:
    task = Questions(PAIRS[0], ODD[0], pair)
    task.reading = Reading(skip_bad=1)

    with pytest.raises(DataError, match=rf"^questions: example q2: {reason}\. That is broken record 2, and 1 may be"):
        Corpus(base, task, "train", TEMPLATE, max_length=300)


def test_a_training_in_which_no_prompt_leaves_room_says_so(base: Base) -> None:
    task = Questions(*PAIRS)
    task.reading = Reading(skip_bad=99)

    with pytest.raises(DataError, match=r"none of the 5 examples of its train split can be taught: example q0: its pr"):
        Corpus(base, task, "train", TEMPLATE, max_length=20)


def test_an_evaluation_asks_a_question_whatever_its_answer_is(base: Base) -> None:
    asked = [Corpus(base, Questions(pair), "test", TEMPLATE).prompt_batch([0]) for pair in (("What?", "red"), *ODD[:2])]

    assert all(torch.equal(batch["input_ids"], asked[0]["input_ids"]) for batch in asked)


def test_a_system_prompt_can_be_left_out(base: Base, words: Tokenizer) -> None:
    short = "USER: <image>\n{prompt} ASSISTANT:"
    ids, _ = row(Corpus(base, Questions(PAIRS[1]), "train", short))

    image = words.get_vocab()["<image>"]
    assert ids == original(words, f"USER: <image>\nIs it a t-shirt? ASSISTANT: yes{EOS}", image)


def test_a_tokenizer_without_a_pad_token_pads_with_its_end(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base.processor.tokenizer, "_pad_token", None, raising=False)
    monkeypatch.setitem(base.processor.tokenizer._special_tokens_map, "pad_token", None)

    batch = Corpus(base, Questions(*PAIRS), "train", TEMPLATE).prompt_batch([0, 1])

    assert batch["input_ids"][1, 0] == base.processor.tokenizer.eos_token_id
