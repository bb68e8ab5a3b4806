import numpy as np
import pytest

from bench.tasks.cider import cider
from bench.tasks.scene_caption import OBJECTS, RELATIONS, SceneCaption, references

COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")


@pytest.fixture
def scenes() -> list[tuple[str, ...]]:
    return [
        references("red circle", "above", "blue ring"),
        references("green cross", "to the left of", "teal circle"),
        references("black ring", "below", "gray diamond"),
    ]


def test_the_mean_over_images_is_the_corpus_score(
    scenes: list[tuple[str, ...]],
) -> None:
    from pycocoevalcap.cider.cider import Cider

    predictions = [scenes[0][0], scenes[1][2], "a red circle"]

    scores = cider(scenes, predictions)

    wanted, said = dict(enumerate(map(list, scenes))), {n: [p] for n, p in enumerate(predictions)}
    assert scores.shape == (3,)
    assert scores.mean() == pytest.approx(Cider().compute_score(wanted, said)[0])


def test_a_reference_scores_more_than_half_of_it(
    scenes: list[tuple[str, ...]],
) -> None:
    exact = cider(scenes, [s[0] for s in scenes])
    half = cider(scenes, ["a red circle", "a green cross", "a black ring"])
    other = cider(scenes, [s[0] for s in scenes[1:] + scenes[:1]])

    assert (exact > half).all()
    assert (half > other).all()


def test_ten_is_reached_by_a_caption_equal_to_all_references() -> None:
    scenes = [["a red circle above"] * 5, ["some blue rings below it"] * 5]

    assert cider(scenes, [s[0] for s in scenes]) == pytest.approx(10)


def test_empty_predictions_score_zero(scenes: list[tuple[str, ...]]) -> None:
    assert cider(scenes, ["", "  ", ""]).tolist() == [0, 0, 0]


def test_no_examples_give_no_scores() -> None:
    assert cider([], []).shape == (0,)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\x0b", "\x0c", "\u2028", "\u2029"])
def test_a_line_end_inside_a_caption_is_a_space(scenes: list[tuple[str, ...]], line_end: str) -> None:
    whole = [s[0] for s in scenes]
    broken = [text.replace(" ", line_end, 1) for text in whole]

    np.testing.assert_array_equal(cider(scenes, broken), cider(scenes, whole))


@pytest.mark.slow
def test_white_space_tokens_are_the_official_tokens_on_every_reference() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer  # needs java, and fails without

    texts = [
        text
        for relation in RELATIONS
        for n, thing in enumerate(OBJECTS)
        for m, color in enumerate(COLORS)
        for text in references(f"{color} {thing}", relation, f"{COLORS[m - 1]} {OBJECTS[n - 1]}")
    ]
    tokens = PTBTokenizer().tokenize({n: [{"caption": text}] for n, text in enumerate(texts)})

    assert [tokens[n] for n in range(len(texts))] == [[text] for text in texts]


@pytest.mark.slow
def test_cider_on_white_space_tokens_equals_cider_on_the_official_tokens() -> None:
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    examples = SceneCaption().examples("test")
    predictions = [examples[n - n % 3].answers[n % 5] for n in range(len(examples))]
    wanted = {n: [{"caption": text} for text in e.answers] for n, e in enumerate(examples)}
    said = {n: [{"caption": text}] for n, text in enumerate(predictions)}
    tokenizer = PTBTokenizer()

    _, official = Cider().compute_score(tokenizer.tokenize(wanted), tokenizer.tokenize(said))

    np.testing.assert_array_equal(cider([e.answers for e in examples], predictions), official)
