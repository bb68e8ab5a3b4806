import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench import DataError
from bench.leaderboard import build as build_file
from bench.leaderboard.build import build
from bench.leaderboard.cell_scores import CellScores
from bench.leaderboard.grouping import RowTrials
from bench.leaderboard.heading import Heading
from bench.leaderboard.tables import Leaderboard
from bench.values.record import Cost
from tests.making import boards
from tests.making.boards import control, failed, right, row, tuned

HEADING = Heading("micro")


def cell(method: str, gqa: int, okvqa: int, iconqa: int, *, rank: int = 16, seed: int = 0) -> CellScores:
    primary = {"gqa": right(gqa), "okvqa": right(okvqa), "iconqa": right(iconqa)}
    lenient = {"gqa": right(min(10, gqa + 1)), "okvqa": right(okvqa)}
    cost = Cost(10.0 + seed, 1.0, 1000 + seed, 50)
    made = boards.cell(method, "iconqa", primary, rank=rank, seed=seed)
    return replace(made, lenient=lenient, cost=cost)


def zero_shot(gqa: int = 9, okvqa: int = 8, iconqa: int = 2) -> CellScores:
    scores = cell("zero_shot", gqa, okvqa, iconqa)
    return replace(boards.zero_shot(scores.primary), lenient=scores.lenient)


def ranked(*cells: CellScores, targets: tuple[str, ...] = ("iconqa",)) -> Leaderboard:
    return build(cells, zero_shot(), sources=("gqa", "okvqa"), targets=targets, heading=HEADING)


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
    scores = {"gqa": np.random.default_rng(0).random(251), "okvqa": np.random.default_rng(1).random(107)}
    reference = replace(zero_shot(), primary={**scores, "iconqa": right(2)}, lenient={})
    unchanged = boards.cell("lora", "iconqa", {task: scores.copy() for task, scores in reference.primary.items()})

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

    assert difference.value == 0.0
    assert difference.covers_zero


def test_the_highest_is_best_and_what_cannot_be_told_from_it_is_tied() -> None:
    leaderboard = ranked(cell("lora", 1, 5, 5), cell("dora", 9, 5, 5), cell("dare", 10, 4, 5))

    assert row(leaderboard, "dare").mark("gqa") == "best"
    assert row(leaderboard, "dora").mark("gqa") == "tied"  # one example of ten apart
    assert row(leaderboard, "lora").mark("gqa") == ""
    assert [row(leaderboard, method).mark("target") for method in ("lora", "dora", "dare")] == ["best"] * 3


def test_an_unranked_method_is_never_best() -> None:
    oracle = cell("oracle", 10, 10, 10)
    oracle = replace(oracle, key=replace(oracle.key, ranked=False))
    leaderboard = ranked(cell("lora", 1, 1, 1), cell("dora", 2, 2, 2), oracle)

    assert row(leaderboard, "oracle").mark("gqa") == ""
    assert row(leaderboard, "dora").mark("gqa") == "best"


def test_nothing_is_best_of_one() -> None:
    assert row(ranked(cell("lora", 5, 5, 5)), "lora").best == frozenset()


def test_blocks_that_are_resampled_apart_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [
        cell(method, 3 + place, 9 - place, 4 + rank // 16, rank=rank, seed=seed)
        for place, method in enumerate(("lora", "l2", "dare"))
        for rank in (16, 32, 64)
        for seed in (0, 1, 2)
    ]
    cells += [replace(one, target="coco", primary={**one.primary, "coco": one.primary["iconqa"]}) for one in cells]
    groups = list[int]()
    measured = build_file._measured

    def noted(entries: Sequence[RowTrials], *more: Any) -> Any:
        groups.append(len(entries))
        return measured(entries, *more)

    monkeypatch.setattr(build_file, "_measured", noted)
    boards = []
    for at_once in (1, 20, 1000):
        monkeypatch.setattr(build_file, "_TRIALS_AT_ONCE", at_once)
        boards.append(ranked(*cells, targets=("iconqa", "coco")))

    assert boards[0] == boards[1] == boards[2]
    # each board first measures the untouched model, then its 20 rows, of which a block of three has nine trials
    assert groups == [1, *2 * [1, 3, 3, 3], 1, 7, 7, 6, 1, 20]


def test_ranks_and_connectors_are_not_compared_with_each_other() -> None:
    keys = [boards.key(method, connector="frozen") for method in ("lora", "dora")]
    frozen = [replace(cell(key.method, 9, 9, 9), key=key) for key in keys]
    leaderboard = ranked(cell("lora", 5, 5, 5), cell("dora", 6, 6, 6), *frozen)

    assert [row.mark("gqa") for row in leaderboard.tables[0].rows if row.method == "dora"] == ["best", "best"]
    assert leaderboard.connectors == ("full", "frozen")


def test_a_failed_cell_is_a_row_with_its_error() -> None:
    dora = row(ranked(cell("lora", 5, 5, 5), failed("dora", "iconqa", "out of\nmemory")), "dora")

    assert dora.scores == {}
    assert dora.trouble == "seed 0 failed: out of memory"


def test_a_cell_of_another_target_is_a_row_that_says_not_run() -> None:
    primary = {"gqa": right(5), "okvqa": right(5), "coco": right(5)}
    leaderboard = ranked(
        cell("lora", 5, 5, 5),
        boards.cell("dora", "coco", primary),
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
    killed = failed("lora", "iconqa", "killed", seed=2)
    lora = row(ranked(cell("lora", 4, 4, 4), cell("lora", 6, 6, 6, seed=1), killed), "lora")

    assert lora.scores["avg"].value == pytest.approx(0.5)
    assert lora.scores["avg"].by_seed == pytest.approx({0: 0.4, 1: 0.6})
    assert lora.seeds == (0, 1)
    assert lora.trouble == "seed 2 failed: killed"
    assert lora.cost == Cost(10.5, 1.0, 1001, 50)


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (1, "cannot show that one method is better"),
        (2, "times as wide as with 5 seeds"),
        (5, "the noise between the 5 trainings, by Student's t."),
    ],
)
def test_the_note_says_what_the_intervals_cover(seeds: int, said: str) -> None:
    leaderboard = ranked(*[cell("lora", 5, 5, 5, seed=seed) for seed in range(seeds)])

    assert said in leaderboard.notes[1]
    assert leaderboard.spread_shown == (seeds == 2)


def test_a_row_with_the_baselines_answers_is_said_to_measure_nothing() -> None:
    alike, other = {"gqa": "1", "okvqa": "2"}, {"gqa": "1", "okvqa": "3"}
    lora, inert, acting = (
        replace(cell(method, 5, 5, 5), answers=answers)
        for method, answers in (("lora", alike), ("orth_reg", alike), ("dora", other))
    )
    leaderboard = ranked(lora, inert, acting)

    assert [row(leaderboard, name).same_as for name in ("lora", "orth_reg", "dora")] == ["", "lora r16", ""]
    remark = "orth_reg r16: answered exactly as lora r16 on every example, so the row measures nothing"
    assert leaderboard.tables[0].remarks == (remark,)


def test_a_row_whose_answers_are_not_known_is_not_said_to_measure_nothing() -> None:
    assert not row(ranked(cell("lora", 5, 5, 5), cell("dora", 5, 5, 5)), "dora").same_as


def test_the_highest_avg_of_several_rows_is_said_to_be_too_high() -> None:
    leaderboard = ranked(cell("lora", 5, 5, 5), cell("dora", 7, 5, 5), cell("dare", 6, 4, 5))
    table = leaderboard.tables[0]

    assert table.too_high is not None
    assert table.too_high > 0
    assert f"up to {100 * table.too_high:.2f} points too high on average" in leaderboard.resolution(table)


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

    with pytest.raises(DataError, match="dora r16 on iconqa, seed 0 has 8 scores on gqa, but other trials have 10"):
        ranked(cell("lora", 5, 5, 5), short)


def test_the_frame_has_a_line_per_row_and_holes_are_missing_values() -> None:
    killed = failed("dora", "iconqa", "killed")

    frame = ranked(cell("lora", 5, 3, 8), killed).frame("iconqa").set_index("method")

    assert frame.loc["lora", "avg"] == pytest.approx(0.6)
    assert frame.loc["lora", "forgetting"] == pytest.approx(0.45)
    assert frame["avg"].isna().to_dict() == {"zero_shot": False, "lora": False, "dora": True}
    assert frame.loc["dora", "problems"] == "seed 0 failed: killed"


@pytest.mark.slow
def test_the_leaderboard_loads_no_torch() -> None:
    code = "import sys, bench.leaderboard.build, bench.leaderboard.lost_examples; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_tuned_row_is_next_to_its_default_with_their_paired_difference() -> None:
    chosen = tuned(cell("dora", 5, 5, 9), tries=8)
    board = ranked(cell("lora", 5, 3, 8), cell("dora", 5, 3, 7), chosen, cell("l2", 4, 4, 4))

    rows = {row.name: row for row in board.tables[0].rows}
    assert list(rows) == ["zero_shot", "lora", "dora", "dora tuned", "l2"]
    assert rows["dora tuned"].gain["avg"].value == pytest.approx((0.1 + 0.2) / 2)
    assert rows["dora tuned"].difference["avg"].value == pytest.approx((0.1 + 0.1) / 2)
    assert rows["dora"].gain == {}
    assert [row.tries for row in rows.values()] == [1, 1, 1, 8, 1]
    assert board.tuned


def test_a_tuned_row_is_held_against_the_tuned_baseline_where_there_is_one() -> None:
    chosen = [tuned(cell(name, 5, 5, level)) for name, level in (("lora", 8), ("dora", 9))]
    board = ranked(cell("lora", 1, 1, 1), cell("dora", 5, 3, 7), *chosen)

    rows = {row.name: row for row in board.tables[0].rows}
    assert rows["dora tuned"].difference["avg"].value == pytest.approx(0.05)
    assert rows["lora tuned"].difference == {}


def test_a_method_that_is_not_above_a_control_is_named_with_it() -> None:
    strong, weak = control(cell("lora", 9, 9, 9), "lr/3"), control(cell("lora", 1, 1, 1), "frozen")
    board = ranked(strong, weak, cell("lora", 5, 5, 5), cell("dora", 9, 9, 9))

    rows = {row.name: row for row in board.tables[0].rows}
    assert list(rows) == ["zero_shot", "lora", "dora", "lora lr/3", "lora frozen"]  # controls come last
    assert rows["lora"].unbeaten == ("lr/3",)
    assert rows["dora"].unbeaten == ("lr/3",)  # an equal is not above
    assert rows["lora lr/3"].unbeaten == ()
    assert rows["lora lr/3"].best == frozenset()  # it competes with nobody
    assert rows["lora lr/3"].difference["avg"].value == pytest.approx(0.4)


def given(made: CellScores) -> CellScores:
    return replace(made, key=replace(made.key, given="sees source data"))


def test_a_row_that_sees_source_data_is_neither_best_nor_tied_among_rows_that_see_none() -> None:
    board = ranked(cell("lora", 3, 3, 3), cell("dora", 6, 6, 6), given(cell("replay", 9, 9, 9)))

    assert row(board, "replay").best == row(board, "replay").tied == frozenset()
    assert row(board, "dora").mark("avg") == "best"
    assert row(board, "replay").difference["avg"].value == pytest.approx(0.6)


def test_rows_that_see_source_data_compete_with_each_other() -> None:
    board = ranked(cell("lora", 3, 3, 3), given(cell("replay", 1, 1, 1)), given(cell("more_replay", 9, 9, 9)))

    assert row(board, "more_replay").mark("avg") == "best"
    assert row(board, "replay").mark("avg") == ""
    assert row(board, "lora").mark("avg") == ""  # nobody competes with it


def test_an_environment_is_compared_with_that_of_the_rivals_alone() -> None:
    gpu = {("training", "device"): frozenset({"gpu"})}
    cpu = {("training", "device"): frozenset({"cpu"})}
    ours = replace(cell("lora", 3, 3, 3), environments=cpu), replace(cell("dora", 3, 3, 3), environments=cpu)
    board = ranked(*ours, replace(given(cell("replay", 9, 9, 9)), environments=gpu))

    assert set(row(board, "replay").foreign) == {"difference"}  # lora is compared with it, but not ranked against it


def test_a_control_that_sees_source_data_is_not_held_against_rows_that_see_none() -> None:
    strong = given(control(cell("lora", 9, 9, 9), "replay"))
    board = ranked(strong, cell("lora", 5, 5, 5), given(cell("mixed", 5, 5, 5)))

    assert row(board, "lora").unbeaten == ()
    assert row(board, "mixed").unbeaten == ("replay",)


def test_what_rows_were_given_is_said_under_the_table_and_explained_once() -> None:
    board = ranked(cell("lora", 3, 3, 3), given(cell("replay", 9, 9, 9)), given(cell("mixed", 9, 9, 9)))

    assert "‡ replay r16, mixed r16: sees source data" in board.tables[0].remarks
    unranked = given(cell("replay", 9, 9, 9))
    alone = ranked(cell("lora", 3, 3, 3), replace(unranked, key=replace(unranked.key, ranked=False)))
    assert alone.resolution(alone.tables[0]).startswith("No ranked row has a difference from lora")
    assert [note for note in board.notes if note.startswith("‡: ")] == [
        "‡: the row was given what other rows were not; a remark under its table says what. It competes only with rows "
        "that were given the same, so it is neither best nor tied among the others. As a control it counts only for "
        "rows that were given the same."
    ]
    assert list(board.frame("iconqa")["given"]) == ["", "", "sees source data", "sees source data"]
    plain = ranked(cell("lora", 3, 3, 3))
    assert not [note for note in plain.notes if "‡" in note]
    assert list(plain.frame("iconqa")["given"]) == ["", ""]


def test_a_control_may_be_meant_for_one_method() -> None:
    only = control(cell("lora", 9, 9, 9), "x 0.4", against="dora")
    board = ranked(only, cell("lora", 5, 5, 5), cell("dora", 5, 5, 5))

    assert row(board, "lora").unbeaten == ()
    assert row(board, "dora").unbeaten == ("x 0.4",)


def test_variants_of_the_same_place_do_not_collide_and_equal_ones_do() -> None:
    first = control(cell("lora", 5, 5, 5), "a")
    ranked(first, control(first, "b"))

    with pytest.raises(DataError, match="two trials of lora a r16"):
        ranked(first, first)


def test_a_methods_remark_is_printed_once_under_a_table() -> None:
    plain, *weak = (cell("lora", 5, 5, 5), cell("b", 5, 5, 5), cell("b", 5, 5, 5, rank=32))

    board = ranked(plain, *(replace(one, key=replace(one.key, remark="weak")) for one in weak))

    assert board.tables[0].remarks == ("b: weak",)


def test_the_heading_names_the_suites_settings_and_the_notes_older_trials() -> None:
    board = ranked(cell("lora", 5, 5, 5))
    board = replace(board, heading=replace(HEADING, settings=("a.x 1 (far)",), older=3))

    assert board.setting == "suite micro, connector full, seed 0, a.x 1 (far)"
    assert board.notes[-1].startswith("3 trials in this run folder are of an older version")


def test_a_source_that_does_not_count_keeps_its_column_and_leaves_source_avg_and_forgetting_of_every_row() -> None:
    cells = (cell("lora", 5, 3, 8), cell("dare", 6, 3, 7))

    board = build(cells, zero_shot(), sources=("gqa", "okvqa"), targets=("iconqa",), heading=HEADING, counted=("gqa",))

    assert board.columns == ("gqa", "okvqa", "source", "target", "avg")
    assert board.left_out == ("okvqa",)
    for name, source, target in (("zero_shot", 0.9, 0.2), ("lora", 0.5, 0.8), ("dare", 0.6, 0.7)):
        found = row(board, name, None if name == "zero_shot" else 16)
        assert found.scores["source"].value == pytest.approx(source)
        assert found.scores["avg"].value == pytest.approx((source + target) / 2)
        assert found.scores["okvqa"].value == pytest.approx(0.8 if name == "zero_shot" else 0.3)
    lora = row(board, "lora")
    assert lora.forgetting["source"].value == pytest.approx(0.4)
    assert lora.lenient["source"].value == pytest.approx(0.6)
    assert row(board, "dare").difference["source"].value == pytest.approx(0.1)
    assert board.frame("iconqa")["left_out"].tolist() == ["okvqa"] * 3
