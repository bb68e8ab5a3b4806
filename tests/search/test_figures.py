from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bench.plugins.hyperparameters import Range
from bench.search.axes import search_axes
from bench.search.figures import draw_front, draw_history, table, write
from bench.search.space import in_words
from bench.store.search_results import Configuration, SearchResult
from bench.values.trial import Scalar

pytestmark = pytest.mark.slow  # matplotlib draws

LR, SHARE, FORM = Range(1e-5, 1e-1, log=True), Range(0.0, 1.0), Range(choices=("mean", None, True))
SPACE = {"lr": LR, "share": SHARE, "form": FORM}
FILES = sorted(
    f"{name}.{kind}" for name in ("front", "slices", "parallel", "history") for kind in ("png", "svg", "csv")
)


def done(number: int, source: float, target: float, **hyper: Scalar) -> Configuration:
    return Configuration(number, hyper or {"lr": 1e-3, "share": 0.5, "form": None}, "done", source, target)


def ended(number: int, state: str = "failed") -> Configuration:
    return Configuration(number, {"lr": 1e-1, "share": 1.0, "form": True}, state, None, None)


def result(
    rows: list[Configuration],
    space: Mapping[str, Range] = SPACE,
    chosen: int | None = None,
    default: int | None = None,
) -> SearchResult:
    told = {"chosen": chosen, "default": default}
    facts = {name: None if number is None else {"number": number} for name, number in told.items()}
    return SearchResult("lora-r2-t", "bench search", {k: in_words(v) for k, v in space.items()}, facts, tuple(rows))


def some() -> SearchResult:
    """0 is the default; 1 and 3 are the front; 2 failed, 4 was stopped."""
    rows = [done(0, 0.5, 0.25), done(1, 0.75, 0.5), ended(2), done(3, 0.25, 0.75), ended(4, "stopped")]
    return result(rows, chosen=1, default=0)


def test_every_figure_is_written_as_picture_drawing_and_numbers(tmp_path: Path) -> None:
    write(some(), SPACE, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    write(some(), SPACE, tmp_path / "a")
    write(some(), SPACE, tmp_path / "b")

    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in FILES)


@pytest.mark.parametrize(
    ("rows", "space", "chosen", "default"),
    [
        ([done(0, 0.5, 0.25)], SPACE, 0, 0),
        ([done(0, 0.5, 0.25, lr=1e-3), done(1, 0.6, 0.2, lr=1e-2)], {"lr": LR}, 1, 0),
        ([done(0, 0.5, 0.25, form="mean"), done(1, 0.6, 0.2, form=None)], {"form": FORM}, None, None),
        ([done(number, 0.5, 0.5) for number in range(4)], SPACE, 0, 0),
        ([ended(0), ended(1, "stopped")], SPACE, None, None),
        ([done(0, 0.0, 0.0), ended(1)], {**SPACE, "fixed": Range(2.0, 2.0)}, 0, 0),
        ([], SPACE, None, None),
    ],
    ids=["one", "one hyperparameter", "choices only", "all equal", "all failed", "a range of one value", "none"],
)
def test_no_finding_breaks_a_figure(
    rows: list[Configuration], space: Mapping[str, Range], chosen: int | None, default: int | None, tmp_path: Path
) -> None:
    filled = [
        Configuration(r.number, {**dict.fromkeys(space, 2.0), **r.hyper}, r.state, r.source, r.target) for r in rows
    ]

    write(result(filled, space, chosen, default), space, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_the_table_has_a_row_per_configuration_in_fractions() -> None:
    frame = table(some())

    assert frame["state"].tolist() == ["done", "done", "failed", "done", "stopped"]
    assert (frame["source"][1], frame["target"][1], frame["avg"][1]) == (0.75, 0.5, 0.625)
    assert frame["avg"].isna().tolist() == [False, False, True, False, True]
    assert frame["number"][frame["chosen"]].tolist() == [1]
    assert frame["number"][frame["default"]].tolist() == [0]
    assert frame["lr"].tolist() == [1e-3, 1e-3, 1e-1, 1e-3, 1e-1]


def test_the_staircase_runs_over_the_front_from_border_to_border() -> None:
    made, frame = draw_front(some(), SPACE)

    (axes,) = made.axes
    (stairs,) = [line for line in axes.lines if line.get_label() == "front (2)"]
    left, low = axes.get_xlim()[0], axes.get_ylim()[0]
    assert stairs.get_drawstyle() == "steps-pre"
    assert np.asarray(stairs.get_xdata()).tolist() == [left, 50, 75, 75]
    assert np.asarray(stairs.get_ydata()).tolist() == [75, 75, 25, low]
    assert frame["number"][frame["front"]].tolist() == [1, 3]
    assert {text.get_text() for text in axes.texts} == {"1", "3"}


def test_the_legend_names_the_default_the_chosen_one_and_what_has_no_scores() -> None:
    made, _ = draw_history(some(), SPACE)

    (legend,) = made.legends
    names = {text.get_text() for text in legend.get_texts()}
    assert names == {"best so far", "tried", "default (no. 0)", "chosen (no. 1)", "failed", "stopped"}


def test_the_history_has_the_best_avg_and_the_hypervolume_so_far() -> None:
    _, frame = draw_history(some(), SPACE)

    assert frame["best_avg"].dropna().tolist() == [0.375, 0.625, 0.625]
    assert frame["hypervolume"].dropna().tolist() == [0.125, 0.375, 0.4375]  # 0.75 * 0.5, and 0.25 * 0.25 more
    assert frame["number"][frame["best_avg"].isna()].tolist() == [2, 4]


def test_the_history_leaves_room_for_what_failed_last() -> None:
    made, _ = draw_history(some(), SPACE)

    assert [axes.get_xlim() for axes in made.axes] == [(-0.5, 4.5), (-0.5, 4.5)]


def test_a_hyperparameter_stands_where_its_scale_puts_it() -> None:
    lr, share, form = search_axes(SPACE)

    assert [lr.share(value) for value in (1e-5, 1e-3, 1e-1)] == pytest.approx([0, 0.5, 1])
    assert share.share(0.25) == 0.25
    assert [form.share(value) for value in ("mean", None, True)] == [0, 0.5, 1]
