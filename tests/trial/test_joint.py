"""A joint training: several tasks in every update, in micro-batches of one task each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from bench.checks.runs import unequal
from bench.checks.tiny import RANK, RECIPE, tiny
from bench.plan.cell_trials import cell_trial
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.method import Start, Step
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.trial.fit import fit
from bench.trial.mixture import Union
from bench.trial.runner import TrialRunner
from bench.trial.updates import MicroBatchSize, Update, schedule_updates
from bench.trial.workers import Group
from bench.values.job import Job
from bench.values.scores import ScoreSpec

LoRA = Registry().method("lora")
WHOLE = replace(RECIPE, dropout=0.0)
TASKS = ("squares", "old_squares", "older_squares")


@dataclass(kw_only=True)
class Noting(LoRA):  # type: ignore[valid-type, misc]
    """LoRA that notes what it starts from, and the task of every micro-batch as each hook is told it."""

    name: ClassVar[str] = "noting"
    started: ClassVar[list[Start]] = []

    seen: list[tuple[str, str, int]] = field(default_factory=list)
    now: str = "before"

    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        self.started.append(start)

    def on_batch(self, model: nn.Module, task: str) -> None:
        self.now = task

    def backward(self, step: Step) -> None:
        self.seen.append((self.now, step.task, len(step.batch["labels"])))
        super().backward(step)


def updates(batch_size: int, count: int = 6) -> list[Update]:
    recipe = replace(RECIPE, batch_size=batch_size, updates=count)
    return schedule_updates(LoRA(), tiny().joint, recipe, 0)  # type: ignore[arg-type]


def shared(rank: int, size: int) -> Group:
    group = Group()
    group.rank, group.size = rank, size
    return group


@pytest.mark.parametrize(
    ("batch_size", "parts"),
    [
        (6, [(2, 2, 2)] * 6),
        (8, [(3, 3, 2), (3, 2, 3), (2, 3, 3)] * 2),
        (4, [(2, 1, 1), (1, 2, 1), (1, 1, 2)] * 2),
        (2, [(1, 1, 0), (1, 0, 1), (0, 1, 1)] * 2),
    ],
)
def test_every_update_has_equal_parts_of_the_tasks_and_what_is_left_over_takes_turns(
    batch_size: int, parts: list[tuple[int, ...]]
) -> None:
    shares = [update.share(Group()) for update in updates(batch_size)]

    assert [tuple(len(share[task]) for task in TASKS) for share in shares] == parts


def test_every_task_is_seen_in_epochs_of_its_own() -> None:
    shares = [update.share(Group()) for update in updates(6, 48)]  # 96 examples of each task, which has 48

    for task, numbers in tiny().joint.tasks.items():
        seen = [number for share in shares for number in share[task]]
        assert set(Counter(seen[:48]).values()) == set(Counter(seen[48:]).values()) == {1}
        assert sorted(seen[:48]) == list(numbers)
        assert seen[:48] != seen[48:]


@pytest.mark.slow
def test_one_task_alone_is_an_ordinary_training_bit_for_bit() -> None:
    bench, other = tiny(), tiny()

    joint = fit(LoRA(), RANK, 3, RECIPE, Union({"squares": bench.train}))  # type: ignore[arg-type]
    plain = fit(LoRA(), RANK, 3, RECIPE, other.train)  # type: ignore[arg-type]

    assert not unequal(joint.change, plain.change)
    assert joint.losses == plain.losses


def test_the_workers_share_an_update_and_some_may_lack_a_task() -> None:
    update = updates(4)[0]

    first, second, third = (update.share(shared(rank, 3)) for rank in range(3))

    assert sorted(number for share in (first, second, third) for own in share.values() for number in own) == sorted(
        update.examples
    )
    assert [len(first[task]) for task in TASKS] == [1, 0, 1]
    assert [len(second[task]) for task in TASKS] == [1, 0, 0]


@pytest.mark.parametrize(("micro_batch", "sizes"), [(None, [3, 3, 2]), (2, [2, 1, 2, 1, 2])])
def test_a_micro_batch_holds_one_task_and_every_hook_is_told_which(micro_batch: int | None, sizes: list[int]) -> None:
    method, recipe = Noting(), replace(WHOLE, updates=1)

    fit(method, RANK, 0, recipe, tiny().joint, micro_batch=MicroBatchSize(micro_batch))

    assert [count for _, _, count in method.seen] == sizes
    assert [task for task, _, _ in method.seen] == [task for _, task, _ in method.seen]
    assert tuple(dict.fromkeys(task for task, _, _ in method.seen)) == TASKS


def test_an_ordinary_training_names_no_task() -> None:
    method = Noting()
    Noting.started.clear()

    fit(method, RANK, 0, replace(WHOLE, updates=1), tiny().train)

    assert method.seen == [("", "", 8)]
    assert Noting.started[0].together == ()


@pytest.mark.slow
def test_any_micro_batch_makes_the_same_update() -> None:
    whole, parts = (
        fit(LoRA(), RANK, 0, WHOLE, tiny().joint, micro_batch=MicroBatchSize(size))  # type: ignore[arg-type]
        for size in (None, 1)
    )

    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)


def test_a_micro_batch_that_does_not_fit_is_halved_from_the_size_that_it_had(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @dataclass(kw_only=True)
    class Crowded(Noting):
        def backward(self, step: Step) -> None:
            super().backward(step)
            if len(step.batch["labels"]) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")

    method = Crowded()

    fit(method, RANK, 0, replace(WHOLE, updates=1), tiny().joint, micro_batch=MicroBatchSize())

    assert [count for _, _, count in method.seen] == [3, *[1] * 8]
    assert caplog.messages[0].startswith("3 examples at once do not fit in memory; from now on, 1 are")


def test_the_first_examples_of_every_task_are_for_calibration() -> None:
    bench = tiny()
    Noting.started.clear()
    fit(Noting(), RANK, 0, replace(WHOLE, updates=1), bench.joint)

    (batch,) = Noting.started[0].calibration(2)

    wanted = bench.joint.training_batch([0, 1, 48, 49, 96, 97], WHOLE.max_length)
    assert torch.equal(batch["input_ids"], wanted["input_ids"])


class _Killed(Exception):  # noqa: N818  it simulates a kill signal
    """Ends a training as a kill would."""


@pytest.mark.slow
def test_a_joint_training_that_was_stopped_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    def die(index: int, total: int, loss: float) -> None:
        if index == 5:
            raise _Killed

    unbroken = fit(LoRA(), RANK, 0, RECIPE, tiny().joint)  # type: ignore[arg-type]
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(_Killed):
        fit(LoRA(), RANK, 0, RECIPE, tiny().joint, checkpoint=path, every=3, progress=die)  # type: ignore[arg-type]
    resumed = fit(LoRA(), RANK, 0, RECIPE, tiny().joint, checkpoint=path)  # type: ignore[arg-type]

    assert not unequal(unbroken.change, resumed.change)
    assert unbroken.losses == resumed.losses


@pytest.fixture
def request_of(tiny_suite: Suite, squares: Tasks) -> Request:
    squares.registry.add(Noting)
    return Request(
        tiny_suite, ("lora",), (2,), ("old_squares", "new_squares"), (), tiny_suite.recipe, tasks=squares, controls=True
    )


@pytest.mark.slow
def test_a_lane_trains_a_joint_trial_and_scores_all_its_tasks(request_of: Request, tmp_path: Path) -> None:
    tasks, store = ("new_squares", "old_squares"), Store(tmp_path / "runs")
    store.prepare()
    alone = cell_trial(request_of, "noting", 2, tasks[0], 0)
    whole = replace(alone.recipe, updates=2 * alone.recipe.updates)
    trial = replace(alone, target="+".join(tasks), together=tasks, recipe=whole)
    asked = tuple(ScoreSpec(task, "test", 4, "", 4, "") for task in tasks)
    Noting.started.clear()

    record = TrialRunner(store, request_of.suite.folder, request_of.tasks).run(Job(trial, asked))

    assert record.error is None
    assert len(record.scores) == 2
    start = Noting.started[0]
    assert (start.stage, start.tasks, start.together) == (1, ("new_squares+old_squares",), tasks)
    assert len(store.change_of(trial).losses()) == 2 * request_of.recipe.updates


@pytest.mark.slow
def test_a_joint_method_answers_each_task_with_its_own_change(request_of: Request, tmp_path: Path) -> None:
    tasks, store = ("new_squares", "old_squares"), Store(tmp_path / "runs")
    store.prepare()
    alone = cell_trial(request_of, "mtl_lora", 2, tasks[0], 0)
    trial = replace(alone, target="+".join(tasks), together=tasks)
    asked = tuple(ScoreSpec(task, "test", 4, "", 4, "") for task in tasks)

    record = TrialRunner(store, request_of.suite.folder, request_of.tasks).run(Job(trial, asked))

    assert record.error is None
    stored = store.change_of(trial)
    assert list(stored.bank()) == ["new_squares"]
    assert unequal(stored.bank()["new_squares"], stored.read())
