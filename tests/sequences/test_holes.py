"""What the tables of a sequence show where a stage failed, did not run, or lacks a score."""

from __future__ import annotations

from dataclasses import replace

from bench.leaderboard.heading import Heading
from bench.sequences.build import build
from tests.making.sequences import SOURCES, broken, chain, key, untouched, without
from tests.making.worked_sequence import (
    TASKS,
    A,
    alone,
    built,
    made,
    plain,
    row,
    zero_shot,
)


def test_a_joint_training_that_failed_names_no_stage() -> None:
    made = chain(key("lora", "joint"), TASKS, [(72, 60, 90)], [(50, 40)])
    failed = replace(made.stages[0], status="failed", error="out of memory", primary={})

    board = built(plain(), alone(), replace(made, stages=(failed,)))

    assert row(board, "lora joint").trouble == "seed 0 failed: out of memory"


def test_a_failed_stage_is_the_reason_for_all_that_follow_it() -> None:
    board = built(plain(), broken(made("slao"), 2, "out of memory"), alone())

    found = row(board, "slao")
    assert not found.metrics
    assert found.trouble == "seed 0 failed: stage 2 (b): out of memory"
    assert [stage.average and round(stage.average.value, 6) for stage in found.stages] == [0.8, None, None]
    assert not found.best


def test_a_chain_that_is_not_finished_has_no_metric_and_competes_in_none() -> None:
    matrix = ((80, 30), (70, 60))
    chains = [chain(key(name), "ab", matrix) for name in ("lora", "slao")]
    board = build(
        [*chains, broken(chain(key("loda"), "ab", ((80, 90), (70, 60))), 2)],
        untouched({"a": 5, "b": 4}),
        tasks="ab",
        sources=SOURCES,
        heading=Heading("micro"),
    )

    assert not row(board, "loda").metrics  # although FWT needs stage 1 alone
    assert "fwt" in row(board, "slao").best
    assert row(board, "loda").stages[0].scores["b"].value == 0.9


def test_a_chain_that_did_not_run_says_so() -> None:
    found = row(built(plain(), broken(made("slao"), 1), alone()), "slao")

    assert found.trouble == "seed 0 missing: stage 1 (a): not run"
    assert found.stages == ()
    assert found.cost is None


def test_tasks_learnt_alone_each_have_their_own_reason_and_leave_what_needs_them_empty() -> None:
    apart = replace(alone(), stages=broken(alone(), 1, "stumbled").stages[:1] + alone().stages[1:])
    board = built(plain(), apart)

    control = row(board, "lora independent")
    assert control.trouble == "seed 0 failed: stage 1 (a): stumbled"
    assert {"apn", "intransigence"}.isdisjoint(row(board, "lora").metrics)
    assert "ap" in row(board, "lora").metrics


def test_each_task_learnt_alone_fails_by_itself() -> None:
    bad = (broken(alone(), 1, "stumbled").stages[0], alone().stages[1], broken(alone(), 3, "fell").stages[2])

    found = row(built(plain(), replace(alone(), stages=bad)), "lora independent")

    assert found.trouble == "seed 0 failed: stage 1 (a): stumbled; seed 0 failed: stage 3 (c): fell"


def test_a_missing_score_is_a_hole_in_what_reads_it() -> None:
    board = built(plain(), without(made("slao"), 2, A), alone())

    found = row(board, "slao")
    assert {"map", "forgetting"}.isdisjoint(found.metrics)
    assert {"ap", "bwt", "fwt", "transfer", "learning"} <= found.metrics.keys()
    assert found.trouble == "seed 0 missing: stage 2 (b): no scores on a"
    assert A not in found.stages[1].scores
    assert f"slao r16: {found.trouble}" in board.blocks[0].remarks


def test_without_the_base_model_only_what_reads_it_is_missing() -> None:
    board = build([plain(), alone()], None, tasks=TASKS, sources=SOURCES, heading=Heading("micro"))

    found = row(board, "lora").metrics
    assert {"fwt", "source_lost"}.isdisjoint(found)
    assert {"ap", "bwt", "source"} <= found.keys()


def test_the_base_model_may_have_failed() -> None:
    bare = replace(zero_shot().stages[0], status="failed", error="no memory", primary={})
    board = build(
        [plain(), alone()],
        replace(zero_shot(), stages=(bare,), forms={}),
        tasks=TASKS,
        sources=SOURCES,
        heading=Heading("micro"),
    )

    assert row(board, "zero_shot").trouble == "seed 0 failed: no memory"
    assert "fwt" not in row(board, "lora").metrics
