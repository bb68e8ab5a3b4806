"""A small board of a sequence with everything that a report has to show: two orders, controls, a tie, every hole."""

from __future__ import annotations

import pytest

from bench.leaderboard.heading import Heading
from bench.sequences.board import SequenceBoard
from bench.sequences.build import build
from bench.sequences.grouping import ChainScores
from tests.making.sequences import SOURCES, TASK_ID, broken, chain, drawn, key, untouched, without

TASKS = ("icon_choice", "scene_caption", "thing_facts")
ORDERS = (TASKS, ("thing_facts", "icon_choice", "scene_caption"))


def chains(seeds: int = 1) -> list[ChainScores]:
    """Return the chains of several rows on two orders."""
    found = []
    for order in ORDERS:
        for seed in range(seeds):
            apart = [[90, 25, 25], [30, 87, 25], [30, 25, 85]]
            found += [
                chain(key("lora"), order, drawn(10 + seed, order, 0.85), seed=seed),
                chain(key("lora+lines"), order, drawn(20 + seed, order, 0.86), seed=seed),
                chain(key("slao"), order, drawn(30 + seed, order, 0.95), [None, None, (87, 76)], seed=seed),
                chain(key("lilora", given=TASK_ID), order, drawn(40 + seed, order, 0.93), seed=seed),
                broken(chain(key("c_lora"), order, drawn(50, order, 0.8), seed=seed), 2, "out of memory\n(_50%_)"),
                without(chain(key("tree_lora"), order, drawn(60, order, 0.8), seed=seed), 2, order[0]),
                broken(chain(key("loda"), order, drawn(70, order, 0.8), seed=seed), 1),
                chain(key("lora", "independent", given=TASK_ID), order, apart, seed=seed, apart=True),
                chain(key("lora", "rewound after each stage"), order, drawn(80, order, 0.7), seed=seed),
            ]
    return found


def made(seeds: int = 1) -> SequenceBoard:
    """Return the board of these chains."""
    heading = Heading(
        "micro",
        "bench sequence --tasks icon_choice,scene_caption,thing_facts",
        {"commit": ["0123abc"], "device": ["cpu"]},
    )
    return build(chains(seeds), untouched(dict.fromkeys(TASKS, 25)), tasks=TASKS, sources=SOURCES, heading=heading)


@pytest.fixture(scope="session")
def board() -> SequenceBoard:
    return made()


@pytest.fixture(scope="session")
def board_of_two_seeds() -> SequenceBoard:
    return made(2)
