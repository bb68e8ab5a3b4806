"""The ways through a trial other than the straight one give the CPU's numbers on the pretend device, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.checks.runs import unequal
from bench.cli.export import write_adapter, write_merged
from bench.model.resident import Form
from bench.plan.cell_trials import cell_trial
from bench.plan.chains import joint_trial
from bench.plan.plan import edited
from bench.plan.suite import SUITES
from bench.plugins.registry import Registry
from bench.store.changes import CHECKPOINT
from bench.trial import evaluate as evaluation
from bench.trial.runner import TrialRunner
from bench.trial.ways import unmerged
from bench.values.job import Job
from bench.values.recipe import Connector
from bench.values.record import Record
from bench.values.resources import Resources
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial
from tests.making.plugins import Vandal
from tests.matrix.cells import TRAINED, Cell, Choices, cell, cover, everything, has_own_stages
from tests.matrix.conftest import LanesOf
from tests.matrix.lanes import Lanes, suite_of
from tests.matrix.test_trials import jobs_of

pytestmark = pytest.mark.matrix

INTERRUPTIONS = ("none", "kill", "rung")
FACTORS = {
    "method": TRAINED,
    "recipe.connector": ("full", "frozen", "lora"),
    "recipe.train_dtype": ("float32", "bfloat16"),
    "checkpointing": (False, True),
    "interruption": INTERRUPTIONS,
}
ENGINE = {**FACTORS, "method": ("lora",)}
BROKEN_OFF = {**ENGINE, "checkpointing": (True,), "interruption": ("kill",)}
# In the selection, LoRA stands for every method where the engine alone decides, and every method is killed once with
# checkpointing, because its own hooks run again and its own state comes from the checkpoint.
SELECTION = [
    *cover(ENGINE, together=FACTORS),
    *({**row, "method": method} for method, row in zip(TRAINED, cycle(everything(BROKEN_OFF)), strict=False)),
]
STAGED = [name for name in TRAINED if has_own_stages(name)]
JOINT = ["lora", *(name for name in TRAINED if Registry().method(name).made_for == "joint")]
ONE_STAGE, SEVERAL_STAGES = (  # each method with two ways to train the connector; the selection takes one, in turn
    [
        pytest.param(method, connector, marks=[pytest.mark.selection] * (place % 2 == turn))
        for place, method in enumerate(methods)
        for turn, connector in enumerate(("full", "lora"))
    ]
    for methods in (JOINT, STAGED)
)
PATHS = [
    pytest.param(row, marks=[pytest.mark.selection] * (row in SELECTION), id="-".join(map(str, row.values())))
    for row in everything(FACTORS)
]


@pytest.fixture
def fresh_lanes(lanes_of: LanesOf, tmp_path: Path) -> LanesOf:
    """Return a function that makes lanes with empty run folders and base models that other trials have used."""
    return lambda connector, dtype: lanes_of(connector, dtype).elsewhere(tmp_path)


def own_job(cell: Cell, lanes: Lanes) -> Job:
    return jobs_of(cell, lanes)[-1]


def lora_job(lanes: Lanes) -> Job:
    recipe = lanes.request.recipe
    return own_job(Cell("lora", recipe.connector, recipe.train_dtype, {}), lanes)


@pytest.mark.parametrize("row", PATHS)
def test_a_training_that_spares_memory_or_is_broken_off_gives_the_cpus_numbers(
    row: Choices, fresh_lanes: LanesOf
) -> None:
    own = cell(str(row["method"]), {name: row[name] for name in ("recipe.connector", "recipe.train_dtype")})
    lanes = fresh_lanes(own.connector, own.dtype)
    lanes = lanes.again(Resources(eval_batch_size=2, plain_blocks=0 if row["checkpointing"] else None))
    job = replace(own_job(own, lanes), snapshots=(1,))
    if row["interruption"] == "kill":
        killed(lanes.pretend, job)
        lanes = lanes.again()
    if row["interruption"] == "rung":
        job = replace(job, rungs=job.asked)
        assert stopped(lanes.pretend, job) == stopped(lanes.cpu, job)

    lanes.run_both([job])


def killed(lane: TrialRunner, job: Job) -> None:
    """Run a job, and kill it in its last update; the checkpoint of the one before stays."""

    def kill(stage: str, done: int, total: int, loss: float) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lane.run(job, kill)
    assert (lane.store.folder(job.trial) / CHECKPOINT).is_file()


def stopped(lane: TrialRunner, job: Job) -> list[tuple[int, float, float]]:
    """Run a job that a search stops at its rung, and return what the search was told."""
    told = []

    def stop(step: int, source: float, target: float) -> bool:
        told.append((step, source, target))
        return False

    assert lane.run(job, judge=stop).status == "stopped"
    return told


@pytest.mark.parametrize(("method", "connector"), SEVERAL_STAGES)
def test_the_stages_of_a_sequence_give_the_cpus_numbers(method: str, connector: Connector, lanes_of: LanesOf) -> None:
    lanes, trials = lanes_of(connector, "float32"), list[Trial]()
    for task in ("new_squares", "old_squares"):
        alone = cell_trial(lanes.request, method, 2, task, 0)
        trials.append(replace(alone, parent=trials[-1] if trials else None))

    lanes.run_both([Job(trial, ()) for trial in trials])
    assert_handover_is_equal(trials[-1], lanes)


@pytest.mark.parametrize(("method", "connector"), ONE_STAGE)
def test_a_joint_training_gives_the_cpus_numbers(method: str, connector: Connector, lanes_of: LanesOf) -> None:
    lanes = lanes_of(connector, "float32")
    trial = joint_trial(lanes.request, method, 2, ["new_squares", "old_squares"], 0)

    lanes.run_both([Job(trial, ())])
    assert_handover_is_equal(trial, lanes)


def assert_handover_is_equal(trial: Trial, lanes: Lanes) -> None:
    """Compare what a training has left for the next stage and for single tasks in both lanes."""
    here, there = (lane.store.change_of(trial) for lane in (lanes.cpu, lanes.pretend))
    assert here.kept().keys() == there.kept().keys()
    assert all(torch.equal(value, there.kept()[name]) for name, value in here.kept().items())
    assert here.bank().keys() == there.bank().keys()
    assert not any(unequal(change, there.bank()[task]) for task, change in here.bank().items())


@pytest.mark.selection
def test_a_checkpoint_holds_tensors_of_the_device(fresh_lanes: LanesOf) -> None:
    lanes = fresh_lanes("full", "float32")
    job = replace(own_job(Cell("lorasculpt", "full", "float32", {"warmup": 0.0}), lanes), snapshots=(1,))
    killed(lanes.pretend, job)

    saved = torch.load(lanes.pretend.store.folder(job.trial) / CHECKPOINT, weights_only=True)

    assert {value.device.type for value in saved["parameters"]} == {"pretend"}
    assert {value.device.type for value in saved["method"]["masks_"].values()} == {"pretend"}


@pytest.mark.selection
def test_an_edit_of_a_snapshot_gives_the_cpus_numbers(fresh_lanes: LanesOf) -> None:
    lanes = fresh_lanes("full", "float32")
    parent = lora_job(lanes)
    early = edited(lanes.request.registry, parent.trial, "rewind", 1, strength=0.5)

    lanes.run_both([replace(parent, snapshots=(1,)), Job(early, parent.asked)])


@pytest.mark.selection
def test_a_killed_evaluation_resumes_to_the_cpus_answers(fresh_lanes: LanesOf, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = fresh_lanes("full", "float32").again(Resources(eval_batch_size=1))
    job, answer = lora_job(lanes), evaluation.answer
    batches: list[Sequence[int]] = []

    def dying(model: object, corpus: object, indices: Sequence[int], *rest: object, **more: object) -> list[str]:
        if batches:
            raise KeyboardInterrupt
        batches.append(indices)
        return answer(model, corpus, indices, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "answer", dying)
        with pytest.raises(KeyboardInterrupt):
            lanes.pretend.run(job)

    lanes.again().run_both([job])


@pytest.mark.selection
def test_only_the_form_in_use_is_on_the_device_and_a_lane_changes_between_two(fresh_lanes: LanesOf) -> None:
    lanes = fresh_lanes("full", "bfloat16")
    job, warm = lora_job(lanes), lanes.pretend.warm

    lanes.run_both([job])

    learnt, scored = warm.base(Form("bfloat16")), warm.base(Form("float32"))
    assert {value.device.type for value in scored.model.parameters()} == {"pretend"}
    assert {value.device.type for value in learnt.model.parameters()} == {"cpu"}
    warm.base(Form("bfloat16"))
    assert {(value.device.type, value.dtype) for value in learnt.model.parameters()} == {("pretend", torch.bfloat16)}
    assert {value.device.type for value in scored.model.parameters()} == {"cpu"}
    lanes.run_both([own_job(Cell("dora", "full", "bfloat16", {}), lanes)])


@pytest.mark.selection
def test_the_pristine_weights_are_back_on_the_device_after_all_trials(fresh_lanes: LanesOf) -> None:
    lanes = fresh_lanes("full", "float32")
    lanes.run_both(jobs_of(Cell("model_tailor", "full", "float32", {"blocksize": 16, "n_samples": 8}, "lora"), lanes))

    base = lanes.pretend.warm.base(Form())

    for name, value in base.model.named_parameters():
        assert torch.equal(value.detach().cpu(), base.pristine[name]), name


@pytest.mark.selection
def test_a_method_that_writes_to_the_base_model_fails_and_the_next_trial_has_the_cpus_numbers(
    fresh_lanes: LanesOf,
) -> None:
    lanes = fresh_lanes("full", "float32")
    lanes.request.registry.add(Vandal)
    trial = cell_trial(replace(lanes.request, methods=("vandal",)), "vandal", 2, lanes.request.targets[0], 0)

    record = lanes.pretend.run(Job(trial, ()))

    assert "changes the base model's own" in str(record.error)
    lanes.run_both([lora_job(lanes)])


@pytest.mark.selection
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_what_is_exported_has_the_cpus_bytes(
    method: str, fresh_lanes: LanesOf, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = fresh_lanes("full", "float32")
    monkeypatch.setitem(SUITES, "tiny", lanes.request.suite)
    job = own_job(Cell(method, "full", "float32", {}), lanes)
    lanes.run_both([job])

    files = [exported(lane, lane.store.read(job.trial), tmp_path) for lane in (lanes.cpu, lanes.pretend)]

    assert files[0] == files[1]
    assert {"adapter/adapter_model.safetensors", "merged/model.safetensors"} <= files[0].keys()


def exported(lane: TrialRunner, record: Record | None, folder: Path) -> dict[str, bytes]:
    """Export a trial both ways, and return the files' contents by path, without the cards, which name the device."""
    assert record is not None
    folder = folder / f"out-{lane.device.type}"
    write_adapter(record, lane.store, folder / "adapter")
    write_merged(record, lane.store, folder / "merged")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.selection
def test_answers_on_the_device_are_the_same_at_batch_size_one_and_many(fresh_lanes: LanesOf) -> None:
    lanes = fresh_lanes("lora", "float32")
    job = lora_job(lanes)
    lanes.run_both([job])
    change = lanes.pretend.store.change_of(job.trial).read()
    asked: ScoreSpec = job.asked[0]

    by_size = [
        lanes.again(Resources(eval_batch_size=size)).pretend.scorer.answers(job.trial, asked, change) for size in (1, 2)
    ]

    assert by_size[0] == by_size[1]


@pytest.mark.selection
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_live_adapters_answer_as_on_the_cpu(method: str, fresh_lanes: LanesOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(file: str, device: str) -> dict[str, torch.Tensor]:
        return {name: value.to(device) for name, value in load_file(file).items()}

    monkeypatch.setattr("peft.utils.save_and_load.safe_load_file", load)  # safetensors knows only real devices
    lanes = fresh_lanes("full", "float32")
    job = own_job(Cell(method, "full", "float32", {}), lanes)
    lanes.run_both([job])

    answers = [
        lane.scorer.answers(job.trial, job.asked[0], lane.store.change_of(job.trial).read(), unmerged)
        for lane in (lanes.cpu, lanes.pretend)
    ]

    assert answers[0] == answers[1]


@pytest.mark.selection
def test_training_in_bfloat16_and_answering_in_float16_gives_the_cpus_numbers(
    device: torch.device, tiny_folder: Path, tmp_path: Path
) -> None:
    suite = suite_of(tiny_folder, "full", "bfloat16")
    lanes = Lanes.of(replace(suite, recipe=replace(suite.recipe, eval_dtype="float16")), tmp_path, device)

    lanes.run_both(jobs_of(Cell("dare", "full", "bfloat16", {}, "lora"), lanes))
