from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.leaderboard.heading import Heading
from bench.sequences.board import SequenceBoard
from bench.sequences.build import build
from bench.sequences.plot import save_plot
from tests.making.sequences import SOURCES, chain, key, without
from tests.sequences.conftest import TASKS


@pytest.mark.slow
def test_a_figure_per_rank_with_its_numbers(board: SequenceBoard, tmp_path: Path) -> None:
    files = save_plot(board, tmp_path / "plots")

    assert [path.name for path in files] == ["sequence-r16.png", "sequence-r16.svg", "sequence-r16.csv"]
    data = pd.read_csv(files[2])
    assert set(data["order"]) == {" ".join(order) for order in board.orders}
    lora = data[(data["method"] == "lora") & data["variant"].isna() & (data["order"] == " ".join(TASKS))]
    row = next(row for row in board.blocks[0].rows if row.key.name == "lora")
    assert lora["ap"].tolist() == [stage.average.value for stage in row.stages if stage.average]
    assert lora["learnt"].tolist() == list(TASKS)


def test_every_row_with_a_score_is_in_the_legend_once(board: SequenceBoard, tmp_path: Path) -> None:
    _, svg, _ = save_plot(board, tmp_path)

    text = svg.read_text(encoding="utf-8")
    for name in ("lora", "lora+lines", "slao", "c_lora", "tree_lora", "(lora independent)"):
        assert text.count(f">{name}</text>") == 1, name
    assert ">loda</text>" not in text  # none of its stages ran


def test_a_stage_without_a_score_is_a_hole_in_the_data(tmp_path: Path) -> None:
    holed = without(chain(key("lora"), TASKS, [(80, 0, 0), (70, 60, 0), (60, 50, 90)]), 2, TASKS[0])
    board = build([holed], None, tasks=TASKS, sources=SOURCES, heading=Heading("micro"))

    data = pd.read_csv(save_plot(board, tmp_path)[2])

    assert data["ap"].isna().tolist() == [False, True, False]


@pytest.mark.slow
def test_many_rows_ranks_and_orders_are_drawn(tmp_path: Path) -> None:
    orders = (TASKS, TASKS[::-1], TASKS[1:] + TASKS[:1], TASKS[2:] + TASKS[:2])
    chains = [
        chain(key(f"method_{number}", rank=rank), order, [(80, 0, 0), (70, 60, 0), (60, 50, 90 - number)])
        for order in orders
        for rank in (8, 16)
        for number in range(10)
    ]
    board = build(chains, None, tasks=TASKS, sources=SOURCES, heading=Heading("micro"))

    files = save_plot(board, tmp_path)

    assert [path.name for path in files if path.suffix == ".png"] == ["sequence-r8.png", "sequence-r16.png"]


@pytest.mark.slow
def test_the_same_board_gives_the_same_bytes(board: SequenceBoard, tmp_path: Path) -> None:
    one, other = (save_plot(board, tmp_path / name) for name in ("one", "other"))

    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_nothing_is_drawn_of_a_sequence_that_did_not_run(tmp_path: Path) -> None:
    board = build([], None, tasks=TASKS, sources=SOURCES, heading=Heading("micro"))

    assert save_plot(board, tmp_path) == []
