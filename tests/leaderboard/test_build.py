import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from bench import DataError
from bench.leaderboard.build import build
from bench.leaderboard.tables import CellScores, Heading, Leaderboard, Row
from bench.spec import Cost

HEADING = Heading("micro")


def right(count: int, total: int = 10) -> np.ndarray:
    """Per-example scores, the first ``count`` of ``total`` right."""
    return (np.arange(total) < count).astype(float)


def cell(method: str, gqa: int, okvqa: int, iconqa: int, *, rank: int = 16, seed: int = 0) -> CellScores:
    primary = {"gqa": right(gqa), "okvqa": right(okvqa), "iconqa": right(iconqa)}
    lenient = {"gqa": right(min(10, gqa + 1)), "okvqa": right(okvqa)}
    cost = Cost(10.0 + seed, 1.0, 1000 + seed, 50)
    return CellScores(method, rank, "iconqa", seed, "full", primary=primary, lenient=lenient, cost=cost)


def zero_shot(gqa: int = 9, okvqa: int = 8, iconqa: int = 2) -> CellScores:
    return replace(cell("zero_shot", gqa, okvqa, iconqa), rank=None, target=None, ranked=False)


def ranked(*cells: CellScores, targets: tuple[str, ...] = ("iconqa",)) -> Leaderboard:
    return build(cells, zero_shot(), sources=("gqa", "okvqa"), targets=targets, heading=HEADING)


def row(leaderboard: Leaderboard, method: str, rank: int | None = 16) -> Row:
    return next(row for row in leaderboard.tables[0].rows if (row.method, row.rank) == (method, rank))


def test_source_is_the_mean_of_the_sources_and_avg_the_mean_of_source_and_target() -> None:
    scores = row(ranked(cell("lora", 5, 3, 8)), "lora").scores

    values = {column: estimate.value for column, estimate in scores.items()}
    assert values == pytest.approx({"gqa": 0.5, "okvqa": 0.3, "source": 0.4, "target": 0.8, "avg": 0.6})


def test_rows_are_zero_shot_and_then_the_methods_as_they_come_by_rank() -> None:
    wide = [cell(method, 5, 5, 5, rank=32) for method in ("lora", "dora")]
    narrow = [cell(method, 5, 5, 5) for method in ("lora", "dora")]

    labels = [row.label for row in ranked(*wide, *narrow).tables[0].rows]
    assert labels == ["zero_shot", "lora r16", "dora r16", "lora r32", "dora r32"]


def test_forgetting_is_zero_shot_minus_now() -> None:
    forgetting = row(ranked(cell("lora", 5, 3, 8)), "lora").forgetting

    values = {column: estimate.value for column, estimate in forgetting.items()}
    assert values == pytest.approx({"gqa": 0.4, "okvqa": 0.5, "source": 0.45})


def test_the_identity_change_forgets_exactly_nothing() -> None:
    scores = {"gqa": np.random.default_rng(0).random(251), "okvqa": np.random.default_rng(1).random(7)}
    reference = replace(zero_shot(), primary={**scores, "iconqa": right(2)}, lenient={})
    unchanged = CellScores("lora", 16, "iconqa", 0, "full", primary={t: s.copy() for t, s in reference.primary.items()})

    leaderboard = build([unchanged], reference, sources=("gqa", "okvqa"), targets=("iconqa",), heading=HEADING)

    forgetting = row(leaderboard, "lora").forgetting
    assert {"gqa", "okvqa"} <= set(forgetting)
    for estimate in forgetting.values():
        assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)


def test_zero_shot_is_shown_but_is_never_best_and_has_no_forgetting() -> None:
    reference = row(ranked(cell("lora", 5, 3, 8), cell("dora", 5, 3, 8)), "zero_shot", None)

    assert reference.scores["gqa"].value == 0.9
    assert not reference.best | reference.tied
    assert not reference.forgetting
    assert not reference.difference


def test_the_difference_is_to_the_baseline_of_the_same_rank() -> None:
    leaderboard = ranked(
        cell("lora", 5, 5, 5),
        cell("dare", 6, 6, 7),
        cell("lora", 1, 1, 1, rank=32),
        cell("dare", 2, 2, 1, rank=32),
    )

    assert row(leaderboard, "dare").difference["avg"].value == pytest.approx(0.15)
    assert row(leaderboard, "dare", 32).difference["avg"].value == pytest.approx(0.05)
    assert row(leaderboard, "lora").difference == {}


def test_a_method_with_the_baselines_answers_differs_by_exactly_zero_which_is_a_tie() -> None:
    difference = row(ranked(cell("lora", 5, 3, 7), cell("dare", 5, 3, 7)), "dare").difference["avg"]

    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert difference.covers_zero


def test_the_highest_is_best_and_what_cannot_be_told_from_it_is_tied() -> None:
    leaderboard = ranked(cell("lora", 1, 5, 5), cell("dora", 9, 5, 5), cell("dare", 10, 4, 5))

    assert row(leaderboard, "dare").mark("gqa") == "best"
    assert row(leaderboard, "dora").mark("gqa") == "tied"  # one example of ten apart
    assert row(leaderboard, "lora").mark("gqa") == ""
    assert [row(leaderboard, method).mark("target") for method in ("lora", "dora", "dare")] == ["best"] * 3


def test_an_unranked_method_is_never_best() -> None:
    oracle = replace(cell("oracle", 10, 10, 10), ranked=False)
    leaderboard = ranked(cell("lora", 1, 1, 1), cell("dora", 2, 2, 2), oracle)

    assert row(leaderboard, "oracle").mark("gqa") == ""
    assert row(leaderboard, "dora").mark("gqa") == "best"


def test_nothing_is_best_of_one() -> None:
    assert row(ranked(cell("lora", 5, 5, 5)), "lora").best == frozenset()


def test_ranks_and_connectors_are_not_compared_with_each_other() -> None:
    frozen = [replace(cell(method, 9, 9, 9), connector="frozen") for method in ("lora", "dora")]
    leaderboard = ranked(cell("lora", 5, 5, 5), cell("dora", 6, 6, 6), *frozen)

    assert [row.mark("gqa") for row in leaderboard.tables[0].rows if row.method == "dora"] == ["best", "best"]
    assert leaderboard.connectors == ("full", "frozen")


def test_a_failed_cell_is_a_row_with_its_error() -> None:
    failed = CellScores("dora", 16, "iconqa", 0, "full", status="failed", error="out of\nmemory")

    dora = row(ranked(cell("lora", 5, 5, 5), failed), "dora")

    assert dora.scores == {}
    assert dora.trouble == "seed 0 failed: out of memory"


def test_a_cell_of_another_target_is_a_row_that_says_not_run() -> None:
    primary = {"gqa": right(5), "okvqa": right(5), "coco": right(5)}
    leaderboard = ranked(
        cell("lora", 5, 5, 5),
        CellScores("dora", 16, "coco", 0, "full", primary=primary),
        targets=("iconqa", "coco"),
    )

    assert row(leaderboard, "dora").trouble == "seed 0 missing: not run"
    assert [row.method for row in leaderboard.tables[1].rows] == ["zero_shot", "lora", "dora"]


def test_a_missing_source_leaves_a_hole_and_no_source_or_avg() -> None:
    whole = cell("dora", 5, 5, 5)
    holed = replace(whole, primary={task: scores for task, scores in whole.primary.items() if task != "okvqa"})

    dora = row(ranked(cell("lora", 5, 5, 5), holed), "dora")

    assert set(dora.scores) == {"gqa", "target"}
    assert set(dora.difference) == {"gqa", "target"}
    assert dora.trouble == "seed 0 missing: no scores on okvqa"


def test_without_zero_shot_there_is_no_forgetting() -> None:
    leaderboard = build([cell("lora", 5, 5, 5)], None, sources=("gqa", "okvqa"), targets=("iconqa",), heading=HEADING)

    assert [row.forgetting for row in leaderboard.tables[0].rows] == [{}]


def test_seeds_are_averaged_and_a_failed_one_is_named() -> None:
    failed = CellScores("lora", 16, "iconqa", 2, "full", status="failed", error="killed")
    lora = row(ranked(cell("lora", 4, 4, 4), cell("lora", 6, 6, 6, seed=1), failed), "lora")

    assert lora.scores["avg"].value == pytest.approx(0.5)
    assert lora.scores["avg"].by_seed == pytest.approx({0: 0.4, 1: 0.6})
    assert lora.seeds == (0, 1)
    assert lora.trouble == "seed 2 failed: killed"
    assert lora.cost == Cost(10.5, 1.0, 1001, 50)


@pytest.mark.parametrize(
    ("seeds", "said"),
    [(1, "no method is called better"), (2, "hold the trainings fixed"), (5, "training noise")],
)
def test_the_note_says_what_the_intervals_cover(seeds: int, said: str) -> None:
    leaderboard = ranked(*[cell("lora", 5, 5, 5, seed=seed) for seed in range(seeds)])

    assert said in leaderboard.notes[1]
    assert leaderboard.spread_shown == (seeds == 2)


def test_the_resolution_is_about_the_width_of_the_paired_intervals() -> None:
    leaderboard = ranked(cell("lora", 5, 5, 5), cell("dora", 7, 5, 5))
    difference = row(leaderboard, "dora").difference["avg"]

    assert leaderboard.tables[0].resolution == difference.half_width > 0
    assert f"about {100 * difference.half_width:.2f} points" in leaderboard.resolution(leaderboard.tables[0])


def test_two_trials_of_one_cell_are_an_error() -> None:
    with pytest.raises(DataError, match="two trials of lora r16 on iconqa, seed 0"):
        ranked(cell("lora", 5, 5, 5), cell("lora", 6, 6, 6))


def test_scores_on_different_numbers_of_examples_are_an_error() -> None:
    short = replace(cell("dora", 5, 5, 5), primary={"gqa": right(5, 8)})

    with pytest.raises(DataError, match="dora r16 on iconqa, seed 0: 8 scores on gqa, others have 10"):
        ranked(cell("lora", 5, 5, 5), short)


def test_the_frame_has_a_line_per_row_and_holes_are_missing_values() -> None:
    failed = CellScores("dora", 16, "iconqa", 0, "full", status="failed", error="killed")

    frame = ranked(cell("lora", 5, 3, 8), failed).frame("iconqa").set_index("method")

    assert frame.loc["lora", "avg"] == pytest.approx(0.6)
    assert frame.loc["lora", "forgetting"] == pytest.approx(0.45)
    assert frame["avg"].isna().to_dict() == {"zero_shot": False, "lora": False, "dora": True}
    assert frame.loc["dora", "problems"] == "seed 0 failed: killed"


def test_the_leaderboard_loads_no_torch() -> None:
    code = "import sys, bench.leaderboard.build, bench.leaderboard.lost_examples; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_tuned_row_stands_beside_its_default_with_their_paired_difference() -> None:
    tuned = replace(cell("dora", 5, 5, 9), variant="tuned", tries=8)
    board = ranked(cell("lora", 5, 3, 8), cell("dora", 5, 3, 7), tuned, replace(cell("l2", 4, 4, 4)))

    rows = {row.name: row for row in board.tables[0].rows}
    assert list(rows) == ["zero_shot", "lora", "dora", "dora tuned", "l2"]
    assert rows["dora tuned"].gain["avg"].value == pytest.approx((0.1 + 0.2) / 2)
    assert rows["dora tuned"].difference["avg"].value == pytest.approx((0.1 + 0.1) / 2)
    assert rows["dora"].gain == {}
    assert [row.tries for row in rows.values()] == [1, 1, 1, 8, 1]
    assert board.tuned


def test_a_tuned_row_is_held_against_the_tuned_baseline_where_there_is_one() -> None:
    tuned = [replace(cell(name, 5, 5, level), variant="tuned", tries=8) for name, level in (("lora", 8), ("dora", 9))]
    board = ranked(cell("lora", 1, 1, 1), cell("dora", 5, 3, 7), *tuned)

    rows = {row.name: row for row in board.tables[0].rows}
    assert rows["dora tuned"].difference["avg"].value == pytest.approx(0.05)
    assert rows["lora tuned"].difference == {}


def test_a_method_that_is_not_above_a_control_is_named_with_it() -> None:
    strong = replace(cell("lora", 9, 9, 9), variant="lr/3", control=True, ranked=False)
    weak = replace(cell("lora", 1, 1, 1), variant="frozen", control=True, ranked=False)
    board = ranked(strong, weak, cell("lora", 5, 5, 5), cell("dora", 9, 9, 9))

    rows = {row.name: row for row in board.tables[0].rows}
    assert list(rows) == ["zero_shot", "lora", "dora", "lora lr/3", "lora frozen"]  # controls stand last
    assert rows["lora"].unbeaten == ("lr/3",)
    assert rows["dora"].unbeaten == ("lr/3",)  # an equal is not above
    assert rows["lora lr/3"].unbeaten == ()
    assert rows["lora lr/3"].best == frozenset()  # it competes with nobody
    assert rows["lora lr/3"].difference["avg"].value == pytest.approx(0.4)


def test_a_control_may_be_meant_for_one_method() -> None:
    control = replace(cell("lora", 9, 9, 9), variant="x 0.4", control=True, ranked=False, against="dora")
    board = ranked(control, cell("lora", 5, 5, 5), cell("dora", 5, 5, 5))

    assert row(board, "lora").unbeaten == ()
    assert row(board, "dora").unbeaten == ("x 0.4",)


def test_variants_of_the_same_place_do_not_collide_and_equal_ones_do() -> None:
    first = replace(cell("lora", 5, 5, 5), variant="a")
    ranked(first, replace(first, variant="b"))

    with pytest.raises(DataError, match="two trials of lora a r16"):
        ranked(first, first)
