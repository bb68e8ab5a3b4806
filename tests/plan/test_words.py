"""Which words of a task the base model of a suite does not know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from bench import Example, Split, Task, UsageError
from bench.model.vocabulary import vocabulary_of
from bench.plan.baselines import make
from bench.plan.request import Request
from bench.plan.suite import MICRO
from bench.plan.words import check_words
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class DigitNames(Task):
    """Digits as words, of which micro knows one."""

    name: ClassVar[str] = "digit_names"
    paper: ClassVar[str] = "none: a test"
    primary: ClassVar[str] = "exact"

    def examples(self, split: Split) -> Sequence[Example]:
        image = Image.new("RGB", (4, 4))
        return [Example(f"{split}-{n}", "which digit was this by hand ?", (w,), image) for n, w in enumerate(WORDS)]

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"exact": np.zeros(len(examples))}


def request(targets: Sequence[str], sources: Sequence[str], method: str = "lora") -> Request:
    registry = Registry()
    registry.add(DigitNames)
    return Request(MICRO, (method,), (4,), tuple(targets), tuple(sources), MICRO.recipe, tasks=Tasks(registry))


def test_a_target_whose_answers_the_model_cannot_say_is_refused_with_the_words_and_what_to_do() -> None:
    with pytest.raises(UsageError) as error:
        list(check_words(request(["digit_names"], ["easy_vqa"])))

    told = str(error.value)
    assert told.startswith(
        "digit_names: 9 of 10 answers and 3 of 7 words of the prompts are unknown to the base model of micro: zero, "
        "two, three, four, five, six, seven, eight and 1 more; in the prompts: was, by, hand. No training teaches"
    )
    assert "assets/micro/tokenizer.json lists its 247 tokens)" in told
    assert "\n" not in told


def test_unknown_words_of_a_source_are_a_warning() -> None:
    (warning,) = check_words(request(["icon_choice"], ["digit_names"]))

    assert warning.startswith("digit_names: 9 of 10 answers and 3 of 7 words of the prompts are unknown")


def test_unknown_answers_of_a_source_that_is_taught_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^digit_names: 9 of 10 answers and .* No training teaches") as error:
        list(check_words(request(["icon_choice"], ["digit_names"], "replay")))

    assert str(error.value).endswith("Or leave digit_names out of --sources, or drop replay, which trains on it.")


def test_a_control_that_nobody_asked_for_is_left_out_if_it_cannot_say_the_answers_of_a_source(tmp_path: Path) -> None:
    asked = replace(request(["icon_choice"], ["digit_names"]), controls=True)

    (warning,) = check_words(asked)
    plan = make(asked, Store(tmp_path))

    assert warning.startswith("digit_names: 9 of 10 answers")
    assert asked.taught == ("icon_choice",)
    assert "lora replay" not in {cell.key.name for cell in plan.cells}
    (note,) = plan.notes
    assert note.startswith(
        "lora replay is left out: replay trains on examples of every source. digit_names: 9 of 10 answers are unknown "
        "to the base model of micro: zero, two, three"
    )


def test_micro_knows_every_word_of_its_own_tasks() -> None:
    drawn = (*MICRO.targets, "dot_count", "stripe_colors")

    assert list(check_words(request(drawn, MICRO.sources))) == []


@pytest.mark.parametrize("model", [{"byte_fallback": True, "unk_token": "<unk>"}, {"unk_token": None}])
def test_a_tokenizer_that_never_gives_its_unknown_token_knows_every_word(
    tmp_path: Path, model: dict[str, object]
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}), encoding="utf-8")

    assert vocabulary_of(tmp_path) is None


def test_the_page_of_the_tasks_lists_every_word_of_micro() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    block = page.partition("### The words of `micro`")[2].partition("```text")[2].partition("```")[0]
    words = json.loads((MICRO.folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]

    assert block.split() == sorted(word for word in words if not re.fullmatch(r"<.*>|</s>", word))
