import platform
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.errors import DataError, TrialError
from bench.model import resident
from bench.model.change import Change, Dense
from bench.model.decoding import greedy
from bench.model.holding import holding
from bench.model.resident import Base, Form
from bench.plan.plan import Cell, Plan, assemble, edited, make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.method import Step
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.store.changes import CHECKPOINT, StoredChange
from bench.store.run_folder import Store
from bench.store.scores import StoredScores
from bench.store.unfinished import MARK
from bench.trial import evaluate as evaluation
from bench.trial import vision
from bench.trial.runner import TrialRunner, _finite
from bench.values.job import Job
from bench.values.scores import ScoreSpec
from tests.making.plugins import Vandal
from tests.making.records import done, weights
from tests.making.towers import counted_passes
from tests.making.trials import TRIAL

LoRA = Registry().method("lora")


@dataclass(kw_only=True)
class Stumbler(LoRA):  # type: ignore[valid-type, misc]
    """LoRA that fails once, after its first checkpoint."""

    name: ClassVar[str] = "stumbler"
    healthy: ClassVar[bool] = False
    count_: int = field(default=0, init=False)

    def on_update(self, step: Step) -> None:
        self.count_ += 1
        if step.index == 55 and not self.healthy:
            raise RuntimeError("stumbled")


@pytest.fixture
def plan_of(tiny_suite: Suite, squares: Tasks, tmp_path: Path) -> Callable[..., tuple[Plan, Store, TrialRunner]]:
    def build(*methods: str, folder: str = "runs", **changes: object) -> tuple[Plan, Store, TrialRunner]:
        recipe = replace(tiny_suite.recipe, **changes)  # type: ignore[arg-type]
        store = Store(tmp_path / folder)
        store.prepare()
        request = Request(tiny_suite, methods, (2,), tiny_suite.targets, tiny_suite.sources, recipe, tasks=squares)
        return make(request, store), store, TrialRunner(store, tiny_suite.folder, squares)

    return build


def run_all(plan: Plan, bench: TrialRunner) -> None:
    for job in plan.jobs:
        bench.run(job)


def of(plan: Plan, method: str) -> Job:
    return next(job for job in plan.jobs if job.trial.method == method)


@pytest.mark.slow
def test_a_trial_leaves_record_change_losses_and_one_row_per_example(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, store, bench = plan_of("lora")

    run_all(plan, bench)

    record = store.read(of(plan, "lora").trial)
    assert record is not None
    assert record.status == "done"
    assert record.cost.trainable_parameters > 0
    assert record.cost.peak_memory_bytes > 0
    assert len(store.change_of(record.trial).losses()) == plan.request.recipe.updates
    assert len(record.scores) == 2
    for score in record.scores.values():
        assert len(store.scores_of(record.trial).read(score)) == score.asked.count


def test_a_score_says_that_memory_made_its_batches_smaller(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _, bench = plan_of("lora")

    def crowded(model: object, batch: dict[str, torch.Tensor], *rest: object) -> object:
        if len(batch["input_ids"]) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return greedy(model, batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluation, "greedy", crowded)

    record = bench.run(plan.jobs[0])

    assert {score.asked.count for score in record.scores.values()} == {12}
    assert [score.environment["eval_batch"] for score in record.scores.values()] == ["64 and 6"] * 2


@pytest.mark.slow
def test_a_trial_is_merged_once_for_all_its_scores(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _, bench = plan_of("lora")
    merges: list[int] = []

    def counted(*arguments: object) -> object:
        merges.append(1)
        return holding(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(resident, "holding", counted)

    record = bench.run(of(plan, "lora"))

    assert (len(record.scores), len(merges)) == (2, 1)


@pytest.mark.slow
def test_the_identity_change_scores_exactly_the_zero_shot_numbers(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, store, bench = plan_of("lora", lr=0.0, connector="frozen")

    run_all(plan, bench)

    record, zero_shot = store.read(of(plan, "lora").trial), store.read(plan.zero_shot)
    assert record is not None
    assert zero_shot is not None
    assert len(record.scores) == 2
    for key, score in record.scores.items():
        assert store.scores_of(record.trial).read(score) == store.scores_of(zero_shot.trial).read(zero_shot.scores[key])


@pytest.mark.slow
def test_a_finished_trial_is_not_done_again(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store, bench = plan_of("lora")
    run_all(plan, bench)
    before = store.read(of(plan, "lora").trial)
    monkeypatch.setattr("bench.trial.runner.fit", None)  # calling either would raise
    monkeypatch.setattr("bench.trial.scoring.evaluate", None)

    after = bench.run(of(plan, "lora"))

    assert before is not None
    assert after.scores == before.scores
    assert make(plan.request, store).pending == ()


@pytest.mark.slow
def test_a_failed_attempt_at_one_more_score_keeps_those_that_were_done(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store, bench = plan_of("lora")
    run_all(plan, bench)
    monkeypatch.setattr("bench.trial.scoring.evaluate", None)
    failed = bench.run(of(make(replace(plan.request, limit=5), store), "lora"))

    assert failed.status == "failed"
    assert make(plan.request, store).pending == ()


@pytest.mark.slow
@pytest.mark.parametrize("family", [StoredChange, StoredScores, Store])
def test_a_trial_killed_at_any_commit_ends_as_an_unbroken_one(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], monkeypatch: pytest.MonkeyPatch, family: type
) -> None:
    plan, store, bench = plan_of("lora", dropout=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(family, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            bench.run(of(plan, "lora"))

    record = bench.run(of(plan, "lora"))

    alone, other, fresh = plan_of("lora", folder="other", dropout=0.1)
    unbroken = fresh.run(of(alone, "lora"))
    assert weights(store, of(plan, "lora")) == weights(other, of(alone, "lora"))
    assert {key: score.metrics for key, score in record.scores.items()} == {
        key: score.metrics for key, score in unbroken.scores.items()
    }


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_damaged_change_is_learnt_again(plan_of: Callable[..., tuple[Plan, Store, TrialRunner]]) -> None:
    plan, store, bench = plan_of("lora", "dare")
    run_all(plan, bench)
    whole = weights(store, of(plan, "lora"))
    (store.folder(of(plan, "lora").trial) / "change" / "adapter_model.safetensors").write_bytes(b"damaged")

    record = bench.run(of(make(replace(plan.request, limit=5), store), "lora"))

    assert record.status == "done"
    assert weights(store, of(plan, "lora")) == whole


@pytest.mark.slow
def test_vision_features_are_computed_once_per_image_and_lane(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _, bench = plan_of("lora", "l2", "dare")
    seen = counted_passes(monkeypatch)

    run_all(plan, bench)

    new, old = bench.tasks.load("new_squares"), bench.tasks.load("old_squares")
    splits = [new.examples("train"), new.examples("test"), old.examples("test")]
    assert sum(seen) == sum(map(len, splits))


@pytest.mark.slow
def test_another_lane_maps_the_features_of_the_first_and_learns_and_answers_the_same(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    plan, apart, without = plan_of("lora", folder="apart")
    run_all(plan, without)
    monkeypatch.setattr(vision, "SMALL", 0)
    (_, store, one), (_, other_store, other) = plan_of("lora"), plan_of("lora", folder="other")
    run_all(plan, one)
    seen = counted_passes(monkeypatch)

    run_all(plan, other)

    job, stores = of(plan, "lora"), (store, other_store, apart)
    assert seen == []
    assert weights(store, job) == weights(other_store, job) == weights(apart, job)
    records = [each.read(job.trial) for each in stores]
    scores = [{key: score.metrics for key, score in record.scores.items()} for record in records if record]
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.slow
def test_a_method_that_writes_to_the_base_model_fails_and_the_next_trial_is_as_ever(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], squares: Tasks
) -> None:
    squares.registry.add(Vandal)
    plan, store, bench = plan_of("vandal", "lora")
    run_all(plan, bench)
    alone, other, fresh = plan_of("lora", folder="other")
    fresh.run(of(alone, "lora"))

    record = store.read(of(plan, "vandal").trial)

    assert record is not None
    assert "changes the base model's own" in str(record.error)
    assert weights(store, of(plan, "lora")) == weights(other, of(alone, "lora"))


@pytest.mark.slow
def test_a_missing_score_is_evaluated_from_the_stored_change_without_training(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store, bench = plan_of("lora")
    run_all(plan, bench)
    monkeypatch.setattr("bench.trial.runner.fit", None)  # calling it would raise
    fewer = make(replace(plan.request, limit=5), store)

    record = bench.run(of(fewer, "lora"))

    assert record.status == "done"
    assert len(record.scores) == 4


@pytest.mark.slow
def test_a_trial_gives_the_same_bytes_first_or_after_another(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, store, bench = plan_of("lora", "dora", "lorasculpt", dropout=0.1)
    run_all(plan, bench)
    alone, other, fresh = plan_of("lorasculpt", folder="other", dropout=0.1)

    fresh.run(of(alone, "lorasculpt"))

    assert weights(store, of(plan, "lorasculpt")) == weights(other, of(alone, "lorasculpt"))


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("the driver gave up")])
def test_a_run_folder_that_does_not_answer_fails_the_trial_and_overwrites_no_record(
    error: Exception,
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan, store, bench = plan_of("lora")
    known = done(of(plan, "lora"))
    store.write(known)

    def refused(*_: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(Store, "read", refused)
        record = bench.run(of(plan, "lora"))

    assert (record.trial, record.status) == (known.trial, "failed")
    assert str(error) in str(record.error)
    assert record.environment  # so that the command does not write it either
    assert f"The record of {known.trial.label} cannot be written: {error}" in caplog.text
    assert store.read(known.trial) == known


def test_a_failing_trial_is_a_failed_record_with_its_traceback(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, store, bench = plan_of("lora", lr=1.0, connector_lr=1e30)

    record = bench.run(of(plan, "lora"))

    assert record.status == "failed"
    assert "loss is" in str(record.error)
    assert "Traceback" in (store.folder(record.trial) / "error.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_training_that_stumbled_goes_on_from_its_checkpoint_to_the_same_bytes(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], squares: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares.registry.add(Stumbler)
    plan, store, bench = plan_of("stumbler", updates=60, dropout=0.1)
    failed = bench.run(of(plan, "stumbler"))
    assert (store.folder(failed.trial) / CHECKPOINT).is_file()
    monkeypatch.setattr(Stumbler, "healthy", True)

    resumed = bench.run(of(plan, "stumbler"))

    unbroken, other, fresh = plan_of("stumbler", folder="other", updates=60, dropout=0.1)
    fresh.run(of(unbroken, "stumbler"))
    assert (failed.status, resumed.status) == ("failed", "done")
    assert weights(store, of(plan, "stumbler")) == weights(other, of(unbroken, "stumbler"))
    assert store.change_of(resumed.trial).losses() == other.change_of(resumed.trial).losses()


@pytest.mark.slow
def test_a_training_that_went_on_elsewhere_says_all_that_it_was_learnt_with(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], squares: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares.registry.add(Stumbler)
    plan, _, bench = plan_of("stumbler", updates=57)
    monkeypatch.setattr(platform, "machine", lambda: "one")
    bench.run(of(plan, "stumbler"))
    monkeypatch.setattr(Stumbler, "healthy", True)
    monkeypatch.setattr(platform, "machine", lambda: "another")

    resumed = bench.run(of(plan, "stumbler"))

    assert resumed.environment["machine"] == "one and another"
    assert resumed.environment["device"] == "cpu"


@pytest.mark.slow
def test_answers_are_the_same_at_batch_size_one_and_many(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    from bench.model.holding import holding
    from bench.trial.evaluate import evaluate

    plan, store, bench = plan_of("lora")
    run_all(plan, bench)
    base = bench.warm.base(Form())
    corpus = bench.warm.corpus(Form(), plan.request.targets[0], "test", plan.request.recipe.template)
    asked = ScoreSpec(corpus.task.name, "test", len(corpus.examples), "", 4, "")

    with holding(base.model, store.change_of(of(plan, "lora").trial).read(), base.pristine) as model:
        one = evaluate(model, corpus, asked, batch_size=1)
        many = evaluate(model, corpus, asked, batch_size=7)

    assert one == many


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_stopped_and_leaves_nothing_behind(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store, bench = plan_of("lora")
    bench.scorer.resources = replace(bench.resources, eval_batch_size=5)
    asked: list[int] = []
    answer = evaluation.answer

    def dying(model: object, corpus: object, indices: Sequence[int], *rest: object, **more: object) -> list[str]:
        if len(asked) == 4:  # in the second score, after the first of its three batches
            raise KeyboardInterrupt
        asked.append(len(indices))
        return answer(model, corpus, indices, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "answer", dying)
        with pytest.raises(KeyboardInterrupt):
            bench.run(of(plan, "lora"))
    folder = store.folder(of(plan, "lora").trial) / "scores"
    assert sum(MARK in path.name for path in folder.iterdir()) == 1
    assert asked == [5, 5, 2, 5]

    heard: list[tuple[str, int, int]] = []
    record = bench.run(of(plan, "lora"), lambda stage, done, total, loss: heard.append((stage, done, total)))

    whole, other, fresh = plan_of("lora", folder="other")
    unbroken = fresh.run(of(whole, "lora"))
    assert [item for item in heard if item[0] == "evaluate"] == [
        ("evaluate", done, 12) for done in (5, 10, 12)
    ]  # the second score alone, from its second batch on
    assert {path.name for path in folder.iterdir()} == {"numbers.bin", *(f"{key}.jsonl" for key in record.scores)}
    for key, score in record.scores.items():
        assert store.scores_of(record.trial).read(score) == other.scores_of(unbroken.trial).read(unbroken.scores[key])


@pytest.mark.slow
def test_a_score_says_what_it_took_and_what_it_was_generated_with(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, store, bench = plan_of("lora")
    bench.scorer.resources = replace(bench.resources, eval_batch_size=3)

    bench.run(of(plan, "lora"))

    record = store.read(of(plan, "lora").trial)
    assert record is not None
    assert len(record.scores) == 2
    for score in record.scores.values():
        assert 0 < score.seconds <= record.cost.evaluate_seconds
        assert score.environment["eval_batch"] == "3"
        assert score.environment["dtype"] == "float32"
        assert score.environment["attention"] == "sdpa"


@pytest.mark.slow
def test_pristine_weights_are_back_bit_for_bit_after_a_merge(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, _, bench = plan_of("lora", "model_tailor")

    run_all(plan, bench)

    base = bench.warm.base(Form())
    for name, parameter in base.model.named_parameters():
        assert torch.equal(parameter, base.pristine[name]), name


@pytest.mark.slow
def test_a_truncated_checkpoint_is_named_and_the_training_starts_anew(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], caplog: pytest.LogCaptureFixture
) -> None:
    plan, store, bench = plan_of("lora")
    checkpoint = store.folder(of(plan, "lora").trial) / CHECKPOINT
    checkpoint.parent.mkdir()
    torch.save({"index": 3}, checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])

    record = bench.run(of(plan, "lora"))

    assert record.status == "done"
    assert f"{checkpoint} is damaged" in caplog.text


@pytest.mark.slow
def test_a_checkpoint_of_another_workers_gpu_goes_on_here(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], squares: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares.registry.add(Stumbler)
    plan, _, bench = plan_of("stumbler", updates=60)
    with monkeypatch.context() as patch:
        patch.setattr("torch.serialization.location_tag", lambda storage: "cuda:3")
        bench.run(of(plan, "stumbler"))
    monkeypatch.setattr(Stumbler, "healthy", True)
    updates: list[int] = []

    resumed = bench.run(
        of(plan, "stumbler"), lambda stage, done, *_: updates.append(done) if stage == "train" else None
    )

    assert resumed.status == "done"
    assert updates == list(range(51, 61))


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"hello world" * 100], ids=["empty", "zeros", "text"])
def test_whatever_a_crash_left_of_a_checkpoint_the_training_starts_anew(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]], caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    plan, store, bench = plan_of("lora")
    checkpoint = store.folder(of(plan, "lora").trial) / CHECKPOINT
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(content)

    record = bench.run(of(plan, "lora"))

    assert record.status == "done"
    assert f"{checkpoint} is damaged" in caplog.text


@pytest.mark.slow
def test_a_snapshot_is_what_a_shorter_look_at_the_same_training_gives(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, store, bench = plan_of("lora")
    job = replace(of(plan, "lora"), snapshots=(2, 4))

    bench.run(job)

    last = plan.request.recipe.updates
    early, late = (store.change_of(job.trial).read(step) for step in (2, 4))
    name = next(iter(early))
    assert not torch.equal(early[name].merged(torch.zeros(())), late[name].merged(torch.zeros(())))
    whole, again, bench_again = plan_of("lora", folder="again")
    bench_again.run(replace(of(whole, "lora"), snapshots=(last,)))
    assert (again.change_of(job.trial).snapshot(last).folder / "adapter_model.safetensors").read_bytes() == weights(
        store, job
    )


@pytest.mark.slow
def test_a_snapshot_that_is_missing_is_trained_again_to_the_same_bytes(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, store, bench = plan_of("lora")
    job = of(plan, "lora")
    bench.run(job)
    before = weights(store, job)

    bench.run(replace(job, snapshots=(3,)))

    assert store.change_of(job.trial).snapshot(3).folder.is_dir()
    assert weights(store, job) == before


@pytest.mark.slow
def test_an_edit_of_a_snapshot_edits_that_snapshot(plan_of: Callable[..., tuple[Plan, Store, TrialRunner]]) -> None:
    plan, store, bench = plan_of("lora")
    parent = of(plan, "lora").trial
    early = edited(plan.request.registry, parent, "rewind", 3, strength=1.0)
    made = assemble(plan.request, [Cell.of(plan.request.registry, early)], store)

    run_all(made, bench)

    (job,) = [job for job in made.jobs if job.trial.id == parent.id]
    assert job.snapshots == (3,)
    snapshot = (store.change_of(parent).snapshot(3).folder / "adapter_model.safetensors").read_bytes()
    assert (store.folder(early) / "change" / "adapter_model.safetensors").read_bytes() == snapshot
    assert not assemble(plan.request, [Cell.of(plan.request.registry, early)], store).pending


@pytest.mark.slow
def test_a_method_that_mixes_sees_the_sources_and_its_edits_are_calibrated_on_the_target(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, store, bench = plan_of("lora", "replay")
    replay, plain = (of(plan, method) for method in ("replay", "lora"))
    edit = Job(edited(plan.request.registry, replay.trial, "model_tailor"), replay.asked)

    records = [bench.run(job) for job in (plain, replay, edit)]

    assert [record.status for record in records] == ["done"] * 3
    assert replay.trial.sources == ("old_squares",)
    losses, plain_losses = (store.change_of(job.trial).losses() for job in (replay, plain))
    assert losses != plain_losses
    assert len(losses) == len(plain_losses) == replay.trial.recipe.updates
    assert {key[1] for key in bench.warm._corpora if key[2] == "train"} == {"new_squares", "old_squares"}


@pytest.mark.slow
def test_a_stopped_training_leaves_no_record_and_goes_on_later_to_the_same_bytes(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, store, bench = plan_of("lora")
    job = of(plan, "lora")
    watched = replace(job, snapshots=(2, 4), rungs=tuple(replace(asked, count=4) for asked in job.asked))
    seen: list[tuple[int, float, float]] = []

    def judge(step: int, source: float, target: float) -> bool:
        seen.append((step, source, target))
        return step < 4

    stopped = bench.run(watched, judge=judge)

    assert stopped.status == "stopped"
    assert store.read(job.trial) is None
    assert [step for step, _, _ in seen] == [2, 4]
    assert (store.folder(job.trial) / CHECKPOINT).is_file()

    def watch(step: int, source: float, target: float) -> bool:
        seen.append((step, source, target))
        return True

    finished = bench.run(watched, judge=watch)

    assert finished.status == "done"
    assert seen[2:] == seen[:2]  # judged again, by the same scores
    whole, other, fresh = plan_of("lora", folder="whole")
    fresh.run(of(whole, "lora"))
    assert weights(store, job) == weights(other, of(whole, "lora"))


@pytest.mark.slow
def test_a_checkpoint_past_a_snapshot_that_is_wanted_now_is_no_use(
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
) -> None:
    plan, store, bench = plan_of("lora")
    job = of(plan, "lora")
    rungs = tuple(replace(asked, count=4) for asked in job.asked)
    bench.run(replace(job, snapshots=(4,), rungs=rungs), judge=lambda step, source, target: False)
    assert (store.folder(job.trial) / CHECKPOINT).is_file()  # at step 4
    seen: list[int] = []

    def watch(step: int, source: float, target: float) -> bool:
        seen.append(step)
        return True

    record = bench.run(replace(job, snapshots=(2, 4), rungs=rungs), judge=watch)

    assert record.status == "done"
    assert seen == [2, 4]
    assert store.change_of(job.trial).snapshot(2).folder.is_dir()


@dataclass(kw_only=True)
class Overflow(LoRA):  # type: ignore[valid-type, misc]
    """LoRA that breaks in one of several places."""

    name: ClassVar[str] = "overflow"
    where: ClassVar[str] = "weights"

    def on_update(self, step: Step) -> None:
        if self.where == "weights" and step.index + 1 == step.total:
            next(value for value in step.model.parameters() if value.requires_grad).fill_(float("nan"))
        if self.where == "logits" and step.index + 1 == step.total:
            for value in step.model.parameters():
                if value.requires_grad:
                    value.fill_(1e18)

    def penalty(self, step: Step) -> torch.Tensor | None:
        trained = next(value for value in step.model.parameters() if value.requires_grad)
        return trained.sum() * float("inf") if self.where == "penalty" else None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("weights", r"the change of .*weight is not finite.*\(--set overflow\.lr="),
        ("penalty", r"The penalty of overflow is -?(nan|inf) at update 1\. .*learning rate \(--set overflow\.lr="),
        ("logits", r"not finite"),
    ],
)
def test_what_is_not_finite_fails_the_trial_and_leaves_no_score(
    where: str,
    reason: str,
    plan_of: Callable[..., tuple[Plan, Store, TrialRunner]],
    squares: Tasks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    squares.registry.add(Overflow)
    monkeypatch.setattr(Overflow, "where", where)
    plan, store, bench = plan_of("overflow")

    record = bench.run(of(plan, "overflow"))

    assert record.status == "failed"
    assert re.search(reason, record.error or "")
    assert record.scores == {}
    if where != "logits":
        assert store.change_of(record.trial).facts() is None


def test_an_edit_that_is_not_finite_names_the_method_whose_learning_rate_to_lower() -> None:
    stage = replace(TRIAL, method="l2", target="next", parent=TRIAL)
    edit = replace(stage, method="dare", parent=stage)
    change = Change({"x.weight": Dense(torch.full((2, 2), float("inf")))})

    with pytest.raises(TrialError, match=r"^dare-.* x\.weight is not finite\. .*\(--set l2\.lr=…\)\.$"):
        _finite(change, edit)


def test_a_base_with_a_weight_that_is_not_finite_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("layers.1.mlp.up_proj.weight"))
    tensors[name][0, 0] = float("inf")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    with pytest.raises(DataError, match=r"has a weight that is not finite in float32: .*up_proj\.weight"):
        Base.load(folder, Form(), torch.device("cpu"))
    tensors[name][0, 0] = 1e6  # finite, but not in float16
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"not finite in float16"):
        Base.load(folder, Form("float16"), torch.device("cpu"))
