import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from bench import Example, Split, UsageError
from bench.checks.tiny import Squares
from bench.lanes.broker import Broker
from bench.plan.cell_trials import cell_trial
from bench.plan.plan import Cell, Plan, assemble, edited, make
from bench.plan.request import Request
from bench.plan.suite import MICRO, Suite
from bench.plan.tuned import TunedChoice
from bench.plugins.groups import paper_methods
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.prepare.price.draft import draft
from bench.prepare.price.work import todo
from bench.store.run_folder import Store
from bench.values.canonical import sha256
from bench.values.job import Job
from bench.values.record import Record
from bench.values.trial import Trial
from tests.making.records import done


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """The suite micro with only the configuration of a base model, because planning reads no more."""
    folder = tmp_path / "model"
    folder.mkdir()
    text = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps({"text_config": text}), encoding="utf-8")
    return replace(MICRO, model=str(folder))


@pytest.fixture
def request_(suite: Suite, drawn_tasks: Tasks) -> Request:
    return Request(
        suite=suite,
        methods=paper_methods(Registry()),
        ranks=(16, 32, 64),
        targets=suite.targets,
        sources=suite.sources,
        recipe=suite.recipe,
        limit=20,
        tasks=drawn_tasks,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def finish(store: Store, job: Job) -> None:
    store.write(done(job))


def test_seven_methods_three_ranks_two_targets_are_42_cells_and_30_trainings(request_: Request, store: Store) -> None:
    plan = make(request_, store)

    assert len(plan.cells) == 42
    assert len(plan.trainings) == 30
    assert len(plan.jobs) == 43
    assert len(plan.pending) == 43


def test_the_cells_of_a_grid_are_those_of_each_cell_alone(request_: Request, store: Store) -> None:
    several = replace(request_, seeds=(3, 5), settings={"dare": {"drop_rate": 0.3}})

    for cell in make(several, store).cells:
        rank, target, seed = cell.slot
        alone = cell_trial(several, cell.trial.method, rank or 0, str(target), seed)
        assert cell == Cell.of(several.registry, alone)
        assert cell.key.remark == Cell.of(several.registry, alone).key.remark


def test_an_id_is_computed_once_a_trial(request_: Request, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = list[str]()

    def noted(text: str) -> str:
        names.append(text)
        return sha256(text)

    monkeypatch.setattr("bench.values.trial.sha256", noted)

    plan = make(replace(request_, seeds=(0, 1)), store)
    list(plan.lines())

    of_trials = [text for text in names if '"seed":' in text]
    assert len(plan.jobs) == len(plan.cells) + 1
    assert len(of_trials) == len(plan.jobs)


def test_the_totals_count_the_trials_of_each_method(request_: Request, store: Store) -> None:
    plan = make(request_, store)
    finish(store, next(job for job in plan.jobs if job.trial.method == "dare"))

    found = list(make(request_, store).totals())

    assert found[0].startswith("42 cells, 30 trainings; cached: 1 of 43 trials")
    assert [line.split() for line in found if "dare" in line] == [["dare", "5", "to", "do", "1", "cached"]]
    assert len(found) == 9


def test_parents_come_before_their_children(request_: Request, store: Store) -> None:
    seen: set[str] = set()

    for job in make(request_, store).jobs:
        assert job.trial.parent is None or job.trial.parent.id in seen
        seen.add(job.trial.id)


def test_an_edit_alone_implies_its_parent_which_owes_no_scores(request_: Request, store: Store) -> None:
    plan = make(replace(request_, methods=("dare",), ranks=(16,), targets=("icon_choice",)), store)

    parent = next(job for job in plan.jobs if job.trial.method == "lora")
    assert len(plan.cells) == 1
    assert parent.asked == ()


def test_what_the_store_has_is_not_pending(request_: Request, store: Store) -> None:
    plan = make(request_, store)
    for job in plan.jobs[:5]:
        finish(store, job)

    assert len(make(request_, store).pending) == 38


def test_a_failed_record_is_pending_again(request_: Request, store: Store) -> None:
    job = make(request_, store).jobs[1]
    store.write(Record(job.trial, "failed", error="x"))

    assert job in make(request_, store).pending


def test_lanes_do_every_job_of_a_plan_whose_parent_failed_after_the_scores_that_are_asked_for(
    request_: Request, store: Store
) -> None:
    small = replace(request_, methods=("lora", "dare"), ranks=(16,), targets=("icon_choice",))
    for job in (job for job in make(small, store).jobs if job.trial.method in {"lora", "zero_shot"}):
        store.write(replace(done(job), status="failed", error="while more examples were scored"))
    plan = make(small, store)

    broker, taken = Broker(plan.pending, plan.records), list[str]()
    while not broker.over and (next_job := broker.take(0)) is not None:
        taken.append(next_job.trial.method)
        broker.finish(0, done(next_job))

    assert taken == ["dare"]
    assert broker.over


@pytest.mark.parametrize(
    ("status", "committed", "trains"),
    [
        (None, False, True),
        (None, True, False),  # it was killed before its record was written
        ("failed", False, True),
        ("failed", True, False),
        ("done", True, False),
    ],
)
def test_a_trial_trains_and_edits_as_long_as_the_store_lacks_its_change(
    status: Literal["failed", "done"] | None, committed: bool, trains: bool, request_: Request, store: Store
) -> None:
    small = replace(request_, methods=("lora", "dare"), ranks=(16,), targets=("icon_choice",))
    for job in make(small, store).jobs[1:]:
        store.begin(job.trial)
        if status is not None:
            store.write(Record(job.trial, status))
        if committed:
            commit(store, job.trial)

    plan = make(small, store)

    _, lora, dare = plan.jobs
    examples = small.recipe.updates * small.recipe.batch_size
    answers = sum(item.count for item in lora.asked)
    assert plan.work(lora) == (trains * examples, answers)
    assert plan.work(dare) == (0, answers)
    assert [(item.trains, item.edits) for item in todo(plan)] == [(False, False), (trains, False), (False, trains)]


def test_a_training_whose_snapshot_is_missing_trains_again(request_: Request, store: Store) -> None:
    (cell,) = make(replace(request_, methods=("lora",), ranks=(16,), targets=("icon_choice",)), store).cells
    early = edited(request_.registry, cell.trial, "rewind", 50, strength=1.0)
    finish(store, Job(cell.trial, ()))

    plan = assemble(request_, [Cell.of(request_.registry, early)], store)

    assert [job.snapshots for job in plan.jobs] == [(), (50,), ()]
    assert [item.trains for item in todo(plan)] == [False, True, False]


def test_a_snapshot_that_is_only_partly_there_is_made_again(request_: Request, store: Store) -> None:
    (cell,) = make(replace(request_, methods=("lora",), ranks=(16,), targets=("icon_choice",)), store).cells
    early = Cell.of(request_.registry, edited(request_.registry, cell.trial, "rewind", 50, strength=1.0))
    finish(store, Job(cell.trial, ()))
    folder = store.change_of(cell.trial).snapshot(50).folder
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").touch()  # an upload that was killed: the weights come last

    parts = assemble(request_, [early], store)
    (folder / "adapter_model.safetensors").touch()
    whole = assemble(request_, [early], store)

    assert [job.trial.method for job in parts.pending] == ["zero_shot", "lora", "rewind"]
    assert [job.trial.method for job in whole.pending] == ["zero_shot", "rewind"]


def test_what_is_cached_is_not_priced(request_: Request, store: Store) -> None:
    small = replace(request_, methods=("lora",), ranks=(16,), targets=("icon_choice",))
    for job in make(small, store).jobs:
        store.write(replace(done(job), status="failed", error="while more examples were scored"))

    assert [(item.trains, item.scores) for item in todo(make(small, store))] == 2 * [(False, ())]


def commit(store: Store, trial: Trial) -> None:
    """Write what says that a trial's change is complete."""
    (store.folder(trial) / "change").mkdir()
    (store.folder(trial) / "fitted.json").write_text("{}", encoding="utf-8")


def of_trial(plan: Plan, label: str) -> Job:
    return next(job for job in plan.jobs if job.trial.label == label)


def test_more_examples_ask_for_new_scores_of_the_same_trainings(request_: Request, store: Store) -> None:
    few, more = make(request_, store), make(replace(request_, limit=30), store)
    label = "lora-r16-icon_choice-s0"

    assert of_trial(few, label).trial == of_trial(more, label).trial
    assert not {a.key for a in of_trial(few, label).asked} & {a.key for a in of_trial(more, label).asked}


def test_a_new_source_adds_one_score_to_every_trial_and_changes_nothing_else(request_: Request, store: Store) -> None:
    fewer = replace(request_, sources=request_.sources[:3])
    for job in make(fewer, store).jobs:
        finish(store, job)

    plan = make(request_, store)

    assert len(plan.pending) == 43
    assert all(len(plan.records[job.trial.id].lacks(job.asked)) == 1 for job in plan.pending)


def test_a_hyperparameter_of_the_parent_makes_another_child(request_: Request, store: Store) -> None:
    changed = replace(request_, settings={"lora": {"lr": 0.01}})
    label = "dare-r16-icon_choice-s0"

    assert of_trial(make(request_, store), label).trial.id != of_trial(make(changed, store), label).trial.id


def test_zero_shot_is_one_trial_whatever_the_training_recipe(request_: Request, store: Store) -> None:
    changed = replace(request_, recipe=replace(request_.recipe, updates=10), seeds=(0, 1))

    assert make(request_, store).zero_shot == make(changed, store).zero_shot


def test_a_tuned_cell_is_a_second_row_and_parents_keep_their_defaults(request_: Request, store: Store) -> None:
    place = ("lora", 16, "icon_choice")
    small = replace(request_, methods=("lora", "dare"), ranks=(16,), targets=("icon_choice",))
    plan = make(replace(small, tuned={place: TunedChoice({"lr": 0.005}, 8)}), store)

    assert [(cell.key.method, cell.key.variant, cell.key.tries) for cell in plan.cells] == [
        ("lora", "", 1),
        ("lora", "tuned", 8),
        ("dare", "", 1),
    ]
    assert plan.cells[1].trial.hyper["lr"] == 0.005
    assert plan.cells[2].trial.parent == plan.cells[0].trial


def test_ids_are_those_of_the_time_before_snapshots(request_: Request, store: Store) -> None:
    trial = make(request_, store).cells[0].trial

    assert "snapshot" not in trial.to_json()
    assert edited(request_.registry, trial, "rewind", 50).id != edited(request_.registry, trial, "rewind").id


def replayed(request: Request, *methods: str, **changes: Any) -> Request:
    return replace(request, methods=methods, ranks=(16,), targets=("icon_choice",), **changes)


@pytest.mark.slow
def test_a_method_that_mixes_knows_the_sources_and_their_training_data(request_: Request, store: Store) -> None:
    fewer = request_.sources[:2]
    plain, both, two, turned = (
        [cell.trial for cell in make(replayed(request_, "lora", "replay", sources=sources), store).cells][name]
        for name, sources in ((0, fewer), (1, request_.sources), (1, fewer), (1, fewer[::-1]))
    )

    assert "sources" not in plain.to_json()
    assert plain.given == ""
    assert both.sources == tuple(sorted(request_.sources))
    assert both.given == "sees source data"
    assert len({plain.data, both.data, two.data}) == 3
    assert turned.id == two.id != both.id  # their order on the command line decides nothing
    assert Trial.from_json(json.loads(json.dumps(both.to_json()))) == both


@pytest.mark.slow
def test_an_edit_of_such_a_method_has_it_as_its_parent_and_sees_what_it_saw(request_: Request, store: Store) -> None:
    (cell,) = make(replayed(request_, "replay"), store).cells
    trial = edited(request_.registry, cell.trial, "rewind", strength=0.5)

    assert cell.key.given == trial.given == "sees source data"
    assert trial.sources == ()
    assert Cell.of(request_.registry, trial, method="replay").key.given == "sees source data"


class Untaught(Squares):
    """A task with an empty training split."""

    name: ClassVar[str] = "untaught"

    def examples(self, split: Split) -> Sequence[Example]:
        return [] if split == "train" else super().examples(split)


class TestAlone(Squares):
    """A task with a test split alone."""

    name: ClassVar[str] = "test_alone"

    def examples(self, split: Split) -> Sequence[Example]:
        return {"test": super().examples("test")}[split]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("untaught", "replay trains on examples of every source, but untaught has no training examples. Leave"),
        (
            "test_alone",
            "but test_alone has no training examples. The task test_alone has no train split",
        ),
    ],
)
def test_a_source_without_training_examples_is_refused_in_one_line(
    source: str, words: str, request_: Request, store: Store
) -> None:
    registry = Registry()
    for task in (Untaught, TestAlone):
        registry.add(task)
    asked = replayed(request_, "replay", sources=("easy_vqa", source), tasks=Tasks(registry))

    with pytest.raises(UsageError) as caught:
        make(asked, store)

    assert words in str(caught.value)
    assert str(caught.value).endswith(f"Leave {source} out of --sources, or drop replay.")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="has no training examples"):
        draft(asked, store)
    make(replace(asked, methods=("lora",)), store)  # nothing else reads it


def test_a_method_that_mixes_is_refused_without_sources(request_: Request, store: Store) -> None:
    with pytest.raises(
        UsageError, match=r"replay trains on examples of the sources, and there is none\. Give --sources"
    ):
        make(replayed(request_, "replay", sources=()), store)


def test_the_tasks_that_are_taught_are_the_targets_and_the_sources_of_a_method_that_mixes(request_: Request) -> None:
    assert request_.taught == request_.targets
    assert replace(request_, methods=("lora", "replay")).taught == (*request_.targets, *request_.sources)


def test_edits_of_edits_come_after_what_they_edit(request_: Request, store: Store) -> None:
    dare = next(cell.trial for cell in make(request_, store).cells if cell.key.method == "dare")
    plan = assemble(
        request_, [Cell.of(request_.registry, edited(request_.registry, dare, "rewind", strength=0.5))], store
    )

    assert [job.trial.method for job in plan.jobs] == ["zero_shot", "lora", "dare", "rewind"]


def test_a_method_that_does_not_merge_is_refused_on_4_bit_weights_before_anything_starts(
    request_: Request, store: Store
) -> None:
    recipe = replace(request_.recipe, quantization="4bit")

    with pytest.raises(UsageError, match=r"^mixlora cannot train on 4-bit weights \(--base 4bit\), because each .+"):
        make(replace(request_, methods=("lora", "mixlora"), recipe=recipe), store)

    assert make(replace(request_, methods=("lora",), recipe=recipe), store).cells


def test_an_edit_of_a_change_that_does_not_merge_is_refused_by_both_names(
    request_: Request, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "halve.py"
    file.write_text(EDIT, encoding="utf-8")

    with pytest.raises(UsageError, match=r"^halve edits what mixlora has learnt, but each example chooses"):
        make(replace(request_, methods=("halve",), tasks=Tasks(Registry([file]))), store)


EDIT = """
from dataclasses import dataclass
from typing import ClassVar

from bench import Change, EditContext, EditMethod


@dataclass(kw_only=True)
class Halve(EditMethod):
    "Edits what MixLoRA has learnt."

    name: ClassVar[str] = "halve"
    paper: ClassVar[str] = "none: a test"
    parent: ClassVar[str] = "mixlora"

    def edit(self, change: Change, context: EditContext) -> Change:
        return change
"""
