"""Joint rows of a sequence: one training on all tasks, scored as after the last stage."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import UsageError
from bench.plan.cell_trials import cell_trial
from bench.plan.chains import JOINT, Chain, ChainMethod, ChainRequest, joint_trial
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks

TASKS = ("old_squares", "new_squares")


@pytest.fixture
def asked(tiny_suite: Suite, squares: Tasks) -> Request:
    return Request(tiny_suite, ("lora",), (2,), TASKS, (), tiny_suite.recipe, tasks=squares)


def chains(request: Request, *methods: str, controls: bool = False) -> dict[str, Chain]:
    named = tuple(ChainMethod.read(method, request.registry) for method in methods)
    return {chain.key.name: chain for chain in ChainRequest(request, named, (TASKS,), controls=controls).chains()}


def test_a_method_made_for_joint_training_has_one_trial_on_all_tasks(asked: Request) -> None:
    chain = chains(asked, "ortho_lora")["ortho_lora"]

    (trial,) = chain.stages
    assert chain.joint
    assert (trial.method, trial.target, trial.together) == (
        "ortho_lora",
        "new_squares+old_squares",
        tuple(sorted(TASKS)),
    )
    assert trial.recipe.updates == 2 * asked.recipe.updates
    assert trial.parent is None
    assert (chain.key.given, chain.key.ranked, chain.key.control) == ("learns all tasks at once", True, False)


def test_a_row_whose_user_must_know_the_task_says_so_too(asked: Request) -> None:
    assert chains(asked, "mtl_lora")["mtl_lora"].key.given == "learns all tasks at once, task id given"


def test_plain_lora_is_trained_jointly_only_as_a_control(asked: Request) -> None:
    without, controls = chains(asked, "ortho_lora"), chains(asked, controls=True)

    assert f"lora {JOINT}" not in without
    chain = controls[f"lora {JOINT}"]
    assert chain.joint
    assert (chain.key.given, chain.key.ranked, chain.key.control) == ("learns all tasks at once", False, True)
    assert [name for name, chain in controls.items() if chain.joint] == [f"lora {JOINT}"]


def test_a_joint_row_is_scored_on_every_task_and_on_the_sources_at_the_end(asked: Request) -> None:
    planned = ChainRequest(
        replace(asked, sources=("third_squares",)), (ChainMethod("ortho_lora"),), (TASKS,), when="end"
    )
    squares = asked.registry.task_class("old_squares")
    asked.registry.add(type("Third", (squares,), {"name": "third_squares"}))
    (chain,) = [each for each in planned.chains() if each.joint]

    scored = planned.scores(chain, 1)

    assert {item.task for item in scored} == {*TASKS, "third_squares"}


def test_all_orders_share_one_joint_trial(asked: Request) -> None:
    planned = ChainRequest(asked, (ChainMethod("ortho_lora"),), (TASKS, TASKS[::-1]))

    one, other = (chain for chain in planned.chains() if chain.joint)

    assert one.stages == other.stages
    assert one.order != other.order


def test_the_data_of_a_joint_trial_are_the_training_examples_of_every_task(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = joint_trial(asked, "lora", 2, TASKS, 0)
    apart = {task: cell_trial(asked, "lora", 2, task, 0).data for task in TASKS}
    assert trial.data not in apart.values()

    for task in TASKS:
        other = replace(asked, tasks=Tasks(asked.registry))
        monkeypatch.setattr(other.tasks.load(task), "first", 500)
        changed = joint_trial(other, "lora", 2, TASKS, 0)
        assert (changed.data, changed.id) != (trial.data, trial.id)
        assert changed.together == trial.together


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ortho_lora+lines", "ortho_lora+lines: ortho_lora learns all tasks at once, so no stage is there to edit"),
        ("mtl_lora+rewind", "Drop rewind"),
    ],
)
def test_no_edit_can_follow_a_joint_training(asked: Request, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("+", r"\+")):
        ChainMethod.read(text, asked.registry)


def test_a_joint_training_refuses_a_method_that_sees_sources(asked: Request) -> None:
    with pytest.raises(UsageError, match="replay trains on examples of the sources"):
        joint_trial(replace(asked, sources=("old_squares",)), "replay", 2, TASKS, 0)
