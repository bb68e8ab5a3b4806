import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench import Example, Split, Task
from bench.model.families import published_shapes
from bench.plan import fingerprint, sources, words
from bench.plan.baselines import curve, make
from bench.plan.plan import Plan
from bench.plan.request import Request
from bench.plan.suite import LORASCULPT, MICRO
from bench.plan.tuned import TunedChoice
from bench.plugins.examples import read_examples
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.values.job import Job
from bench.values.recipe import Connector
from bench.values.record import Record
from bench.values.scores import Score

PLACE = ("dare", 16, "icon_choice")
PARTS = [
    "lora attention only",
    "lora attention at equal size",
    "lora gate_up only",
    "lora gate_up at equal size",
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture
def request_(tmp_path: Path, drawn_tasks: Tasks) -> Request:
    """A request for LoRA and DARE with controls; the base model is only a configuration file."""
    folder = tmp_path / "model"
    folder.mkdir()
    text = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = {"model_type": "llava", "text_config": text, "vision_config": {"hidden_size": 32}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    suite = replace(MICRO, model=str(folder))
    targets, asked = ("icon_choice",), ("easy_vqa", "sign_words")
    cells = ("lora", "dare"), (16,), targets, asked
    return Request(suite, *cells, suite.recipe, limit=20, controls=True, tasks=drawn_tasks)


def score(store: Store, job: Job, dare: float = 0.4) -> None:
    """Finish a job. Target grows with strength, Source falls, and validation is best at step 100."""
    trial = job.trial
    strength = float(trial.hyper.get("strength", 1.0) or 0)
    source = {25: 0.9, 50: 0.9, 75: 0.9, 100: 0.95, 125: 0.7}.get(trial.snapshot or 0, 1 - 0.5 * strength)
    learnt = {"lora": 0.8, "dare": dare}.get(trial.method, 0.8 * strength)
    known = store.read(trial) or Record(trial, "done")
    for asked in job.asked:
        value = learnt if asked.task == "icon_choice" else source
        known = replace(known, scores={**known.scores, asked.key: Score(asked, "m", {"m": value}, "f")})
    for step in job.snapshots:
        folder = store.change_of(trial).snapshot(step).folder
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").touch()
    store.write(known)


def finished(request: Request, store: Store, dare: float = 0.4) -> Plan:
    plan = make(request, store)
    for job in plan.pending:
        score(store, job, dare)
    return make(request, store)


def test_what_the_choices_need_is_measured_first_on_validation_alone(request_: Request, store: Store) -> None:
    plan = make(request_, store)

    assert plan.unsettled
    controls = ["lora lr/3", "lora frozen connector", *PARTS, "lora replay"]
    assert [cell.key.name for cell in plan.cells] == ["lora", "dare", *controls]
    stops = [job for job in plan.jobs if job.trial.snapshot is not None]
    assert [job.trial.snapshot for job in stops] == [25, 50, 75, 100, 125]
    rewound = [job for job in plan.jobs if job.trial.method == "rewind" and job.trial.snapshot is None]
    assert [job.trial.hyper["strength"] for job in rewound] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert {asked.split for job in (*stops, *rewound) for asked in job.asked} == {"validation"}
    assert {asked.task for job in rewound for asked in job.asked} == {"icon_choice"}
    (lora,) = [job for job in plan.jobs if job.trial == plan.cells[0].trial]
    assert lora.snapshots == (25, 50, 75, 100, 125)


def test_the_best_stop_and_the_least_strength_that_learns_as_much_become_rows(request_: Request, store: Store) -> None:
    plan = finished(request_, store)

    assert not plan.unsettled
    rows = {cell.key.name: cell for cell in plan.cells}
    assert rows["lora stopped early"].trial.snapshot == 100
    assert rows["lora stopped early"].key.note == "at step 100 of 150, the best of 6 on validation"
    assert rows["lora rewound to dare"].trial.hyper["strength"] == 0.5  # 0.8 * 0.5 reaches dare's 0.4
    assert rows["lora rewound to dare"].key.against == "dare"
    assert all(cell.key.control == (cell.key.name not in ("lora", "dare")) for cell in plan.cells)
    splits = {
        name: {asked.split for job in plan.jobs if job.trial == cell.trial for asked in job.asked}
        for name, cell in rows.items()
    }
    both = {"test", "validation"}  # scores that a choice needs are measured on validation too
    chosen = {name: both for name in ("lora", "dare", "lora stopped early", "lora rewound to dare")}
    others = {name: {"test"} for name in ("lora lr/3", "lora frozen connector", *PARTS, "lora replay")}
    assert splits == {**chosen, **others}
    pending = {job.trial.id for job in plan.pending}
    assert pending == {rows["lora stopped early"].trial.id, rows["lora rewound to dare"].trial.id}  # their test scores


def test_the_learning_rate_is_a_third_and_the_connector_frozen_in_the_same_block(
    request_: Request, store: Store
) -> None:
    rows = {cell.key.name: cell for cell in make(request_, store).cells}

    assert rows["lora lr/3"].trial.hyper["lr"] == pytest.approx(1e-3 / 3)
    assert rows["lora frozen connector"].trial.recipe.connector == "frozen"
    assert {cell.key.connector for cell in rows.values()} == {"full"}


def test_replay_learns_as_lora_does_and_is_marked_by_what_it_sees(request_: Request, store: Store) -> None:
    plan = make(replace(request_, settings={"lora": {"lr": 5e-4}}), store)
    rows = {cell.key.name: cell for cell in plan.cells}

    replay, lora = rows["lora replay"], rows["lora"]
    assert (replay.key.given, lora.key.given) == ("sees source data", "")
    assert replay.trial.hyper == {"lr": 5e-4, "share": 0.05}
    assert replay.trial.sources == tuple(sorted(request_.sources))
    assert replay.trial.recipe == lora.trial.recipe
    assert replay.key.block == lora.key.block
    assert plan.request.taught == (*request_.targets, *request_.sources)


@pytest.mark.usefixtures("own_tasks")
def test_replay_is_left_out_with_the_reason_if_a_source_has_nothing_to_train_on(
    request_: Request, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(request_, tasks=Tasks())
    source = asked.tasks.load(request_.sources[0])
    examples = source.examples
    monkeypatch.setattr(source, "examples", lambda split: () if split == "train" else examples(split))

    plan = make(asked, store)

    assert "lora replay" not in {cell.key.name for cell in plan.cells}
    (note,) = plan.notes
    assert note.startswith(
        f"lora replay is left out: replay trains on examples of every source, but {source.name} has no"
    )
    assert plan.request.taught == request_.targets


@pytest.mark.slow
@pytest.mark.usefixtures("own_tasks")
def test_the_examples_of_a_source_are_checked_as_often_for_many_trials_as_for_one(
    request_: Request, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []

    def counted(task: Task, split: Split) -> Sequence[Example]:
        calls.append((task.name, split))
        return read_examples(task, split)

    for module in (fingerprint, sources, words):
        monkeypatch.setattr(module, "read_examples", counted)

    def checks(ranks: tuple[int, ...], seeds: tuple[int, ...]) -> Counter[tuple[str, str]]:
        calls.clear()
        make(replace(request_, ranks=ranks, seeds=seeds, tasks=Tasks(), limit=None), store)
        return Counter(calls)

    assert checks((4, 8), (0, 1)) == checks((16,), (0,))
    assert {checks((16,), (0,))[name, "train"] for name in request_.sources} == {2}  # once checked, once digested


def test_parts_of_the_layers_are_controls_at_the_rank_and_at_the_parameters_of_lora(
    request_: Request, store: Store
) -> None:
    rows = {cell.key.name: cell for cell in make(request_, store).cells}

    # a block has four square layers of 64 and three of 64 x 128: in + out is 512 in attention, 384 in gate and up
    found = [(rows[name].trial.recipe.adapt, rows[name].trial.rank) for name in PARTS]
    assert found == [("attention", 16), ("attention", 34), ("gate_up", 16), ("gate_up", 45)]
    assert {rows[name].key.rank for name in PARTS} == {16}
    # two blocks, and a connector of 32 x 64 and 64 x 64 with biases
    connector = 32 * 64 + 64 * 64 + 128
    assert 2 * 16 * 1088 + connector == 41_088
    assert [rows[name].key.note for name in PARTS] == [
        "rank 16, which trains 23k parameters; lora trains 41k",
        "rank 34, which trains 41k parameters; lora trains 41k",
        "rank 16, which trains 19k parameters; lora trains 41k",
        "rank 45, which trains 41k parameters; lora trains 41k",
    ]


def test_a_rank_above_a_layers_side_is_trained_and_the_note_says_so(request_: Request, store: Store) -> None:
    rows = {cell.key.name: cell for cell in make(replace(request_, ranks=(32,)), store).cells}

    row = rows["lora gate_up at equal size"]
    assert row.trial.rank == 91
    assert row.key.note.endswith("Its smallest layer has 64 rows or columns, so its change is not low-rank")
    assert "low-rank" not in rows["lora gate_up only"].key.note


@pytest.mark.parametrize(
    ("adapt", "parts"),
    [
        ("attention", {}),
        ("q_v", {}),
        ("gate_up", {}),
        ("mlp", {"gate_up": "gate_up"}),
        ("q_proj+up_proj", {"attention": "q_proj", "gate_up": "up_proj"}),
    ],
)
def test_parts_are_parts_of_the_layers_that_the_recipe_adapts(
    adapt: str, parts: dict[str, str], request_: Request, store: Store
) -> None:
    asked = replace(request_, recipe=replace(request_.recipe, adapt=adapt))

    rows = {cell.key.variant: cell.trial.recipe.adapt for cell in make(asked, store).cells}

    assert {name.removesuffix(" only"): part for name, part in rows.items() if name.endswith("only")} == parts
    assert sum(name.endswith("at equal size") for name in rows) == len(parts)


@pytest.mark.parametrize(
    ("connector", "ranks"),
    [("full", (76, 83)), ("frozen", (76, 83)), ("lora", (76, 82))],
)
def test_on_llava_15_7b_the_matched_ranks_train_as_much_to_a_hundredth(
    connector: Connector, ranks: tuple[int, int]
) -> None:
    recipe = replace(LORASCULPT.recipe, connector=connector)
    shapes = published_shapes("llava-hf/llava-1.5-7b-hf")
    parts = [replace(recipe, adapt=group) for group in ("attention", "gate_up")]

    assert tuple(shapes.matched_rank(recipe, 32, part) for part in parts) == ranks
    whole = shapes.trained(recipe, 32)
    for part, rank in zip(parts, ranks, strict=True):
        assert shapes.trained(part, rank) == pytest.approx(whole, rel=0.01)


def test_the_controls_of_a_published_model_need_no_file_of_it(request_: Request, store: Store) -> None:
    asked = replace(
        request_,
        suite=LORASCULPT,
        methods=("lora",),
        ranks=(32,),
        targets=("iconqa",),
        sources=("gqa",),
        recipe=LORASCULPT.recipe,
        assumed=True,
    )

    rows = {cell.key.name: cell for cell in make(asked, store).cells}

    assert rows["lora attention at equal size"].trial.rank == 76
    assert rows["lora"].key.note == ""
    assert rows[PARTS[1]].key.note == "rank 76, which trains 100.7M parameters; lora trains 100.9M"


def test_ranks_and_seeds_share_a_trial_where_it_is_the_same(request_: Request, store: Store) -> None:
    """At rank 15 the matched rank of the attention is 32, and there is a row of the attention at rank 32, too."""
    plan = make(replace(request_, ranks=(15, 32)), store)

    rows = {(cell.key.name, cell.key.rank): cell.trial.id for cell in plan.cells}
    assert rows["lora attention at equal size", 15] == rows["lora attention only", 32]
    assert len({job.trial.id for job in plan.jobs}) == len(plan.jobs)


def test_a_tuned_row_has_a_rewound_control_of_its_own(request_: Request, store: Store) -> None:
    tuned = replace(request_, tuned={PLACE: TunedChoice({"drop_rate": 0.3}, 8)})

    plan = finished(tuned, store)

    assert {cell.key.against for cell in plan.cells} == {"", "dare", "dare tuned"}


def test_a_row_that_is_not_ranked_has_no_rewound_control(request_: Request, store: Store) -> None:
    plan = make(replace(request_, methods=("lora", "replay")), store)

    assert "replay" in {cell.key.name for cell in plan.cells}
    assert [job for job in plan.jobs if job.trial.method == "rewind" and job.trial.snapshot is None] == []
    assert {cell.key.against for cell in finished(plan.request, store).cells} == {""}


def test_without_controls_and_strengths_a_run_is_its_cells(request_: Request, store: Store) -> None:
    plan = make(replace(request_, controls=False), store)

    assert [job.trial.method for job in plan.jobs] == ["zero_shot", "lora", "dare"]


def test_a_curve_has_the_row_itself_and_its_change_at_every_strength(request_: Request, store: Store) -> None:
    plan = make(replace(request_, controls=False, strengths=(0.5, 1.0)), store)

    assert [job.trial.method for job in plan.jobs] == ["zero_shot", "lora", "dare", "rewind", "rewind"]
    assert [job.trial.parent.method for job in plan.jobs[3:] if job.trial.parent] == ["lora", "dare"]


def test_a_row_that_lora_does_not_reach_is_compared_with_the_whole_of_lora(request_: Request, store: Store) -> None:
    rows = {cell.key.name: cell for cell in finished(request_, store, dare=0.95).cells}

    assert rows["lora rewound to dare"].trial == rows["lora"].trial
    assert "does not reach" in rows["lora rewound to dare"].key.note


def test_a_control_is_chosen_by_the_sources_that_the_leaderboard_counts(request_: Request, store: Store) -> None:
    def both(job: Job) -> None:
        """Let sign_words, on which the base model is at chance, be best at step 25 by far."""
        score(store, job)
        known = store.read(job.trial)
        assert known is not None
        values = {"sign_words": 1.0 if job.trial.snapshot == 25 else 0.0}
        values |= {"easy_vqa": 0.9} if job.trial.rank is None else {}
        scores = {
            key: replace(found, metrics={"m": values.get(found.asked.task, found.value)})
            for key, found in known.scores.items()
        }
        store.write(replace(known, scores=scores))

    for job in make(request_, store).pending:
        both(job)
    plan = make(request_, store)
    counting_all = make(replace(request_, every_source=True), store)

    def step(made: Plan) -> int | None:
        return next(cell.trial.snapshot for cell in made.cells if cell.key.name == "lora stopped early")

    assert step(plan) == 100
    assert step(counting_all) == 25


def test_a_row_whose_change_does_not_merge_has_no_curve_and_a_note_says_so(request_: Request, store: Store) -> None:
    asked = replace(request_, methods=("lora", "dora", "mixlora"), strengths=(0.5, 1.0))

    plan = finished(asked, store)

    names = [cell.key.name for cell in plan.cells]
    assert "mixlora" in names
    assert [name for name in names if "rewound" in name] == ["lora rewound to dora", "lora rewound to mixlora"]
    by_method = {cell.trial.method: cell for cell in plan.cells if not cell.key.control}
    assert (len(curve(asked, by_method["dora"])), curve(asked, by_method["mixlora"])) == (2, {})
    (note,) = plan.notes
    assert note.startswith("mixlora has no curve of --rewind: each example chooses")
    assert note in plan.lines()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"controls": True}, ""),
        ({"controls": False, "strengths": (0.5, 1.0)}, "mixlora has no curve of --rewind: "),
        ({"controls": False}, ""),
    ],
)
def test_the_note_names_only_what_was_asked_for(
    changes: dict[str, object], says: str, request_: Request, store: Store
) -> None:
    notes = make(replace(request_, methods=("lora", "mixlora"), **changes), store).notes  # type: ignore[arg-type]

    assert [note[: len(says)] for note in notes] == ([says] if says else [])
    assert make(replace(request_, methods=("lora", "dora")), store).notes == ()
