"""The leaderboard of a run folder whose records name their environments."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.leaderboard.from_store import leaderboard
from bench.leaderboard.heading import Heading
from bench.plan.plan import Plan, make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from tests.making.records import write_scores

HERE = {"device": "cpu", "torch": "2.13.0", "peft": "0.21.2"}
SCORED = {**HERE, "eval_batch": "64"}


@pytest.fixture
def ran(tiny_suite: Suite, squares: Tasks, tmp_path: Path) -> tuple[Plan, Store]:
    """Return a run of two trainings and an edit that are done, in one environment."""
    (store := Store(tmp_path)).prepare()
    recipe = replace(tiny_suite.recipe, updates=1)
    cells = (("lora", "dare", "l2"), (2,), tiny_suite.targets, tiny_suite.sources)
    request = Request(tiny_suite, *cells, recipe, controls=True, tasks=squares)
    plan = make(request, store)
    for job in plan.jobs:
        store.folder(job.trial).mkdir()
        store.write(replace(write_scores(store, job.trial, job.asked, environment=SCORED), environment=HERE))
    return plan, store


def test_the_store_of_one_environment_sets_nothing_apart(ran: tuple[Plan, Store]) -> None:
    plan, store = ran

    found = leaderboard(plan, store, Heading("tiny"))
    assert not found.foreign
    assert "lora oracle gate" in {row.name for row in found.tables[0].rows}


def test_a_leaderboard_of_part_of_the_test_examples_says_so(ran: tuple[Plan, Store]) -> None:
    plan, store = ran
    few = make(replace(plan.request, limit=3), store)
    asked = plan.request
    counts = {name: len(asked.tasks.load(name).examples("test")) for name in (*asked.sources, *asked.targets)}

    notes = "\n".join(leaderboard(few, store, Heading("tiny")).notes)

    assert f"Scored in part: {', '.join(f'{name} 3 of {count}' for name, count in counts.items())}. Do not" in notes
    assert "Scored in part" not in "\n".join(leaderboard(plan, store, Heading("tiny")).notes)


def test_a_trial_that_failed_at_a_score_of_another_command_keeps_its_row(ran: tuple[Plan, Store]) -> None:
    plan, store = ran
    for job in plan.jobs:
        record = store.read(job.trial)
        assert record is not None
        store.write(replace(record, status="failed", error="another task cannot be scored"))

    rows = leaderboard(plan, store, Heading("tiny")).tables[0].rows

    assert {row.name for row in rows} >= {"zero_shot", "lora", "dare", "l2"}
    assert all(row.scores and not row.problems for row in rows)


def test_the_store_says_where_a_parent_was_trained_and_where_zero_shot_was_scored(ran: tuple[Plan, Store]) -> None:
    plan, store = ran
    lora = next(cell.trial for cell in plan.cells if cell.trial.method == "lora" and not cell.key.variant)
    records = {trial.id: store.read(trial) for trial in (lora, plan.zero_shot)}
    trained, reference = records[lora.id], records[plan.zero_shot.id]
    assert trained is not None
    assert reference is not None
    store.write(replace(trained, environment={**HERE, "torch": "2.12.1"}))
    scores = {key: replace(score, environment={**SCORED, "device": "GPU"}) for key, score in reference.scores.items()}
    store.write(replace(reference, environment={**HERE, "peft": "0.1.0"}, scores=scores))

    rows = {row.name: row for row in leaderboard(plan, store, Heading("tiny")).tables[0].rows}

    assert rows["l2"].foreign["difference"] == "trained with torch 2.13 (lora r2: 2.12)"
    assert rows["dare"].foreign["difference"] == "trained with torch 2.12 and 2.13 (lora r2: 2.12)"
    assert rows["lora"].foreign.keys() == {"forgetting"}
    assert rows["lora"].foreign["forgetting"].startswith("scored with device cpu (zero_shot: GPU) on ")
    assert not rows["zero_shot"].foreign  # it is not trained: its peft is nobody's concern
    assert rows["lora oracle gate"].foreign["difference"].startswith("scored with device GPU (lora r2: cpu) on ")


def test_the_leaderboard_says_which_source_has_nothing_to_forget(ran: tuple[Plan, Store]) -> None:
    plan, store = ran
    sources = ("old_squares", "icon_choice")
    both = make(replace(plan.request, sources=sources, controls=False, limit=4), store)
    for job in both.jobs:
        store.folder(job.trial).mkdir(exist_ok=True)
        write_scores(store, job.trial, [item for item in job.asked if item.task != "icon_choice"], right=1.0)
        write_scores(store, job.trial, [item for item in job.asked if item.task == "icon_choice"], right=0.0)

    found = leaderboard(make(both.request, store), store, Heading("tiny"))
    whole = leaderboard(make(replace(both.request, every_source=True), store), store, Heading("tiny"))

    line = (
        "icon_choice: zero-shot 0.00 (chance 27.00): nothing to forget, so Source leaves it out; "
        "--every-source counts it."
    )
    assert line in found.notes
    assert found.left_out == ("icon_choice",)
    assert {row.scores["source"].value for row in found.tables[0].rows} == {1.0}
    assert line not in whole.notes
    assert {row.scores["source"].value for row in whole.tables[0].rows} == {0.5}
