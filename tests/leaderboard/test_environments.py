"""Rows of different environments: what differs, what is said of it, and what is then not said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from io import StringIO

import pandas as pd
import pytest

from bench.leaderboard.build import build
from bench.leaderboard.cell_scores import CellScores
from bench.leaderboard.environments import TRAINING, Facts, Mismatch, against, described, facts
from bench.leaderboard.heading import Heading
from bench.leaderboard.tables import Leaderboard
from bench.results import csv, latex, markdown, table
from tests.making import boards
from tests.making.boards import right, row

HERE = {"device": "cpu", "torch": "2.13.0+cpu", "transformers": "5.23.0", "dtype": "float32", "attention": "sdpa"}
SCORED = {**HERE, "eval_batch": "64"}
OLD = {**HERE, "torch": "2.12.1"}  # another minor version
TASKS = ("gqa", "vqa", "new")


def known(learnt: Mapping[str, str] = HERE, scored: Mapping[str, str] = SCORED, *parents: Mapping[str, str]) -> Facts:
    return facts([learnt, *parents], dict.fromkeys(TASKS, scored))


def cell(method: str, count: int, environments: Facts | None = None, seed: int = 0) -> CellScores:
    made = boards.cell(method, "new", dict.fromkeys(TASKS, right(count, 20)), seed=seed)
    return replace(made, environments=known() if environments is None else environments)


def zero_shot(environments: Facts | None = None) -> CellScores:
    where = facts([], dict.fromkeys(TASKS, SCORED)) if environments is None else environments
    return replace(boards.zero_shot(dict.fromkeys(TASKS, right(18, 20))), environments=where)


def board(*cells: CellScores, reference: CellScores | None = None, mixed: bool = False) -> Leaderboard:
    return build(
        cells,
        reference or zero_shot(),
        sources=("gqa", "vqa"),
        targets=("new",),
        heading=Heading("micro", mixed=mixed),
    )


@pytest.mark.parametrize(
    ("field", "value", "matters"),
    [
        ("torch", "2.12.1", True),
        ("torch", "2.13.1+cu126", False),  # a patch version, another build
        ("transformers", "5.24.0", True),
        ("device", "NVIDIA H100 80GB HBM3", True),
        ("dtype", "bfloat16", True),
        ("quantization", "4bit", True),
        ("attention", "eager", True),
        ("peft", "0.22.0", True),
        ("ray", "2.61.0", False),
        ("python", "3.12.1", False),
        ("workers", "4", False),
        ("micro_batch", "1", False),
        ("eval_batch", "8", False),  # of a training
    ],
)
def test_what_matters_of_a_training(field: str, value: str, matters: bool) -> None:
    here = {**HERE, "peft": "0.21.2", "quantization": "none", "ray": "2.60.0", "workers": "1", "eval_batch": "64"}
    mine, theirs = facts([{**here, field: value}], {}), facts([here], {})

    found = against({0: mine}, [("lora r16", {0: theirs})])

    assert [(item.stage, item.field) for item in found] == ([(TRAINING, field)] if matters else [])


def test_a_training_that_went_on_in_another_environment_is_of_both() -> None:
    both = {**HERE, "device": "A100 and H100", "torch": "2.13.0+cpu and 2.13.1"}
    one, other = ({**HERE, "device": device} for device in ("A100", "H100"))

    for alone in (one, other):
        (found,) = against({0: facts([both], {})}, [("lora r16", {0: facts([alone], {})})])
        assert (found.field, found.mine, found.theirs) == ("device", "A100 and H100", alone["device"])
    assert not against({0: facts([both], {})}, [("lora r16", {0: facts([both], {})})])


@pytest.mark.parametrize(
    ("field", "value", "matters"),
    [("eval_batch", "8", True), ("attention", "eager", True), ("peft", "0.1.0", False), ("dtype", "float16", True)],
)
def test_what_matters_of_a_score(field: str, value: str, matters: bool) -> None:
    theirs = {0: facts([], {"vqa": SCORED})}
    mine = {0: facts([], {"vqa": {**SCORED, "peft": "0.21.2", field: value}})}

    assert [(item.stage, item.field) for item in against(mine, [("lora", theirs)])] == [("vqa", field)] * matters


def test_what_is_not_known_differs_from_nothing() -> None:
    nothing = facts([{}], {"vqa": {}})

    assert not nothing
    assert not facts([{"attention": "unknown", "device": ""}], {})
    assert not against({0: known(OLD)}, [("lora", {0: nothing})])
    assert not against({0: nothing}, [("lora", {0: known(OLD)})])
    assert not against({1: known(OLD)}, [("lora", {0: known()})])  # no seed in common


def test_the_first_that_says_so_is_what_a_field_is_held_against() -> None:
    silent = {0: facts([{"device": "cpu"}], {})}
    found = against({0: known(OLD)}, [("lora", silent), ("dora", {0: known()})])

    assert found == (Mismatch(TRAINING, "torch", "2.12", "dora", "2.13"),)


def test_both_values_and_the_other_row_are_named_and_tasks_that_differ_alike_once() -> None:
    scored = {"gqa": {**SCORED, "eval_batch": "8"}, "vqa": {**SCORED, "eval_batch": "8"}, "new": OLD}
    found = against({0: facts([OLD], scored)}, [("lora r16", {0: known()})])

    assert described(found) == (
        "trained with torch 2.12 (lora r16: 2.13); scored with batch size 8 (lora r16: 64) on gqa, vqa; "
        "scored with torch 2.12 (lora r16: 2.13) on new"
    )


def test_rows_of_one_environment_are_compared_as_ever_and_nothing_is_said() -> None:
    one = board(cell("lora", 10), cell("dora", 18))
    silent = [cell("lora", 10, {}), cell("dora", 18, {})]

    assert not one.foreign
    for report in (table.render(one).plain, markdown.render(one), csv.render(one), latex.render(one)):
        assert "†" not in report
        assert "dagger" not in report
        assert "foreign" not in report
    unknown = board(*silent, reference=zero_shot({}))
    assert [report.render(unknown) for report in (markdown, csv, latex)] == [
        report.render(one) for report in (markdown, csv, latex)
    ]
    assert table.render(unknown).plain == table.render(one).plain


def test_a_row_of_another_environment_is_neither_best_nor_tied_and_its_difference_not_judged() -> None:
    found = board(cell("lora", 10), cell("dora", 18, known(OLD)), cell("l2", 11), cell("dare", 10))
    dora = row(found, "dora")

    assert dora.sign == " †"
    assert not dora.best | dora.tied
    assert dora.verdict("difference", dora.difference["avg"]) == "foreign"
    assert dora.foreign["difference"] == "trained with torch 2.12 (lora r16: 2.13)"
    assert "forgetting" not in dora.foreign  # the base model is not trained
    assert row(found, "l2").mark("avg") == "best"  # of those that can be compared
    assert row(found, "dare").verdict("difference", row(found, "dare").difference["avg"]) == "tied"


def test_where_the_baseline_does_not_say_rows_that_differ_are_still_not_ranked_together() -> None:
    found = board(cell("lora", 10, {}), cell("dora", 12), cell("l2", 18, known(OLD)))

    assert row(found, "l2").foreign == {"rank": "trained with torch 2.12 (dora r16: 2.13)"}
    assert row(found, "l2").mark("avg") == ""
    assert row(found, "dora").mark("avg") == "best"


def test_an_edit_of_a_change_from_another_environment_is_set_apart() -> None:
    found = board(cell("lora", 10), cell("dare", 12, known(HERE, SCORED, OLD)))

    assert row(found, "dare").foreign["difference"] == "trained with torch 2.12 and 2.13 (lora r16: 2.13)"


def test_source_lost_is_marked_where_zero_shot_was_scored_elsewhere_and_the_rows_stay_ranked() -> None:
    elsewhere = zero_shot(facts([], {task: {**SCORED, "attention": "eager"} for task in TASKS}))
    found = board(cell("lora", 10), cell("dora", 18), reference=elsewhere)
    dora = row(found, "dora")

    assert dora.verdict("forgetting", dora.forgetting["source"]) == "foreign"
    assert (dora.sign, dora.mark("avg")) == ("", "best")
    assert found.tables[0].remarks == (
        "† lora r16, dora r16: scored with attention sdpa (zero_shot: eager) on gqa, vqa",
    )


def test_a_control_from_another_environment_is_not_shown_to_be_beaten() -> None:
    weak = boards.control(cell("lora", 1, known(OLD)), "frozen")

    assert row(board(cell("lora", 18), weak), "lora").unbeaten == ("frozen",)
    assert row(board(cell("lora", 18), weak, mixed=True), "lora").unbeaten == ()


def test_a_row_is_held_against_the_trial_of_its_own_seed() -> None:
    pairs = [
        cell(method, 10, where, seed) for method in ("lora", "dora") for seed, where in enumerate((None, OLD_FACTS))
    ]

    assert not board(*pairs).foreign


OLD_FACTS = known(OLD)


def test_mixed_on_purpose_all_are_compared_and_the_heading_says_so() -> None:
    found = board(cell("lora", 10), cell("dora", 18, known(OLD)), mixed=True)
    dora = row(found, "dora")

    assert dora.mark("avg") == "best"
    assert dora.verdict("difference", dora.difference["avg"]) == ""
    assert found.setting == "suite micro, connector full, seed 0, environments mixed (--mix)"
    assert found.tables[0].remarks == ("† dora r16: trained with torch 2.12 (lora r16: 2.13)",)
    assert "compared with them anyway (--mix)" in found.notes[-1]


def test_the_resolution_is_of_the_differences_that_are_judged() -> None:
    foreign = cell("dora", 18, known(OLD))

    assert board(cell("lora", 10), foreign).tables[0].resolution is None
    assert board(cell("lora", 10), foreign, mixed=True).tables[0].resolution is not None


def test_every_report_marks_the_row_and_says_which_field_with_both_values() -> None:
    found = board(cell("lora", 10), cell("dora", 18, known(OLD, {**SCORED, "eval_batch": "8"})))
    reason = "trained with torch 2.12 (lora r16: 2.13); scored with batch size 8 (lora r16: 64) on gqa, vqa, new"

    text, page = table.render(found, 120).plain, markdown.render(found)
    assert " dora † " in text
    assert "+40.00†" in text
    assert f"† dora r16: {reason}" in " ".join(text.split())
    assert "| dora † | 16 |" in page
    assert "| +40.00 † [" in page
    assert "0.00 †" in page  # Source lost: zero-shot was scored in batches of 64
    tex = latex.render(found)
    assert r"{dora $^{\dagger}$} &" in tex
    assert r"scored with batch size 8 (lora r16: 64) on gqa, vqa, new" in tex
    assert r"\textbf" not in tex
    frame = pd.read_csv(StringIO(csv.render(found)))
    marked = frame[(frame.mark == "foreign") & (frame.of == "avg")]
    assert marked[["method", "quantity"]].to_numpy().tolist() == [["dora", "difference"]]
    assert set(frame[frame.quantity == "environment"].of) == {"rank", "difference", "forgetting"}
    assert reason in set(frame.error)
    assert str(found.frame("new").set_index("method").loc["dora", "environment"]).startswith(reason)
