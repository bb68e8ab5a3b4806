"""A small leaderboard with everything a report has to show: a tie, a failed cell, a hole, a cell not run."""

from dataclasses import replace

import pytest

from bench.leaderboard.build import build
from bench.leaderboard.cell_scores import CellScores
from bench.leaderboard.heading import Heading
from bench.leaderboard.stats import FloatArray
from bench.leaderboard.tables import Leaderboard
from bench.values.record import Cost
from tests.making import boards

SOURCES = ("easy_vqa", "sign_words")
TARGETS = ("icon_choice", "scene_caption")


def share(percent: int, count: int = 40) -> FloatArray:
    """Return per-example scores, the first ``percent`` of them right."""
    return boards.right(round(percent * count / 100), count)


def cell(method: str, rank: int, target: str, levels: tuple[int, int, int], seed: int = 0) -> CellScores:
    """A finished cell; ``levels`` are the percentages on the two sources and the target."""
    first, second, third = levels
    primary = {"easy_vqa": share(first), "sign_words": share(second), target: share(third)}
    lenient = {"easy_vqa": share(first + 5), "sign_words": share(second)}
    made = boards.cell(method, target, primary, rank=rank, seed=seed)
    return replace(made, lenient=lenient, cost=Cost(31.4, 12.0, 930 << 20, 1000 * rank))


def cells(seed: int = 0, shift: int = 0) -> list[CellScores]:
    return [
        cell("lora", 16, "icon_choice", (60 + shift, 50, 80), seed),
        cell("dora", 16, "icon_choice", (65 + shift, 50, 80), seed),
        cell("lorasculpt", 16, "icon_choice", (90, 85 - shift, 80), seed),
        cell("lora", 32, "icon_choice", (40, 30 + shift, 85), seed),
        boards.failed("dora", "icon_choice", "out of memory\n(_50%_)", rank=32, seed=seed),
        hole(cell("lorasculpt", 32, "icon_choice", (85, 0, 85), seed)),
        cell("lora", 16, "scene_caption", (50, 40, 110), seed),
        cell("dora", 16, "scene_caption", (50, 40, 110), seed),
    ]


def hole(whole: CellScores) -> CellScores:
    primary = {task: scores for task, scores in whole.primary.items() if task != "sign_words"}
    return replace(whole, primary=primary, lenient={})


def zero_shot() -> CellScores:
    scores = {
        "easy_vqa": share(90),
        "sign_words": share(85),
        "icon_choice": share(25),
        "scene_caption": share(10),
    }
    return replace(boards.zero_shot(scores), cost=Cost(0, 12.0, 800 << 20))


def board(seeds: int = 1) -> Leaderboard:
    heading = Heading(
        "micro", "bench run --methods all", {"commit": ["0123abc"], "device": ["cpu"], "torch": ["2.13.0"]}
    )
    every = [made for seed in range(seeds) for made in cells(seed, 5 * seed)]
    return build(every, zero_shot(), sources=SOURCES, targets=TARGETS, heading=heading)


@pytest.fixture(scope="session")
def leaderboard() -> Leaderboard:
    return board()


@pytest.fixture(scope="session")
def leaderboard_of_two_seeds() -> Leaderboard:
    return board(2)
