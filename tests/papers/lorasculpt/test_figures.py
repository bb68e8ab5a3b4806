from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.leaderboard import plots
from bench.papers import published
from bench.papers.lorasculpt import epochs, pruning, sweeps
from bench.papers.points import short
from bench.papers.studies import STUDIES
from bench.papers.study import Drawing, StudyResult
from bench.plan.plan import Cell, Plan
from bench.plan.suite import Suite

Planned = Callable[..., Plan]
MadeUp = Callable[..., StudyResult]


def ids(plan: Plan) -> set[str]:
    return {cell.trial.id for cell in plan.cells}


def drawn(name: str, found: StudyResult) -> Drawing:
    draw = STUDIES[name].draw
    assert draw is not None
    with plots.style():
        drawing = draw(found)
    assert drawing is not None
    return drawing


def line(frame: pd.DataFrame, **places: object) -> "pd.Series[float]":
    for name, value in places.items():
        frame = frame[frame[name] == value]
    (_, found), *others = frame.iterrows()
    assert not others
    return found


def test_figure_1_trains_plain_lora_alone_and_shares_it_with_table_1(planned: Planned) -> None:
    plan = planned("fig1 --limit 4")

    assert len(plan.cells) == 14
    assert [job.trial.method for job in plan.trainings] == ["lora", "lora"]
    assert {cell.key.method for cell in plan.cells} == {"lora"}
    assert {cell.trial.hyper["density"] for cell in plan.cells if cell.key.variant} == {0.5, 0.2, 0.1, 0.05, 0.02, 0.01}
    assert len(ids(plan) & ids(planned("table1 --limit 4 --ranks 32"))) == 2


def test_figure_1_has_each_density_with_its_interval_and_the_base_model(planned: Planned, made_up: MadeUp) -> None:
    scores = {"": (0.5, 0.8), "density=0.1": (0.625, 0.25)}
    plan = planned("fig1 --limit 4 --targets icon_choice")
    found = made_up(plan, lambda cell: scores.get(cell.key.variant, (0.5, 0.5)) if cell else (0.75, 0.125))

    frame = drawn("fig1", found).frame

    assert frame["density"].dropna().tolist() == [1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]
    tenth = line(frame, density=0.1)
    assert [tenth[name] for name in ("source", "source_low", "source_high", "target", "avg")] == [
        0.625,
        0.625,
        0.625,
        0.25,
        0.4375,
    ]
    assert line(frame, density=1.0)["target"] == 0.8
    assert line(frame, method="zero_shot")["target"] == 0.125


def test_figures_say_what_became_of_the_connector(planned: Planned, made_up: MadeUp) -> None:
    found = made_up(planned("fig1 --limit 4 --targets icon_choice"), lambda cell: (0.5, 0.5))
    assert "The connector is tuned in full and keeps its change." in drawn("fig1", found).caption


@pytest.mark.parametrize(
    ("updates", "examples", "batch_size", "expected"),
    [
        (1875, 10_000, 16, (625, 1250, 1875)),  # the paper's three epochs
        (150, 2_400, 32, (50, 100, 150)),  # two epochs: thirds
        (250, 2_400, 32, (75, 150, 225, 250)),  # three and a third: the last update is a point too
        (100, 1_000, 30, (33, 67, 100)),  # an epoch of 33.3 updates: the nearest
        (299, 1_000, 10, (100, 199, 299)),  # 2.99 epochs are not three: thirds
        (2, 48, 8, (1, 2)),
    ],
)
def test_points_are_the_updates_nearest_to_the_ends_of_epochs(
    updates: int, examples: int, batch_size: int, expected: tuple[int, ...]
) -> None:
    assert epochs.steps(updates, examples, batch_size) == expected


def test_figure_3_trains_once_per_method_and_reads_snapshots_of_it(planned: Planned) -> None:
    plan = planned("fig3 --limit 4 --targets icon_choice")

    assert sorted(job.trial.method for job in plan.trainings) == ["lora", "lorasculpt"]
    assert {job.trial.method: job.snapshots for job in plan.trainings} == {
        "lora": (50, 100),
        "lorasculpt": (50, 100),
    }
    points = [(cell.key.method, cell.key.variant, cell.trial.method, cell.trial.snapshot) for cell in plan.cells]
    assert points == [
        ("lora", "update=50", "rewind", 50),
        ("lora", "update=100", "rewind", 100),
        ("lora", "", "lora", None),
        ("model_tailor", "update=50", "model_tailor", 50),
        ("model_tailor", "update=100", "model_tailor", 100),
        ("model_tailor", "", "model_tailor", None),
        ("lorasculpt", "update=50", "rewind", 50),
        ("lorasculpt", "update=100", "rewind", 100),
        ("lorasculpt", "", "lorasculpt", None),
    ]
    assert {cell.trial.hyper["strength"] for cell in plan.cells if cell.trial.method == "rewind"} == {1.0}
    parents = {
        cell.trial.parent.method for cell in plan.cells if cell.key.method == "model_tailor" and cell.trial.parent
    }
    assert parents == {"lora"}


def test_figure_3_shares_its_last_points_with_table_1(planned: Planned) -> None:
    assert len(ids(planned("fig3 --limit 4")) & ids(planned("table1 --limit 4 --ranks 32"))) == 6


@pytest.mark.slow
def test_figure_3_has_updates_and_epochs_and_says_that_they_are_snapshots(planned: Planned, made_up: MadeUp) -> None:
    def scores(cell: Cell | None) -> tuple[float, float]:
        if cell is None:
            return 0.75, 0.25
        return (0.5, 1.0) if cell.key.variant else (0.25, 0.5)

    drawing = drawn("fig3", made_up(planned("fig3 --limit 4"), scores))

    point = line(drawing.frame, task="scene_caption", method="lora", update=50)
    assert (point["epoch"], point["source"], point["target"], point["avg"]) == (0.6667, 0.5, 1.0, 0.75)
    assert line(drawing.frame, task="scene_caption", method="lora", update=150)["target"] == 0.5
    assert line(drawing.frame, task="scene_caption", method="lora", update=150)["epoch"] == 2
    assert "an earlier point is not what a shorter training would give" in drawing.caption
    assert "the points are its thirds" in drawing.caption
    assert "icon_choice 50, 100, 150" in drawing.caption


def test_figure_4_sweeps_three_fields_around_one_default(planned: Planned) -> None:
    plan = planned("fig4 --limit 4")

    assert len(plan.cells) == len(plan.trainings) == 13
    standard = dict(plan.cells[0].trial.hyper)
    for cell in plan.cells[1:]:
        changed = {name: value for name, value in cell.trial.hyper.items() if value != standard[name]}
        assert [f"{name}={short(float(value or 0))}" for name, value in changed.items()] == [cell.key.variant]
    assert ids(plan) & ids(planned("table1 --limit 4 --ranks 32")) == {plan.cells[0].trial.id}


def test_figure_4_has_the_default_in_every_panel(planned: Planned, made_up: MadeUp) -> None:
    plan = planned("fig4 --limit 4")
    found = made_up(plan, lambda cell: (0.5, 0.25) if cell and cell.key.variant == "omega=4" else (0.75, 0.5))

    frame = drawn("fig4", found).frame

    assert frame.groupby("field")["value"].apply(list).to_dict() == {
        "omega": [0.25, 0.5, 1, 2, 4],
        "alpha": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
        "density": [0.02, 0.05, 0.1, 0.2, 0.5],
    }
    assert line(frame, field="omega", value=4)["avg"] == 0.375
    for field, value in {"omega": 1, "alpha": 1e-3, "density": 0.1}.items():
        assert line(frame, field=field, value=value, variant="")["avg"] == 0.625


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fig1", "fig3", "fig4"])
def test_the_papers_numbers_stand_at_the_methods_own_rows_where_comparable(
    paper_suite: Suite, planned: Planned, made_up: MadeUp, name: str
) -> None:
    found = made_up(planned(f"{name} --suite lorasculpt --targets iconqa"), lambda cell: (0.5, 0.5))

    frame = drawn(name, replace(found, published=published.rows(found.request))).frame

    methods = {"fig1": {"lora": 0.4479}, "fig3": {"lora": 0.4479, "lorasculpt": 0.5610}, "fig4": {"lorasculpt": 0.5610}}
    own = frame[frame["published_source"].notna()]
    assert set(own["variant"]) == {""}
    assert "zero_shot" not in set(own["method"])
    for method, value in methods[name].items():
        assert set(own.loc[own["method"] == method, "published_source"]) == {value}
    assert drawn(name, found).frame["published_source"].isna().all()


def test_figures_of_one_rank_refuse_two(planned: Planned) -> None:
    from bench.errors import UsageError

    for name in ("fig1", "fig3", "fig4"):
        with pytest.raises(UsageError, match=rf"Study {name} draws only one rank, but --ranks is 16,32\."):
            planned(f"{name} --ranks 16,32")


def test_holes_are_left_out_and_named_and_nothing_at_all_is_no_figure(planned: Planned, made_up: MadeUp) -> None:
    plan = planned("fig1 --limit 4 --targets icon_choice")
    some = made_up(plan, lambda cell: (0.5, 0.5), failed={"density=0.1"})
    none = made_up(plan, lambda cell: (0.5, 0.5), failed={cell.key.variant for cell in plan.cells})

    drawing = drawn("fig1", some)

    assert pd.isna(line(drawing.frame, density=0.1)["source"])
    assert "lora density=0.1 r32 on icon_choice: seed 0 failed: it broke" in drawing.lines
    assert pruning.draw(none) is None
    assert sweeps.draw(made_up(planned("fig4 --limit 4"), lambda cell: (0.5, 0.5), failed=None)) is None


@pytest.mark.slow
def test_figures_are_written_as_png_and_svg(planned: Planned, made_up: MadeUp, tmp_path: Path) -> None:
    found = made_up(planned("fig1 --limit 4 --targets icon_choice"), lambda cell: (0.5, 0.5))

    png, svg = plots.save(drawn("fig1", found).figure, tmp_path, "fig1")

    assert png.read_bytes().startswith(b"\x89PNG")
    assert ">target icon_choice, rank 32</text>" in svg.read_text(encoding="utf-8")
