"""What every built-in task must keep, and what is particular to each."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from bench import Example, Split, Task
from bench.plugins.task import SPLITS
from bench.tasks import easy_vqa, icon_choice, sign_words, thing_facts
from bench.tasks.cover_digits import CoverDigits
from bench.tasks.dot_count import MOST, DotCount
from bench.tasks.drawing import COLORS
from bench.tasks.drawn_task import DrawnTask
from bench.tasks.scene_caption import SceneCaption
from bench.tasks.stripe_colors import StripeColors

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        easy_vqa.EasyVQA(),
        CoverDigits(),
        sign_words.SignWords(),
        thing_facts.ThingFacts(),
        icon_choice.IconChoice(),
        SceneCaption(),
        DotCount(),
        StripeColors(),
    )
}
SOURCES = tuple(TASKS)[:4]


def opened(example: Example) -> Image.Image:
    if isinstance(example.image, Path):
        with Image.open(example.image) as image:
            return image.convert("RGB")
    return example.image


def fingerprint(example: Example) -> bytes:
    return hashlib.sha256(opened(example).tobytes()).digest()


def colored(example: Example) -> np.ndarray:
    """Return where a picture differs from its background, bool [height, width]; its corner is background."""
    pixels = np.asarray(opened(example))
    differs: np.ndarray = (pixels != pixels[0, 0]).any(-1)
    return differs


def nearest_color(pixel: np.ndarray) -> str:
    """Return the name of the color that is nearest to a pixel, [3]."""
    shade = pixel.astype(int)
    distances: dict[str, float] = {name: float(np.abs(shade - color).sum()) for name, color in COLORS.items()}
    return min(distances, key=distances.__getitem__)


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[str(request.param)]


@pytest.mark.slow
def test_ids_are_unique_over_all_splits(task: Task) -> None:
    ids = [example.id for split in SPLITS for example in task.examples(split)]

    assert len(ids) == len(set(ids))


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["dot_count", "stripe_colors"])
def test_examples_drawn_again_are_the_same(name: str) -> None:
    task = TASKS[name]
    assert isinstance(task, DrawnTask)

    again = [(e.id, e.question, e.answers, fingerprint(e)) for e in task._drawn("validation")]

    assert again == [(e.id, e.question, e.answers, fingerprint(e)) for e in task.examples("validation")]


@pytest.mark.parametrize("name", SOURCES)
def test_each_source_has_a_lenient_score(name: str) -> None:
    examples = TASKS[name].examples("validation")
    verbose = [f"well, {example.answers[0]}!" for example in examples]

    assert TASKS[name].score(examples, verbose)["lenient"].min() == 1


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_a_picture_has_as_many_separate_dots_as_its_answer_says(split: Split) -> None:
    for example in TASKS["dot_count"].examples(split):
        assert example.answers == (str(label(colored(example))[1]),)


@pytest.mark.parametrize(("split", "most"), [("train", 400), ("validation", 42), ("test", 67)])
def test_each_number_of_dots_is_equally_frequent(split: Split, most: int) -> None:
    counts = Counter(example.answers[0] for example in TASKS["dot_count"].examples(split))

    assert set(counts) == {str(number) for number in range(1, MOST + 1)}
    assert (min(counts.values()), max(counts.values())) in {(most, most), (most - 1, most)}


@pytest.mark.slow
def test_the_mean_coloured_area_of_a_number_does_not_tell_the_number_of_dots() -> None:
    areas: dict[str, list[int]] = {}
    for example in TASKS["dot_count"].examples("train"):
        areas.setdefault(example.answers[0], []).append(int(colored(example).sum()))
    usual = {number: float(np.mean(found)) for number, found in areas.items()}
    examples = TASKS["dot_count"].examples("validation")

    guesses = [min(usual, key=lambda number: abs(usual[number] - colored(e).sum())) for e in examples]

    assert TASKS["dot_count"].score(examples, guesses)["exact"].mean() < 0.35


@pytest.mark.parametrize("split", SPLITS)
def test_the_answer_names_the_colors_of_the_stripes_from_left_to_right(split: Split) -> None:
    for example in TASKS["stripe_colors"].examples(split):
        pixels = np.asarray(opened(example))

        assert example.answers == (" ".join(nearest_color(pixels[32, x]) for x in (10, 32, 53)),)


def test_the_stripes_of_a_picture_differ_and_no_order_of_colors_is_frequent() -> None:
    answers = [example.answers[0] for example in TASKS["stripe_colors"].examples("train")]

    assert all(len(set(answer.split())) == 3 for answer in answers)
    assert len(set(answers)) == 8 * 7 * 6
    assert Counter(answers).most_common(1)[0][1] < 0.01 * len(answers)
