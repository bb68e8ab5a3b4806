import random
from collections import Counter

import numpy as np

from bench.plugins.task import Example
from bench.prepare.pretrain.lessons import LETTERS, Album, Picture, Turn

PIXELS = np.zeros((64, 64, 3), dtype=np.uint8)
COLORS = ("red", "blue", "green", "teal", "gray")


def asked(number: int, question: str, answer: str) -> Example:
    return Example(f"{number}-{question}", question, (answer,), None)  # type: ignore[arg-type]


def picture(number: int, color: str) -> Picture:
    absent = [asked(number, f"is it {other}?", "no") for other in COLORS if other != color]
    questions = (asked(number, f"is it {color}?", "yes"), asked(number, "what color is it?", color), *absent)
    return Picture("squares", PIXELS, {"color": color, "shape": "square"}, questions)


def album() -> Album:
    pictures = tuple(picture(number, color) for number, color in enumerate(COLORS))
    return Album(pictures, ("anchor", "cloud"), ("above", "anchor", "below", "cloud", "left", "right", "A", "?"))


def options(turn: Turn) -> dict[str, str]:
    lines = turn.prompt.splitlines()[1:]
    return {line[0]: line[3:] for line in lines}


def test_a_lookup_asks_for_letters_of_words_that_stand_among_its_options() -> None:
    for lesson in album().lookups(random.Random(0), 50):
        shown = options(lesson.turns[0])

        (scene,) = lesson.scene  # type: ignore[misc]
        assert shown[lesson.turns[0].answer] == scene
        assert all(shown[turn.answer] == turn.prompt for turn in lesson.turns[1:])
        assert len(set(shown.values())) == len(LETTERS)


def test_the_right_option_is_under_every_letter_alike() -> None:
    counts = Counter(turn.answer for lesson in album().lookups(random.Random(1), 400) for turn in lesson.turns)

    assert all(0.2 < counts[letter] / counts.total() < 0.3 for letter in LETTERS)


def test_letters_about_a_picture_have_one_option_that_is_true_of_it() -> None:
    found = [lesson for lesson in album().lessons(random.Random(2), 400) if lesson.has_options]

    assert found
    for lesson in found:
        assert isinstance(lesson.scene, int)
        true = {*album().pictures[lesson.scene].labels.values(), "yes"}
        shown = options(lesson.turns[0])
        assert [letter for letter, word in shown.items() if word in true] == [lesson.turns[0].answer]


def test_questions_that_name_what_is_there_come_as_often_as_others() -> None:
    rng = random.Random(3)
    turns = [turn for lesson in album().lessons(rng, 4000) for turn in lesson.turns if turn.prompt.startswith("is it")]

    yes = sum(turn.answer == "yes" for turn in turns) / len(turns)

    assert 0.45 < yes < 0.55  # of one picture's questions one in five


def test_a_text_says_all_that_is_known_of_the_picture_it_asks_about() -> None:
    told = [x for x in album().texts(random.Random(4), 600, 16) if x.turns[0].prompt == "what color is it?"]

    assert told
    for lesson in told:
        assert set(lesson.scene) == {lesson.turns[0].answer, "square"}  # type: ignore[arg-type]


def test_words_to_repeat_are_said_again() -> None:
    said = [x.turns[0] for x in album().texts(random.Random(5), 300, 16) if x.turns[0].prompt.startswith("repeat")]

    assert said
    for turn in said:
        assert turn.prompt == f"repeat: {turn.answer}"
        assert set(turn.answer.split()) <= {"above", "anchor", "below", "cloud", "left", "right"}


def test_no_accepted_answer_stands_among_the_wrong_options() -> None:
    things = tuple("abcdef")
    asked_all = tuple(Example(str(n), "where?", (thing, "z"), None) for n, thing in enumerate(things))  # type: ignore[arg-type]
    pictures = tuple(Picture("things", PIXELS, {"thing": f"t{e.answers[0]}"}, (e,)) for e in asked_all)
    lessons = [x.turns[0] for x in Album(pictures, ()).lessons(random.Random(6), 600) if x.has_options]

    where = [turn for turn in lessons if turn.prompt.startswith("where?")]

    assert where
    assert all("z" not in options(turn).values() for turn in where)
