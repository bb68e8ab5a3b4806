"""Which sources count: a source on which the base model is not above chance has nothing to forget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.plan.chance import Counted, above, chance, counted
from bench.plan.plan import asked, base_trial
from bench.plan.request import Request
from bench.plan.suite import MICRO
from bench.plugins.tasks import Tasks
from bench.values.job import Job
from tests.making.records import done

REQUEST = Request(MICRO, ("lora",), (4,), MICRO.targets, ("easy_vqa", "cover_digits"), MICRO.recipe, limit=100)


def found(request: Request = REQUEST, **values: float) -> Counted:
    scores = asked(request, ())
    return counted(request, done(Job(base_trial(request), scores), values), scores)


def test_chance_is_the_score_of_the_best_constant_answer() -> None:
    tasks = Tasks()

    assert chance(tasks.load("icon_choice"), "test") == pytest.approx(0.27)  # one of four letters
    assert chance(tasks.load("cover_digits"), "test") == pytest.approx(0.085)  # one of about twelve answers
    assert chance(tasks.load("dot_count"), "test") == pytest.approx(0.1675)  # one of six numbers
    assert chance(tasks.load("stripe_colors"), "test") == pytest.approx(0.01)  # one of 336 orders of colors


def test_a_source_at_chance_is_left_out_and_named_with_both_numbers() -> None:
    counting = found(easy_vqa=0.85, cover_digits=0.0)

    assert counting.names == ("easy_vqa",)
    assert counting.left_out == {"cover_digits"}
    assert counting.lines() == (
        "cover_digits: zero-shot 0.00 (chance 8.50): nothing to forget, so Source leaves it out; "
        "--every-source counts it.",
    )


def test_a_score_whose_interval_has_the_chance_in_it_is_at_chance() -> None:
    assert found(easy_vqa=0.42, cover_digits=0.9).left_out == {"easy_vqa"}  # 36.5 is in 42 ±9.7
    assert not found(easy_vqa=0.5, cover_digits=0.9).left_out
    assert not above(0.0, 0.0, 400)
    assert above(1.3, 1.03, 400, highest=10.0) is False  # CIDEr varies more than a share of right answers


def test_every_source_counts_if_the_request_says_so_or_zero_shot_is_not_known() -> None:
    assert found(replace(REQUEST, every_source=True), easy_vqa=0.85, cover_digits=0.0) == Counted(REQUEST.sources)
    assert counted(REQUEST, None, asked(REQUEST, ())) == Counted(REQUEST.sources)


def test_if_no_source_is_above_chance_all_count_and_one_line_says_what_that_means() -> None:
    counting = found(easy_vqa=0.3, cover_digits=0.0)

    assert counting.names == REQUEST.sources
    (line,) = counting.lines()
    assert line.startswith("No source is above chance before training, so nothing can be forgotten")
    assert line.endswith("Zero-shot (chance): easy_vqa 30.00 (36.50), cover_digits 0.00 (8.50).")
