"""Stages of a sequence of tasks, as a lane trains them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from bench.checks.runs import unequal
from bench.model.change import Change, Dense, LowRank, Replaced
from bench.model.joining import plus
from bench.plan.cell_trials import cell_trial
from bench.plan.plan import edited
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.method import Start, Step
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.trial.runner import TrialRunner
from bench.values.job import Job
from bench.values.record import Record
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial

LoRA = Registry().method("lora")
SEQUENCE = [name for name in Registry().names("method") if Registry().method(name).made_for == "sequence"]


@dataclass(kw_only=True)
class Noting(LoRA):  # type: ignore[valid-type, misc]
    """LoRA that keeps a counter of stages, banks what it has learnt, and notes what it starts from."""

    name: ClassVar[str] = "noting"
    started: ClassVar[list[Start]] = []

    stages_: Tensor = field(init=False, default_factory=lambda: torch.zeros(1))

    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        self.started.append(start)
        self.stages_ = start.kept.get("stages", torch.zeros(1)) + 1
        self.previous = start.previous
        self.tasks = start.tasks

    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        return {"stages": self.stages_}

    def bank(self, model: nn.Module) -> Mapping[str, Change]:
        return {task: self.previous for task in self.tasks[:-1]}


@dataclass(kw_only=True)
class Folding(LoRA):  # type: ignore[valid-type, misc]
    """LoRA that trains new factors on the merged change of the earlier stages."""

    name: ClassVar[str] = "folding"
    folds: ClassVar[bool] = True


@dataclass(kw_only=True)
class Stumbling(LoRA):  # type: ignore[valid-type, misc]
    """LoRA that fails once in its second stage, after a checkpoint."""

    name: ClassVar[str] = "stumbling"
    healthy: ClassVar[bool] = False
    stage_: int = field(default=0, init=False)

    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        self.stage_ = start.stage

    def on_update(self, step: Step) -> None:
        if step.index == 3 and self.stage_ == 2 and not self.healthy:
            raise RuntimeError("stumbled")


SPEC = ("test", 4, "", 4, "")
TASKS = ("new_squares", "old_squares")


@pytest.fixture
def lane(tiny_suite: Suite, squares: Tasks, tmp_path: Path) -> Callable[..., tuple[TrialRunner, Request]]:
    """A function that returns a lane with a run folder of its own, and a request for two tasks."""

    def build(folder: str = "runs", **changes: object) -> tuple[TrialRunner, Request]:
        for plugin in (Noting, Folding, Stumbling):
            squares.registry.add(plugin)
        store = Store(tmp_path / folder)
        store.prepare()
        recipe = replace(tiny_suite.recipe, **changes)  # type: ignore[arg-type]
        request = Request(tiny_suite, ("lora",), (2,), TASKS, (), recipe, tasks=squares)
        return TrialRunner(store, tiny_suite.folder, squares), request

    return build


def chain(request: Request, method: str, edit: str = "") -> list[Trial]:
    """Return the trial of every stage, edited if ``edit`` says so, parents first."""
    trials: list[Trial] = []
    for task in TASKS:
        parent = trials[-1] if trials else None
        trials.append(replace(cell_trial(request, method, 2, task, 0), parent=parent))
        if edit:
            trials.append(edited(request.registry, trials[-1], edit))
    return trials


def run(lane: TrialRunner, trials: list[Trial]) -> list[Record]:
    records = [lane.run(Job(trial, tuple(ScoreSpec(task, *SPEC) for task in TASKS))) for trial in trials]
    assert [record.error for record in records] == [None] * len(trials)
    return records


@pytest.mark.slow
def test_a_stage_continues_what_the_stage_before_has_learnt(lane: Callable[..., tuple[TrialRunner, Request]]) -> None:
    runner, request = lane()
    first, second = chain(request, "noting")
    Noting.started.clear()

    run(runner, [first, second])

    starts = [start for start in Noting.started if start.stage == 2]
    learnt = runner.store.change_of(first).read()
    assert not unequal(starts[0].previous, learnt)
    assert starts[0].tasks == TASKS
    assert not starts[0].folded
    assert runner.store.change_of(second).kept() == {"stages": torch.tensor([2.0])}
    assert (first.label, second.label) == ("noting-r2-new_squares-s0", "noting-r2-new_squares.old_squares-s0")


@pytest.mark.slow
def test_earlier_tasks_are_answered_with_the_change_of_the_bank(
    lane: Callable[..., tuple[TrialRunner, Request]],
) -> None:
    runner, request = lane(lr=0.1)
    first, second = chain(request, "noting")

    one, two = run(runner, [first, second])

    key = ScoreSpec(TASKS[0], *SPEC).key
    scores = [runner.store.scores_of(record.trial).read(record.scores[key]) for record in (one, two)]
    assert scores[0] == scores[1]  # the bank answers the first task with the first stage's change
    assert not unequal(runner.store.change_of(second).bank()[TASKS[0]], runner.store.change_of(first).read())
    assert unequal(runner.store.change_of(second).read(), runner.store.change_of(first).read())


@pytest.mark.slow
def test_a_stage_that_folds_adds_its_own_change_to_the_earlier_ones(
    lane: Callable[..., tuple[TrialRunner, Request]],
) -> None:
    runner, request = lane()
    first, second = chain(request, "folding")

    run(runner, [first, second])

    stored = runner.store.change_of(second)
    before, own, whole = runner.store.change_of(first).read(), stored.own(), stored.read()
    assert not unequal(plus(before, own), whole)
    name = next(name for name, delta in own.items() if isinstance(delta, LowRank))
    joint, parts = whole[name], [before[name], own[name]]
    assert isinstance(joint, LowRank)
    assert joint.a.shape[0] == 4
    torch.testing.assert_close(joint.product(), sum(part.product() for part in parts if isinstance(part, LowRank)))
    assert not runner.warm.heal()


@pytest.mark.slow
@pytest.mark.parametrize("edit", ["lines", "dare", "model_tailor", "rewind"])
def test_an_edit_after_a_stage_changes_only_what_the_stage_has_learnt(
    lane: Callable[..., tuple[TrialRunner, Request]], edit: str
) -> None:
    runner, request = lane()
    first, edited_first, second, edited_second = chain(request, "lora", edit)

    run(runner, [first, edited_first, second, edited_second])

    before = runner.store.change_of(edited_first).read()
    own = runner.store.change_of(second).own()
    weights = runner.warm.base(next(iter(runner.warm._bases))).pristine
    for name, delta in runner.store.change_of(edited_second).read().items():
        if isinstance(delta, Replaced):
            continue
        weight = weights[name].float()
        left = delta.merged(weight) - before[name].merged(weight)
        whole = own[name].merged(weight) - weight
        assert not torch.equal(left, whole)
        if edit == "rewind":
            torch.testing.assert_close(left, whole * 0.5, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_stage_that_was_stopped_resumes_to_the_same_bytes(lane: Callable[..., tuple[TrialRunner, Request]]) -> None:
    runner, request = lane()
    trials = chain(request, "stumbling")
    Stumbling.healthy = True
    run(runner, trials)
    other, _ = lane("other")

    Stumbling.healthy = False
    failed = [other.run(Job(trial, ())) for trial in trials]
    Stumbling.healthy = True
    run(other, trials)

    assert [record.error and "stumbled" in record.error for record in failed] == [None, True]
    assert not unequal(runner.store.change_of(trials[1]).read(), other.store.change_of(trials[1]).read())


@pytest.mark.slow
def test_stages_draw_other_starts_and_a_reordered_sequence_has_other_ids(
    lane: Callable[..., tuple[TrialRunner, Request]],
) -> None:
    runner, request = lane()
    first, second = chain(request, "folding")
    run(runner, [first, second])

    one, two = runner.store.change_of(first).read(), runner.store.change_of(second).own()
    name = next(name for name, delta in one.items() if isinstance(delta, LowRank))
    assert not torch.equal(one[name].tensors()["a"], two[name].tensors()["a"])
    alone = cell_trial(request, "folding", 2, "old_squares", 0)
    assert second.id != alone.id
    assert first == cell_trial(request, "folding", 2, "new_squares", 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCE)
def test_a_method_for_sequences_trains_three_stages_of_which_the_first_is_its_ordinary_trial(
    lane: Callable[..., tuple[TrialRunner, Request]], name: str
) -> None:
    runner, request = lane()
    first, second = chain(request, name)
    third = replace(cell_trial(request, name, 2, TASKS[0], 0), parent=second)

    records = run(runner, [first, second, third])

    assert first.id == cell_trial(request, name, 2, TASKS[0], 0).id
    assert len({record.trial.id for record in records}) == 3
    learnt = [runner.store.change_of(trial).read() for trial in (first, second, third)]
    assert unequal(learnt[0], learnt[1])
    assert unequal(learnt[1], learnt[2])
    assert not runner.warm.heal()


@pytest.mark.slow
def test_a_change_that_cannot_be_continued_is_refused_by_name(
    lane: Callable[..., tuple[TrialRunner, Request]],
) -> None:
    runner, request = lane()
    first, second = chain(request, "dora")
    mixed = replace(cell_trial(request, "lora", 2, "old_squares", 0), parent=first)
    run(runner, [first])

    record = runner.run(Job(mixed, ()))

    assert record.status == "failed"
    assert record.error is not None
    assert "The previous stage left a decomposed change" in record.error
    assert second.parent == first


def test_a_sum_with_a_change_that_depends_on_the_weight_is_refused() -> None:
    from bench.errors import PluginError
    from bench.model.change import Decomposed

    low = LowRank(torch.ones(2, 1), torch.ones(1, 3), 2.0)
    scaled = Decomposed(torch.ones(2, 1), torch.ones(1, 3), 2.0, torch.ones(2))
    dense = Dense(torch.ones(2, 3))

    assert torch.equal(plus(Change({"w": dense}), Change({"w": low}))["w"].tensors()["delta"], torch.full((2, 3), 3.0))
    with pytest.raises(PluginError, match="decomposed"):
        plus(Change({"w": scaled}), Change({"w": low}))
