"""CIDEr-D on PTB tokens; numbers from an independent count of n-grams here, and from pycocoevalcap run whole."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from bench import Example
from bench.tasks import caption_scores
from bench.tasks.caption_scores import score_captions
from bench.tasks.coco_caption import COCOCaption

REFERENCES = (
    ("A man is riding a wave.", "A surfer on a big wave.", "a man on a surfboard rides a wave"),
    ("Two dogs play in the grass.", "Two brown dogs are playing outside.", "dogs that play (together)"),
    ("A plate of food, with rice!", "Some rice and beans on a white plate.", "a plate with rice"),
    ("The bus is red.", "A red double-decker bus.", "a red bus in a street"),
)
GOOD = ("A man riding a wave.", "Two dogs in the grass", "a plate of rice", "A red bus.")


@pytest.fixture(scope="module")
def good() -> np.ndarray:
    """CIDEr-D of the good captions: each score starts Java twice."""
    return np.array(score_captions(REFERENCES, GOOD)["cider"])


@pytest.mark.slow
def test_cider_equals_a_count_by_hand_of_the_formula() -> None:
    # tokens that punctuation and case do not change
    references = [["a red dog runs", "a red dog"], ["two blue cats sit"], ["a bird flies away home"]]
    predictions = ["a red dog sits", "two blue cats", "the bird"]

    scores = score_captions(references, predictions)["cider"]

    np.testing.assert_allclose(scores, by_hand(references, predictions), rtol=1e-12)


@pytest.mark.slow
def test_cider_and_rouge_equal_the_official_evaluation() -> None:
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    wanted = tokenizer.tokenize({n: [{"caption": text} for text in texts] for n, texts in enumerate(REFERENCES)})
    said = tokenizer.tokenize({n: [{"caption": text}] for n, text in enumerate(GOOD)})
    scores = score_captions(REFERENCES, GOOD)

    for name, scorer in (("cider", Cider()), ("rouge_l", Rouge())):
        mean, each = scorer.compute_score(wanted, said)
        np.testing.assert_array_equal(scores[name], each)
        assert scores[name].mean() == pytest.approx(mean)


@pytest.mark.slow
def test_case_and_punctuation_cost_nothing(good: np.ndarray) -> None:
    loud = [f"{text.rstrip('.').upper()} ." for text in GOOD]

    np.testing.assert_array_equal(score_captions(REFERENCES, loud)["cider"], good)


@pytest.mark.slow
@pytest.mark.parametrize("line_end", ["\r", "\x0b", "\x0c", "\u2028", "\u2029"])
def test_a_line_end_in_the_first_caption_does_not_misalign_the_rest(line_end: str, good: np.ndarray) -> None:
    broken = (GOOD[0].replace(" ", line_end, 1), *GOOD[1:])

    np.testing.assert_array_equal(score_captions(REFERENCES, broken)["cider"], good)


@pytest.mark.slow
def test_captions_of_other_images_score_far_less(good: np.ndarray) -> None:
    shifted = (GOOD[-1], *GOOD[:-1])

    assert score_captions(REFERENCES, shifted)["cider"].mean() < 0.1 * good.mean()


@pytest.mark.slow
def test_empty_captions_score_nothing_and_change_no_other(good: np.ndarray) -> None:
    scores = score_captions(REFERENCES, ("", *GOOD[1:-1], ""))

    assert scores["cider"][[0, -1]].tolist() == [0, 0]
    assert scores["rouge_l"][[0, -1]].tolist() == [0, 0]
    np.testing.assert_array_equal(scores["cider"][1:-1], good[1:-1])


@pytest.mark.slow
def test_a_part_of_the_images_has_other_document_frequencies(good: np.ndarray) -> None:
    assert score_captions(REFERENCES[:2], GOOD[:2])["cider"][0] != pytest.approx(good[0], rel=0.01)
    assert score_captions(REFERENCES[:1], GOOD[:1])["cider"].tolist() == [0]  # log(1) = 0: every word is everywhere


def test_no_captions_have_no_scores() -> None:
    assert {name: values.tolist() for name, values in score_captions([], []).items()} == {"cider": [], "rouge_l": []}


@pytest.mark.slow
def test_the_references_of_a_split_are_tokenized_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    tokens: Callable[[Sequence[str]], list[str]] = caption_scores.ptb_tokens

    def counted(texts: Sequence[str]) -> list[str]:
        calls.append(len(texts))
        return tokens(texts)

    monkeypatch.setattr(caption_scores, "ptb_tokens", counted)
    own = (*REFERENCES, ("a reference of this test alone",))

    first = score_captions(own, (*GOOD, "a"))
    second = score_captions([list(texts) for texts in own], (*GOOD, "a"))

    assert calls == [13, 5, 5]
    np.testing.assert_array_equal(first["cider"], second["cider"])


@pytest.mark.slow
def test_the_task_scores_all_references_of_an_example() -> None:
    examples = [Example(str(n), "?", texts, Image.new("RGB", (1, 1))) for n, texts in enumerate(REFERENCES)]

    scores = COCOCaption().score(examples, list(GOOD))

    np.testing.assert_array_equal(scores["cider"], score_captions(REFERENCES, GOOD)["cider"])


def by_hand(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> list[float]:
    """CIDEr-D: 10 times the mean over n = 1..4 and references of clipped tf-idf cosines, with a length penalty."""
    frequency = Counter(gram for texts in references for gram in {g for text in texts for g in grams(text)})
    total = math.log(len(references))

    def weights(text: str) -> dict[tuple[str, ...], float]:
        return {g: count * (total - math.log(max(1, frequency[g]))) for g, count in Counter(grams(text)).items()}

    def cosine(said: str, wanted: str, n: int) -> float:
        a, b = ({g: w for g, w in weights(text).items() if len(g) == n} for text in (said, wanted))
        size = math.prod(math.sqrt(sum(w * w for w in part.values())) for part in (a, b))
        gap = (len(said.split()) - 1) - (len(wanted.split()) - 1)  # lengths are counted in bigrams
        dot = sum(min(w, b[g]) * b[g] for g, w in a.items() if g in b)
        return (dot / size if size else 0.0) * math.exp(-(gap**2) / (2 * 6.0**2))

    return [
        10 * sum(cosine(said, wanted, n) for wanted in texts for n in range(1, 5)) / (4 * len(texts))
        for said, texts in zip(predictions, references, strict=True)
    ]


def grams(text: str) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[at : at + n]) for n in range(1, 5) for at in range(len(words) - n + 1)]
