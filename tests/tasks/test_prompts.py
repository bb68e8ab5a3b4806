"""What the model is asked, letter by letter: spec/tasks.md, sections 3 to 8."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench import Example
from bench.plan.plan import asked
from bench.plan.request import Request
from bench.plan.suite import LORASCULPT
from bench.tasks.coco_caption import TRAIN_PROMPTS
from tests.layouts import Sizes, opened, write_files

SHORT = "Answer the question using a single word or phrase."
CHOICE = Example("1", "Which is it", ("B",), Path("x"), ("red", "1,000", "a dog"))
WRITTEN = Example("1", "what brand is this?", ("DAKOTA",), Path("x"), ("DAKOTA", "Single-Use", "Pire"))
PLAIN = Example("1", "What is it?", ("red",), Path("x"))


@pytest.mark.parametrize(
    ("name", "example", "prompt"),
    [
        ("iconqa", CHOICE, "Which is it\nA. red\nB. 1,000\nC. a dog"),
        (
            "iconqa@llava_mcq",
            CHOICE,
            "Which is it\nA. red\nB. 1,000\nC. a dog\nAnswer with the option's letter from the given choices directly.",
        ),
        (
            "iconqa@lmms",
            CHOICE,
            "Given a set of images and a question, please provide the answer to the question.\n"
            "Question: Which is it.\nOptions:\nA. red\nB. 1,000\nC. a dog\n"
            "Please answer with the option letter from the given choices directly.",
        ),
        ("okvqa", PLAIN, f"What is it?\n{SHORT}"),
        (
            "okvqa@lmms",
            PLAIN,
            "What is it?\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n" + SHORT,
        ),
        ("ocrvqa", PLAIN, f"What is it?\n{SHORT}"),
        ("gqa", PLAIN, f"What is it?\n{SHORT}"),
        ("textvqa", WRITTEN, f"what brand is this?\nReference OCR token: DAKOTA, Single-Use, Pire\n{SHORT}"),
        ("textvqa", replace(WRITTEN, hints=()), f"what brand is this?\nReference OCR token: \n{SHORT}"),
        ("textvqa@no_ocr", WRITTEN, f"what brand is this?\n{SHORT}"),
        ("textvqa@lmms", WRITTEN, f"What brand is this?\n{SHORT}"),
    ],
)
def test_a_prompt_is_that_of_its_variant(name: str, example: Example, prompt: str) -> None:
    assert opened(name, Path("nowhere")).prompt(example) == prompt


@pytest.mark.parametrize("name", ["iconqa", "coco_caption", "okvqa", "ocrvqa", "gqa", "textvqa"])
def test_every_task_may_answer_in_128_tokens_as_the_paper_does(name: str) -> None:
    assert opened(name, Path("nowhere")).max_new_tokens == 128


def test_a_variant_of_lmms_eval_may_answer_in_as_many_tokens_as_there() -> None:
    names = ("iconqa@lmms", "iconqa", "coco_caption@lmms", "coco_caption@lmms_karpathy")
    request = Request(LORASCULPT, (), (), (), names, LORASCULPT.recipe, assumed=True)

    assert [item.max_new_tokens for item in asked(request, ())] == [32, 128, 64, 128]


def test_captions_are_taught_with_one_of_five_prompts_and_asked_with_one(tmp_path: Path) -> None:
    write_files(tmp_path, "coco_caption", Sizes(40, 2, 2))
    task = opened("coco_caption", tmp_path)

    taught = Counter(task.prompt(example) for example in task.examples("train"))
    tested = {task.prompt(example) for split in ("validation", "test") for example in task.examples(split)}  # type: ignore[arg-type]

    assert set(taught) == set(TRAIN_PROMPTS)
    assert all(25 <= count <= 55 for count in taught.values())  # of 200
    assert tested == {"Provide a short description of the image."}
    assert [task.prompt(e) for e in opened("coco_caption", tmp_path).examples("train")] == [
        task.prompt(e) for e in task.examples("train")
    ]


@pytest.mark.parametrize(
    ("variant", "prompt"),
    [
        ("lmms", "Provide a one-sentence caption for the provided image."),
        ("lmms_karpathy", "Describe the image briefly."),
        (
            "vlmevalkit",
            "Please describe this image in general. Directly provide the description, "
            'do not include prefix like "This image depicts". ',
        ),
    ],
)
def test_other_variants_of_captions_ask_alike_in_training_and_test(tmp_path: Path, variant: str, prompt: str) -> None:
    write_files(tmp_path, "coco_caption", Sizes(2, 1, 1))
    task = opened(f"coco_caption@{variant}", tmp_path)

    examples = itertools.chain(task.examples("train"), task.examples("test"))

    assert {task.prompt(example) for example in examples} == {prompt}
