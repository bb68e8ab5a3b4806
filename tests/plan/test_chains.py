"""Chains of stages: which trials they share, what they score, and what cannot form one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.plan.cell_trials import cell_trial
from bench.plan.chains import INDEPENDENT, TASK_ID, Chain, ChainMethod, ChainRequest, order_name
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plan.tuned import TunedChoice
from bench.plugins.registry import REPLAY, Registry
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.values.trial import SEES_EARLIER

TASKS = ("old_squares", "new_squares")
LORA, LINES = ChainMethod("lora"), ChainMethod("lora", "lines")


@pytest.fixture
def request_(tiny_suite: Suite, squares: Tasks) -> Request:
    return Request(tiny_suite, ("lora", "lines"), (2,), TASKS, (), tiny_suite.recipe, tasks=squares)


def by_name(chains: tuple[Chain, ...]) -> dict[str, Chain]:
    return {chain.key.name: chain for chain in chains}


def test_stage_1_is_the_ordinary_trial_and_each_stage_continues_the_one_before(request_: Request) -> None:
    lora = by_name(ChainRequest(request_, (), (TASKS,)).chains())["lora"]

    first, second = lora.stages
    assert first == cell_trial(request_, "lora", 2, TASKS[0], 0)
    assert second == replace(cell_trial(request_, "lora", 2, TASKS[1], 0), parent=first)
    assert second.tasks == TASKS
    assert not second.is_edit
    assert second.id != cell_trial(request_, "lora", 2, TASKS[1], 0).id


def test_an_edit_follows_each_stage_and_the_next_stage_follows_the_edit(request_: Request) -> None:
    first, second = by_name(ChainRequest(request_, (LINES,), (TASKS,)).chains())["lora+lines"].stages

    assert (first.method, second.method) == ("lines", "lines")
    assert first.is_edit
    assert second.is_edit
    assert second.parent is not None
    assert second.parent.parent == first
    assert second.parent.label == "lora-r2-old_squares+lines.new_squares-s0"


def test_tasks_learnt_alone_are_planned_once_for_all_orders_and_rows(request_: Request, tmp_path: Path) -> None:
    both = ChainRequest(request_, (), (TASKS, TASKS[::-1]))
    plan = both.plan(Store(tmp_path))

    rows = [chain for chain in both.chains() if chain.key.variant == INDEPENDENT]
    assert {trial.id for trial in rows[0].stages} == {trial.id for trial in rows[1].stages}
    assert rows[0].key.given == TASK_ID
    assert len(plan.trainings) == 4  # each task alone, and the second stage of each order
    assert plan.summary().startswith("4 rows of 2 tasks, 4 chains, 4 trainings")


def test_every_stage_scores_every_task_and_the_sources_when_they_are_due(tiny_suite: Suite, squares: Tasks) -> None:
    request = Request(tiny_suite, ("lora",), (2,), ("new_squares",), ("old_squares",), tiny_suite.recipe, tasks=squares)
    lora = ChainRequest(request, (), (("new_squares",),)).chain(LORA, ("new_squares",), 2, 0)

    def scored(when: str, stage: int, of: int) -> list[str]:
        chains = ChainRequest(request, (), (("new_squares",),), when)  # type: ignore[arg-type]
        return [item.task for item in chains.scores(replace(lora, order=("new_squares",) * of), stage)]

    assert scored("end", 1, 2) == scored("never", 2, 2) == ["new_squares"]
    assert scored("end", 2, 2) == scored("every", 1, 2) == ["old_squares", "new_squares"]


def test_the_controls_rewind_after_each_stage_and_replay_only_earlier_tasks(request_: Request) -> None:
    rows = by_name(ChainRequest(request_, (), (TASKS,), controls=True).chains())

    first, second = rows[f"lora {REPLAY}"].stages
    assert (first.method, second.method, second.sources) == ("lora", REPLAY, TASKS[:1])
    assert rows[f"lora {REPLAY}"].key.given == second.given == SEES_EARLIER
    assert [trial.method for trial in rows["lora rewound after each stage"].stages] == ["rewind", "rewind"]
    assert {name for name, chain in rows.items() if chain.key.ranked} == {"lora"}


def test_a_choice_of_a_search_adds_a_row_with_its_tries(request_: Request) -> None:
    chosen = {("lora+lines", 2, order_name(TASKS)): TunedChoice({"alpha": 0.2}, 8)}

    rows = by_name(ChainRequest(replace(request_, tuned=chosen), (LINES,), (TASKS,)).chains())

    tuned, default = rows["lora+lines tuned"], rows["lora+lines"]
    assert (tuned.key.tries, default.key.tries) == (8, 1)
    assert [trial.hyper["alpha"] for trial in tuned.stages] == [0.2, 0.2]
    assert tuned.stages[0].parent == default.stages[0].parent


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        ([("a",)], "at least two tasks, and --tasks names 1"),
        ([("a", "b", "a")], "The order a,b,a has a twice"),
        ([("a", "b"), ("a", "c")], "--order a,c does not have the tasks of --tasks a,b"),
    ],
)
def test_orders_that_are_none_are_refused(orders: list[tuple[str, ...]], said: str, request_: Request) -> None:
    with pytest.raises(UsageError, match=said):
        ChainRequest(request_, (), tuple(orders)).check()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lines", r"lines only edits .* Use lora\+lines"),
        ("zero_shot", "zero_shot trains nothing"),
        ("mixlora", "mixlora cannot learn a sequence of tasks"),
        ("lora+dora", r"dora does not edit\. After \+, name a method that edits"),
        ("lora+", "No method named ''"),
        ("lroa", "No method named 'lroa'"),
    ],
)
def test_methods_that_cannot_form_a_chain_are_refused_by_name(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ChainMethod.read(name, Registry())


def test_4_bit_weights_cannot_hold_earlier_stages(request_: Request, tmp_path: Path) -> None:
    request = replace(request_, recipe=replace(request_.recipe, quantization="4bit"))

    controlled = ChainRequest(request, (LORA,), (TASKS,), controls=True)
    controlled.check()
    assert "lora rewound after each stage" not in by_name(controlled.chains())
    assert "--base 4bit" in controlled.plan(Store(tmp_path)).notes[0]
    with pytest.raises(UsageError, match=r"lora\+lines trains each stage .*--base 4bit"):
        ChainRequest(request, (LINES,), (TASKS,)).check()
