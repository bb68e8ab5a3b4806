from collections.abc import Callable
from dataclasses import asdict
from math import log, sqrt
from pathlib import Path

import pytest
import torch

from bench.leaderboard import plots
from bench.model.change import Change, LowRank, Replaced
from bench.papers.lorasculpt import densities
from bench.papers.study import StudyResult
from bench.plan.plan import Plan

Planned = Callable[..., Plan]
MadeUp = Callable[..., StudyResult]

LAYERS = "model.language_model.layers"
SMALL = LowRank(
    b=torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [3.0, 0.0]]),
    a=torch.tensor([[1.0, 0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 3.0, 0.0, 0.0]]),
    scale=2.0,
)


def apart(size: int = 400, rank: int = 4) -> LowRank:
    """All of B's entries in one column, all of A's in another row: BA is zero, though neither is."""
    b, a = torch.zeros(size, rank), torch.zeros(rank, size)
    b[:, 0], a[1] = 1.0, 1.0
    return LowRank(b, a, 1.0)


def test_a_layers_densities_are_those_counted_by_hand() -> None:
    (layer,) = densities.of_change(Change({f"{LAYERS}.3.mlp.up_proj.weight": SMALL}), kept=0.3)

    assert asdict(layer) == {
        "layer": f"{LAYERS}.3.mlp.up_proj",
        "block": 3,
        "role": "up_proj",
        "rows": 4,
        "columns": 5,
        "rank": 2,
        "kept": 0.3,
        "density_a": 3 / 10,
        "density_b": 3 / 8,
        "density": 5 / 20,  # rows of 2, 0, 1 and 2
    }
    assert layer.expected == pytest.approx(1 - (1 - 0.3 * 0.375) ** 2)  # 0.2123
    assert layer.deviation == pytest.approx(
        sqrt(log(40) * (2 / 4 + 2 / 5) / 2)
    )  # 2 exp(-2 d^2 pq / (r (p + q))) = 0.05
    assert layer.deviation_exact == pytest.approx(sqrt(log(40) * (2 / 16 + 3 / 25) / 2))  # 2 of 8 and 3 of 10 kept
    assert (layer.line["outside"], layer.line["silent"]) == (False, True)


def test_a_layer_that_leaves_the_band_is_noticed() -> None:
    (layer,) = densities.of_change(Change({f"{LAYERS}.0.self_attn.q_proj.weight": apart()}), kept=0.25)

    assert layer.density == 0
    assert layer.expected == pytest.approx(1 - (1 - 0.25**2) ** 4)  # 0.2275
    assert layer.deviation == pytest.approx(0.1921, abs=1e-4)
    assert (layer.line["outside"], layer.line["outside_exact"], layer.line["silent"]) == (True, True, False)


def test_the_connector_is_no_layer_of_the_decoder() -> None:
    connector = {
        "model.multi_modal_projector.linear_1.weight": SMALL,
        "model.multi_modal_projector.linear_2.bias": Replaced(torch.zeros(3)),
    }

    assert list(densities.of_change(Change(connector), kept=0.1)) == []


def test_the_figure_counts_and_names_what_lies_outside(planned: Planned, made_up: MadeUp) -> None:
    plan = planned("fig5 --limit 4 --ranks 4,8")
    found = made_up(plan, lambda cell: (0.5, 0.5))
    change = Change({f"{LAYERS}.0.self_attn.q_proj.weight": apart(), f"{LAYERS}.1.mlp.down_proj.weight": SMALL})
    found.store.change_of(plan.cells[0].trial).write(change, [], {"seconds": 0.0})

    with plots.style():
        drawing = densities.draw(found)

    assert drawing is not None
    assert drawing.frame["layer"].tolist() == [f"{LAYERS}.0.self_attn.q_proj", f"{LAYERS}.1.mlp.down_proj"]
    assert drawing.frame["outside"].tolist() == [True, False]
    text = " ".join(" ".join(drawing.lines).split())
    assert "outside the band of Theorem 3.2: 1." in text
    assert f"- outside the band of Theorem 3.2: {LAYERS}.0.self_attn.q_proj, 0.000, expected 0.228" in text
    assert "- for 1 of these layers, Theorem 3.2 rules out no density at all" in text
    assert "Of 2 layers, 1 are outside the band of Theorem 3.2" in drawing.caption


def test_without_a_training_there_is_no_figure(planned: Planned, made_up: MadeUp, tmp_path: Path) -> None:
    assert densities.draw(made_up(planned("fig5 --limit 4"), lambda cell: (0.5, 0.5))) is None


def test_figure_5_takes_the_trainings_of_table_1(planned: Planned) -> None:
    plan, whole = planned("fig5 --limit 4"), planned("table1 --limit 4")

    assert [(cell.trial.method, cell.trial.rank, cell.trial.target) for cell in plan.cells] == [
        ("lorasculpt", rank, "icon_choice") for rank in (16, 32, 64)
    ]
    assert {cell.trial.id for cell in plan.cells} <= {cell.trial.id for cell in whole.cells}
