"""The tables of a sequence from scores that were chosen: columns, marks, seeds, orders, environments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.leaderboard import build as leaderboard
from bench.leaderboard.environments import facts
from bench.leaderboard.heading import Heading
from bench.leaderboard.stats import estimate, mean, resample
from bench.sequences.build import build
from bench.sequences.grouping import ChainScores
from tests.making import boards
from tests.making.boards import right
from tests.making.sequences import SOURCES, TASK_ID, broken, chain, key, untouched
from tests.making.worked_sequence import (
    TASKS,
    WORKED,
    A,
    B,
    C,
    alone,
    built,
    made,
    plain,
    row,
    values,
    zero_shot,
)


def test_the_worked_example_with_every_column() -> None:
    board = built(plain(), alone())

    assert values(row(board, "lora")) == pytest.approx(
        {
            "ap": 208 / 3,
            "apn": 100 * (64 / 80 + 54 / 62 + 90 / 91) / 3,
            "map": (80 + 65 + 208 / 3) / 3,
            "bwt": -11,
            "forgetting": 11,
            "fwt": 2.5,
            "transfer": 26.25,
            "learning": 230 / 3,
            "intransigence": 1,
            "source": 25,
            "source_lost": 60,
            "mif": 36,
        }
    )
    stages = row(board, "lora").stages
    assert [stage.task for stage in stages] == list(TASKS)
    assert [100 * stage.average.value for stage in stages if stage.average] == pytest.approx([80, 65, 208 / 3])
    assert [[round(100 * stage.scores[task].value) for task in TASKS] for stage in stages] == [list(x) for x in WORKED]
    assert [stage.source is None for stage in stages] == [True, True, False]


def test_the_base_model_is_a_row_before_all_others() -> None:
    rows = built(plain(), alone()).blocks[0].rows

    assert [each.key.name for each in rows] == ["zero_shot", "lora", "lora independent"]
    assert values(rows[0]) == pytest.approx({"ap": 100 / 3, "source": 85, "mif": 20})
    assert [stage.number for stage in rows[0].stages] == [0]
    assert rows[0].cost is None


def test_a_task_learnt_alone_is_answered_by_its_own_model_from_its_stage_on() -> None:
    matrix = ((80, 11, 12), (21, 62, 13), (31, 32, 91))
    board = built(plain(), chain(key("lora", "independent", given=TASK_ID), TASKS, matrix, apart=True))

    apart = row(board, "lora independent")
    shown = [[round(100 * stage.scores[task].value) for task in TASKS] for stage in apart.stages]
    assert shown == [[80, 11, 12], [80, 62, 13], [80, 62, 91]]
    found = apart.metrics
    assert [found[name].value for name in ("bwt", "forgetting", "intransigence", "apn")] == [0, 0, 0, 1]
    assert found["bwt"].low == found["bwt"].high == 0
    assert found["fwt"].value == pytest.approx((11 - 28 + 13 - 22) / 200)


def test_a_joint_training_has_scores_after_the_last_stage_and_the_columns_that_read_no_other() -> None:
    made = chain(key("lora", "joint", given="learns all tasks at once"), TASKS, [(72, 60, 90)], [(50, 40)])
    board = built(plain(), alone(), made)

    joint = row(board, "lora joint")
    assert values(joint) == pytest.approx(
        {
            "ap": 74,
            "apn": 100 * (72 / 80 + 60 / 62 + 90 / 91) / 3,
            "source": 45,
            "source_lost": 40,
            "mif": 36,
        }
    )
    (stage,) = joint.stages
    assert (stage.number, stage.task) == (3, "a+b+c")
    assert stage.average is not None
    assert stage.average.value == pytest.approx(0.74)
    assert joint.difference["ap"].value == pytest.approx(0.74 - 2.08 / 3)


def test_two_tasks() -> None:
    board = build(
        [
            chain(key("lora"), "ab", [(40, 10), (20, 30)]),
            chain(key("lora", "independent", given=TASK_ID), "ab", [(40, 0), (0, 32)], apart=True),
        ],
        untouched({"a": 5, "b": 4}),
        tasks="ab",
        sources=SOURCES,
        heading=Heading("micro"),
    )

    found = values(row(board, "lora"))
    assert found["bwt"] == pytest.approx(-20)
    assert found["forgetting"] == pytest.approx(20)
    assert found["fwt"] == pytest.approx(6)
    assert found["map"] == pytest.approx((40 + 25) / 2)


def test_an_average_has_the_interval_of_the_leaderboards_own_resamples() -> None:
    found = row(built(plain(), alone()), "lora")

    drawn = {task: resample(task, {0: {0: right(hits, 100)}})[0] for task, hits in zip(TASKS, WORKED[2], strict=True)}
    assert found.metrics["ap"] == estimate(mean(list(drawn.values())))
    assert found.stages[2].scores[A] == estimate(drawn[A])
    source = {name: resample(name, {0: {0: right(hits, 100)}})[0] for name, hits in zip(SOURCES, (30, 20), strict=True)}
    assert found.metrics["source"] == estimate(mean(list(source.values())))


def test_the_change_of_a_task_is_paired_by_example() -> None:
    kept = (80, 0, 0), (80, 60, 0), (80, 60, 90)
    moved = [[80, 0, 0], [80, 60, 0], [80, 60, 90]]
    other = made("slao", moved)
    swapped = replace(other.stages[2], primary={**other.stages[2].primary, A: right(80, 100)[::-1]})
    other = replace(other, stages=(*other.stages[:2], swapped))

    board = built(plain(kept), other, alone())

    assert row(board, "lora").metrics["bwt"].half_width == 0
    assert row(board, "slao").metrics["bwt"].value == 0
    assert row(board, "slao").metrics["bwt"].half_width > 0.04


def test_source_after_every_stage_that_is_scored() -> None:
    found = row(built(plain(sources=[(70, 60), None, (30, 20)]), alone()), "lora")

    assert [stage.source and round(stage.source.value, 6) for stage in found.stages] == [0.65, None, 0.25]
    assert found.stages[0].sources.keys() == set(SOURCES)
    assert found.metrics["source_lost"].value == pytest.approx(0.85 - 0.25)


def test_a_source_that_does_not_count_is_shown_and_left_out() -> None:
    board = built(plain(), alone(), counted=SOURCES[:1])

    assert board.left_out == SOURCES[1:]
    assert row(board, "lora").metrics["source"].value == pytest.approx(0.3)
    assert row(board, "lora").stages[2].sources.keys() == set(SOURCES)


def test_no_source_at_all_is_a_hole_and_nothing_else() -> None:
    board = built(plain(sources=[None] * 3), alone())

    assert {"source", "source_lost"}.isdisjoint(row(board, "lora").metrics)
    assert not row(board, "lora").problems
    assert "ap" in row(board, "lora").metrics


def test_differences_from_plain_lora_are_paired() -> None:
    board = built(plain(), made("slao", ((80, 30, 20), (70, 60, 25), (74, 64, 90))), alone())

    difference = row(board, "slao").difference
    assert difference["ap"].value == pytest.approx(20 / 300)
    assert difference["ap"].half_width < row(board, "slao").metrics["ap"].half_width
    assert difference["source"].value == 0
    assert not row(board, "lora").difference
    assert not row(board, "zero_shot").difference
    assert row(board, "lora independent").difference["ap"].value == pytest.approx((80 + 62 + 91 - 208) / 300)


def test_a_lower_forgetting_is_better_and_a_higher_of_all_else() -> None:
    better = ((80, 30, 20), (80, 60, 25), (80, 60, 90))
    board = built(plain(), made("slao", better), alone())

    best, worse = row(board, "slao"), row(board, "lora")
    assert {"ap", "apn", "map", "bwt", "forgetting"} <= best.best
    assert worse.best.isdisjoint({"ap", "apn", "map", "bwt", "forgetting"})
    assert {"learning", "intransigence", "fwt", "source", "mif"} <= best.best & worse.best
    assert "source_lost" not in best.best


def test_a_row_near_the_best_is_tied_with_it() -> None:
    board = built(plain(), made("slao", ((80, 30, 20), (70, 60, 25), (65, 54, 90))), alone())

    assert "ap" in row(board, "slao").best
    assert "ap" in row(board, "lora").tied


def test_a_row_that_is_given_the_task_competes_only_with_its_like() -> None:
    better, best = ((90, 0, 0), (90, 90, 0), (90, 90, 90)), ((95, 0, 0), (95, 95, 0), (95, 95, 95))
    banks = [made("lilora", better, given=TASK_ID), made("banked", best, given=TASK_ID)]

    board = built(plain(), made("slao", ((80, 30, 20), (80, 60, 25), (80, 60, 90))), *banks, alone())

    assert "ap" in row(board, "slao").best
    assert "ap" in row(board, "banked").best
    assert "ap" not in row(board, "lilora").best | row(board, "lilora").tied
    assert row(board, "lilora").difference["ap"].value == pytest.approx((270 - 208) / 300)
    alone_there = built(plain(), banks[0], alone())
    assert not row(alone_there, "lilora").best


def test_a_control_is_last_and_never_best() -> None:
    rewound = chain(key("lora", "rewound after each stage"), TASKS, ((99, 0, 0),) * 3)

    rows = built(alone(), rewound, plain(), made("slao")).blocks[0].rows

    names = ["zero_shot", "lora", "slao", "lora independent", "lora rewound after each stage"]
    assert [each.key.name for each in rows] == names
    assert not any(each.best for each in rows if each.key.control)


def few(of: ChainScores) -> ChainScores:
    """Return a chain that is scored on only ten examples of each task, all of them right."""
    cells = [replace(cell, primary=dict.fromkeys(cell.primary, right(10))) for cell in of.stages]
    return replace(of, stages=tuple(cells), forms={})


def test_a_change_that_is_0_by_design_has_no_interval_even_on_few_examples() -> None:
    board = build(
        [few(plain()), few(alone())], few(zero_shot()), tasks=TASKS, sources=SOURCES, heading=Heading("micro")
    )

    fixed = row(board, "lora independent").metrics
    assert {name: fixed[name].half_width for name in ("apn", "bwt", "forgetting", "intransigence")} == {
        "apn": 0,
        "bwt": 0,
        "forgetting": 0,
        "intransigence": 0,
    }
    assert row(board, "lora").metrics["bwt"].half_width == pytest.approx(1 - 0.025**0.1)  # equal by chance


def test_several_seeds_are_averaged_and_their_noise_widens_the_interval() -> None:
    moved = ((80, 30, 20), (70, 60, 25), (60, 50, 86))
    board = built(plain(), plain(moved, seed=1), alone(), alone(seed=1))

    found = row(board, "lora").metrics["ap"]
    assert found.by_seed == pytest.approx({0: 208 / 300, 1: 196 / 300})
    assert found.value == pytest.approx(202 / 300)
    assert found.half_width > 12.7 * 0.04 / 2 - 1e-3  # Student's factor of two seeds times s / sqrt(2)
    assert row(board, "lora").metrics["apn"].by_seed.keys() == {0, 1}


def test_only_seeds_whose_chain_lacks_nothing_count() -> None:
    board = built(
        plain(), plain(seed=1), made("slao"), broken(made("slao", seed=1), 3, "out of memory"), alone(), alone(seed=1)
    )

    found = row(board, "slao")
    assert found.seeds == (0,)
    assert found.metrics["ap"].by_seed.keys() == {0}
    assert found.difference["ap"].by_seed.keys() == {0}
    assert found.trouble == "seed 1 failed: stage 3 (c): out of memory"
    assert board.seeds == (0, 1)


def test_a_metric_that_needs_tasks_alone_uses_the_seeds_that_both_have() -> None:
    board = built(plain(), plain(seed=1), alone(seed=1))

    found = row(board, "lora").metrics
    assert found["ap"].by_seed.keys() == {0, 1}
    assert found["apn"].by_seed.keys() == found["intransigence"].by_seed.keys() == {1}


def test_a_row_that_answers_as_lora_after_every_stage_is_named() -> None:
    twin, early = (replace(plain(), key=made(name).key) for name in ("slao", "c_lora"))
    last = replace(early.stages[2], answers={**early.stages[2].answers, B: "other words"})
    early = replace(early, stages=(*early.stages[:2], last))

    board = built(plain(), twin, early, alone())

    assert row(board, "slao").same_as == "lora r16"
    assert row(board, "c_lora").same_as == ""
    assert any(line.startswith("slao r16: answers as lora r16 on every example") for line in board.blocks[0].remarks)


def test_blocks_are_an_order_at_a_rank() -> None:
    wide = chain(key("lora", rank=32), TASKS, WORKED)
    turned = plain(((90, 0, 0), (80, 80, 0), (70, 60, 50)), (C, A, B))

    board = built(plain(), wide, turned, alone())

    assert [(block.order, block.rank) for block in board.blocks] == [(TASKS, 16), (TASKS, 32), ((C, A, B), 16)]
    assert board.orders == (TASKS, (C, A, B))
    assert "apn" not in row(board, "lora", 1).metrics  # no task was learnt alone at rank 32


def test_the_summary_has_the_mean_and_the_range_over_orders() -> None:
    turned = ((90, 0, 0), (80, 80, 0), (70, 60, 50))
    board = built(plain(), made("slao"), alone(), plain(turned, (C, A, B)), alone((C, A, B)))

    (lora, apart) = board.summary
    assert (lora.key.name, lora.orders, apart.key.name) == ("lora", 2, "lora independent")
    found = lora.columns["ap"]
    assert (found.lowest, found.highest) == pytest.approx((0.6, 208 / 300))
    assert found.mean.value == pytest.approx((60 + 208 / 3) / 200)
    assert found.spread == pytest.approx(208 / 300 - 0.6)
    assert lora.columns.keys() == {"ap", "bwt", "source"}
    assert apart.columns["ap"].spread == pytest.approx(0)
    assert not built(plain(), alone()).summary


def test_the_mean_over_orders_is_of_the_seeds_that_all_orders_have() -> None:
    board = built(plain(), plain(seed=1), plain(order=(C, A, B)), plain(order=(C, A, B), seed=2))

    (lora,) = board.summary
    assert lora.columns["ap"].mean.by_seed.keys() == {0}
    assert not built(plain(), plain(order=(C, A, B), seed=1)).summary[0].columns


def test_rows_of_another_environment_are_marked_and_not_judged() -> None:
    here, there = (facts([{"torch": version}], {}) for version in ("2.12.1", "2.13.0"))

    def trained(of: ChainScores, known: object) -> ChainScores:
        return replace(of, stages=tuple(replace(cell, environments=known) for cell in of.stages))  # type: ignore[arg-type]

    chains = [trained(plain(), here), trained(made("slao"), there), trained(made("c_lora"), here), alone()]

    board = built(*chains)

    marked = row(board, "slao")
    assert marked.foreign.keys() == {"rank", "difference"}
    assert marked.title == "slao †"
    assert marked.verdict("difference", marked.difference["ap"]) == "foreign"
    assert not marked.best
    assert row(board, "c_lora").best
    assert "† slao r16: trained with torch 2.13 (lora r16: 2.12)" in board.blocks[0].remarks
    mixed = row(built(*chains, mixed=True), "slao")
    assert mixed.best
    assert mixed.verdict("difference", mixed.difference["ap"]) == "tied"


def test_stages_of_different_environments_are_named() -> None:
    here, there = (facts([{"torch": version}], {}) for version in ("2.12.1", "2.13.0"))
    cells = [replace(cell, environments=here) for cell in plain().stages]
    board = built(replace(plain(), stages=(*cells[:2], replace(cells[2], environments=there))), alone())

    assert row(board, "lora").foreign == {"stages": "trained with torch 2.13 (stage 1: 2.12)"}
    assert row(board, "lora").title == "lora †"


def test_what_compares_with_the_base_model_knows_its_environment() -> None:
    scored = facts([], {A: {"device": "GPU"}})
    other = facts([], {A: {"device": "cpu"}})
    chain_here = replace(plain(), stages=tuple(replace(cell, environments=scored) for cell in plain().stages))
    base = replace(zero_shot(), stages=(replace(zero_shot().stages[0], environments=other),))
    board = build([chain_here, alone()], base, tasks=TASKS, sources=SOURCES, heading=Heading("micro"))

    found = row(board, "lora")
    assert found.foreign == {"zero_shot": "scored with device GPU (zero_shot: cpu) on a"}
    assert found.verdict("zero_shot", found.metrics["source_lost"]) == "foreign"


def test_costs_are_means_over_stages_and_seeds_and_the_most_that_is_kept() -> None:
    slow = replace(plain(seed=1), kept_bytes=900_000)
    cells = tuple(replace(cell, cost=replace(cell.cost, train_seconds=60.0)) for cell in slow.stages)
    board = built(plain(), replace(slow, stages=cells), alone())

    cost = row(board, "lora").cost
    assert cost is not None
    assert (cost.seconds, cost.updates, cost.kept_bytes) == (45.0, 150, 900_000)
    assert "150 updates a stage and 450 in all" in board.setting


def test_the_interval_of_a_final_score_is_that_of_the_leaderboard() -> None:
    cell = boards.cell("lora", C, {C: right(90, 100), "easy_vqa": right(30, 100), "sign_words": right(20, 100)})
    target = leaderboard.build([cell], None, sources=SOURCES, targets=[C], heading=Heading("micro"))

    found = row(built(plain(), alone()), "lora")

    assert boards.row(target, "lora").scores["target"] == found.stages[2].scores[C]
    assert boards.row(target, "lora").scores["source"] == found.metrics["source"]


def test_a_block_says_what_it_can_resolve() -> None:
    board = built(plain(), made("slao", ((80, 30, 20), (70, 60, 25), (74, 64, 90))), alone())

    block = board.blocks[0]
    assert block.resolution == row(board, "slao").difference["ap"].half_width
    assert f"about {100 * block.resolution:.2f} points" in block.limits
    assert "nothing says how small" in built(plain()).blocks[0].limits


def test_scores_of_nothing_on_a_task_alone_leave_the_relative_average_out() -> None:
    apart = chain(key("lora", "independent", given=TASK_ID), TASKS, ((80, 0, 0), (0, 0, 0), (0, 0, 91)), apart=True)
    found = row(built(plain(), apart), "lora").metrics

    assert "apn" not in found
    assert found["intransigence"].value == pytest.approx((0 - 60 + 1) / 300)


def test_a_task_that_few_resamples_score_0_on_does_not_hide_the_relative_average() -> None:
    few = 5  # right answers of 100: about 12 of 2,000 resamples have none
    apart = chain(key("lora", "independent", given=TASK_ID), TASKS, ((80, 0, 0), (0, few, 0), (0, 0, 91)), apart=True)
    board = built(plain(), apart)

    found = row(board, "lora").metrics["apn"]

    assert np.isfinite([found.low, found.high]).all()
    assert not any("APn is left out" in remark for remark in board.blocks[0].remarks)


def test_a_block_without_the_relative_average_says_why() -> None:
    apart = chain(key("lora", "independent", given=TASK_ID), TASKS, ((80, 0, 0), (0, 1, 0), (0, 0, 91)), apart=True)
    board = built(plain(), apart)

    assert "apn" not in row(board, "lora").metrics
    assert "APn is left out, because a task that is learnt alone scores 0, or close to 0." in board.blocks[0].remarks


def test_numbers_do_not_depend_on_the_order_of_the_rows() -> None:
    rows = [plain(), made("slao", ((80, 30, 20), (70, 60, 25), (74, 64, 90))), alone()]

    one, other = built(*rows), built(*reversed(rows))

    for name in ("lora", "slao", "lora independent"):
        assert row(one, name).metrics == row(other, name).metrics
    assert np.isclose(row(one, "slao").difference["ap"].value, row(other, "slao").difference["ap"].value)
