from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.leaderboard import plots
from bench.leaderboard.environments import facts
from bench.leaderboard.stats import RESAMPLES, Draws
from bench.leaderboard.tradeoff import Curve, lines, write
from tests.making.boards import key


def flat(value: float) -> Draws:
    return Draws((0,), np.array([value]), np.full((1, RESAMPLES), value))


def curve(name: str, points: dict[float, tuple[float, float]]) -> Curve:
    """Build a curve without noise from Source and Target by strength."""
    source = {strength: flat(pair[0]) for strength, pair in points.items()}
    return Curve(key(name, 32), "t", source, {strength: flat(pair[1]) for strength, pair in points.items()})


LORA = curve("lora", {0.0: (0.9, 0.2), 0.5: (0.8, 0.6), 1.0: (0.4, 0.8)})


@pytest.mark.parametrize(
    ("level", "source"),
    [
        (0.1, 0.9),  # the base model has learnt as much
        (0.4, 0.85),  # half-way between 0 and 0.5
        (0.6, 0.8),
        (0.7, 0.6),  # half-way between 0.5 and 1
        (0.8, 0.4),
    ],
)
def test_source_at_a_target_lies_on_the_line_between_two_strengths(level: float, source: float) -> None:
    assert LORA.source_at(flat(level)).value == pytest.approx(source)


def test_of_a_curve_that_turns_back_the_higher_source_counts() -> None:
    back = curve("x", {0.0: (0.9, 0.2), 0.5: (0.8, 0.6), 1.0: (0.7, 0.4)})

    assert back.source_at(flat(0.4)).value == pytest.approx(0.85)


def test_beyond_its_highest_target_a_curve_gives_what_is_there() -> None:
    assert LORA.source_at(flat(0.9)).value == 0.4


def test_a_row_is_held_against_lora_where_lora_has_learnt_as_much() -> None:
    other = curve("dare", {0.0: (0.9, 0.2), 0.5: (0.85, 0.5), 1.0: (0.5, 0.7)})
    far = curve("l2", {0.0: (0.9, 0.2), 1.0: (0.1, 0.9)})

    text = {line.split()[0]: line for line in lines([LORA, other, far]) if line.strip()}

    assert "at  70.00, which all reach" in "\n".join(text.values())
    assert "60.00 ±0.00" in text["lora"]
    assert "70.00:  50.00 ±0.00        60.00   -10.00  ±0.00" in text["dare"]
    assert "not reached" in text["l2"]


def test_a_curve_of_another_environment_is_not_judged_unless_mixed() -> None:
    here, there = ({0: facts([{"torch": version}], {})} for version in ("2.13.0", "2.12.1"))
    points = {0.0: (0.9, 0.2), 0.5: (0.85, 0.5), 1.0: (0.5, 0.7)}
    curves = [replace(LORA, environments=here), replace(curve("dare", points), environments=there)]

    text, compared = "\n".join(lines(curves)), "\n".join(lines(curves, mixed=True))

    assert "-10.00† ±0.00" in text
    assert "-10.00  ±0.00" in compared
    for said in (text, compared):
        assert "† dare: trained with torch 2.12 (lora: 2.13)" in said
    assert "†" not in "\n".join(lines([LORA, curve("dare", points)]))


def test_the_numbers_are_saved_next_to_the_figures(tmp_path: Path) -> None:
    paths = write([LORA], tmp_path, {LORA.key: plots.MARKS[0].line})

    assert {path.name for path in paths} == {"t-r32.png", "t-r32.svg"}
    assert all(path.stat().st_size > 1000 for path in paths)
    frame = pd.read_csv(tmp_path / "t-r32.csv")
    assert frame[["strength", "source", "target"]].values.tolist() == [[0, 0.9, 0.2], [0.5, 0.8, 0.6], [1, 0.4, 0.8]]


def test_a_row_that_is_lora_scaled_back_differs_from_it_by_nothing_on_any_resample() -> None:
    generator = np.random.default_rng(0)
    moving = {
        strength: Draws((0,), np.array([value]), value + 0.05 * generator.standard_normal((1, RESAMPLES)))
        for strength, value in ((0.0, 0.2), (0.5, 0.6), (1.0, 0.9))
    }
    lora = Curve(key("lora", 32), "t", LORA.source, moving)
    half = Curve(
        key("x", 32), "t", {0.0: LORA.source[0.0], 1.0: LORA.source[0.5]}, {0.0: moving[0.0], 1.0: moving[0.5]}
    )

    (line,) = [line for line in lines([lora, half]) if line.startswith(" x ")]

    assert line.endswith("+0.00= ±0.00")
