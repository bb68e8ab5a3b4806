"""What every built-in task must keep, and what is particular to each."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from bench import Example, Split, Task
from bench.tasks import easy_vqa, icon_choice, sign_words, thing_facts
from bench.tasks.cover_digits import CoverDigits
from bench.tasks.scene_caption import SceneCaption

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        easy_vqa.EasyVQA(),
        CoverDigits(),
        sign_words.SignWords(),
        thing_facts.ThingFacts(),
        icon_choice.IconChoice(),
        SceneCaption(),
    )
}
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SOURCES = tuple(TASKS)[:4]


def opened(example: Example) -> Image.Image:
    if isinstance(example.image, Path):
        with Image.open(example.image) as image:
            return image.convert("RGB")
    return example.image


def fingerprint(example: Example) -> bytes:
    return hashlib.sha256(opened(example).tobytes()).digest()


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[str(request.param)]


def test_ids_are_unique_over_all_splits(task: Task) -> None:
    ids = [example.id for split in SPLITS for example in task.examples(split)]

    assert len(ids) == len(set(ids))


def test_no_picture_is_in_two_splits(task: Task) -> None:
    seen = [{fingerprint(example) for example in task.examples(split)} for split in SPLITS]

    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_evaluation_asks_one_question_per_picture(task: Task) -> None:
    for split in SPLITS[1:]:
        examples = task.examples(split)

        assert len({fingerprint(example) for example in examples}) == len(examples)


def test_sizes_are_as_declared(task: Task) -> None:
    assert len(task.examples("validation")) == 250
    assert len(task.examples("test")) == 400
    assert all(opened(example).size == (64, 64) for example in task.examples("test"))


def test_the_right_answer_scores_full_marks(task: Task) -> None:
    examples = task.examples("test")

    scores = task.score(examples, [example.answers[0] for example in examples])

    assert set(scores) >= {task.primary}
    assert all(len(values) == len(examples) for values in scores.values())
    if task.primary != "cider":
        assert scores[task.primary].min() == 1


def test_an_empty_answer_scores_nothing(task: Task) -> None:
    examples = task.examples("validation")

    scores = task.score(examples, [""] * len(examples))

    assert all((values == 0).all() for values in scores.values())


@pytest.mark.parametrize("name", SOURCES)
def test_each_source_has_a_lenient_score(name: str) -> None:
    examples = TASKS[name].examples("validation")
    verbose = [f"well, {example.answers[0]}!" for example in examples]

    assert TASKS[name].score(examples, verbose)["lenient"].min() == 1


@pytest.mark.parametrize("name", SOURCES)
def test_each_source_knows_what_is_in_its_training_pictures(name: str) -> None:
    examples = TASKS[name].examples("train")[:300]

    assert sum(bool(TASKS[name].labels(example)) for example in examples) > 0.95 * len(examples)


def test_the_icons_to_choose_from_are_in_no_other_task() -> None:
    assert not set(icon_choice.ICONS) & set(thing_facts.THINGS)


def test_each_letter_is_right_about_equally_often() -> None:
    answers = [example.answers[0] for example in TASKS["icon_choice"].examples("train")]

    assert all(0.22 < answers.count(letter) / len(answers) < 0.28 for letter in "ABCD")


def test_the_right_letter_stands_before_the_name_of_the_icon() -> None:
    example = TASKS["icon_choice"].examples("test")[0]

    options = dict(line.split(". ") for line in example.question.splitlines()[1:])

    assert list(options) == ["A", "B", "C", "D"]
    assert len(set(options.values())) == 4


def test_every_caption_has_five_different_references_in_lower_case_words() -> None:
    for example in TASKS["scene_caption"].examples("test"):
        assert len(set(example.answers)) == 5
        assert all(text.replace(" ", "").isalpha() and text.islower() for text in example.answers)


def test_no_answer_to_a_fact_is_the_name_of_the_thing() -> None:
    for thing, facts in thing_facts.FACTS.items():
        assert all(thing not in said for said in facts.values())


def test_ten_annotators_agree_on_most_facts() -> None:
    assert thing_facts.ten_annotators(("road", "street")) == ("road",) * 7 + ("street",) * 3
    assert thing_facts.ten_annotators(("metal",)) == ("metal",) * 10


def test_answering_easy_vqa_from_the_question_alone_gets_two_thirds() -> None:
    assert easy_vqa.question_only_baseline() == pytest.approx(0.665, abs=0.0005)


def test_labels_of_an_easy_vqa_picture_come_from_its_questions() -> None:
    example = TASKS["easy_vqa"].examples("train")[0]

    assert (example.question, example.answers) == ("what is the blue shape?", ("rectangle",))
    assert TASKS["easy_vqa"].labels(example) == {"shape": "rectangle", "color": "blue"}
