import json
import pickle
from dataclasses import asdict, replace

import pytest

from bench.errors import StoreError
from bench.values.canonical import digest
from bench.values.recipe import Recipe
from bench.values.record import Cost, Record
from bench.values.scores import Score, ScoreSpec
from bench.values.trial import Trial
from tests.making.recording import recorded

RECIPE = Recipe(updates=2, batch_size=2, lr=1e-3, connector_lr=1e-4)
TRIAL = Trial(
    method="lora",
    hyper={"lr": None},
    rank=4,
    target="t",
    seed=0,
    recipe=RECIPE,
    model="m",
    data="d",
    code="c",
)
ASKED = ScoreSpec(task="t", split="test", count=2, examples="e", max_new_tokens=8, code="c")


def test_a_trial_survives_json_with_its_parent() -> None:
    trial = replace(TRIAL, method="dare", parent=TRIAL)

    assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "l2"},
        {"hyper": {"lr": 0.1}},
        {"rank": 8},
        {"target": "u"},
        {"seed": 1},
        {"recipe": replace(RECIPE, dropout=0.0)},
        {"model": "n"},
        {"data": "f"},
        {"code": "g"},
        {"parent": TRIAL},
        {"version": 99},
    ],
)
def test_every_field_of_a_trial_counts_in_its_id(changed: dict[str, object]) -> None:
    assert replace(TRIAL, **changed).id != TRIAL.id  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"task": "u"},
        {"split": "validation"},
        {"count": 1},
        {"examples": "f"},
        {"max_new_tokens": 9},
        {"version": 99},
    ],
)
def test_every_field_of_a_score_counts_in_its_key(changed: dict[str, object]) -> None:
    assert replace(ASKED, **changed).key != ASKED.key  # type: ignore[arg-type]


def test_a_record_survives_json() -> None:
    score = Score(ASKED, "accuracy", {"accuracy": 0.5}, "scores/x.jsonl")
    record = Record(TRIAL, "done", {ASKED.key: score}, Cost(train_seconds=1.5), {"torch": "2"})

    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_record_that_does_not_fit_its_id_is_refused() -> None:
    data = Record(TRIAL, "done").to_json()

    with pytest.raises(StoreError, match="states id"):
        Record.from_json({**data, "id": "0" * 12})


def test_a_record_knows_which_scores_it_lacks() -> None:
    other = replace(ASKED, task="u")
    record = Record(TRIAL, "done", {ASKED.key: Score(ASKED, "a", {"a": 1.0}, "f")})

    assert record.lacks((ASKED, other)) == (other,)


JOINT = replace(TRIAL, target="a+b", together=("a", "b"))


def test_a_joint_trial_survives_json_and_no_other_trial_names_its_field() -> None:
    assert Trial.from_json(json.loads(json.dumps(JOINT.to_json()))) == JOINT
    assert JOINT.id != replace(JOINT, together=("b", "a")).id
    assert "together" not in TRIAL.to_json()


def test_a_joint_trial_learns_all_its_tasks_and_has_one_target() -> None:
    edit = replace(JOINT, method="lines", parent=JOINT)

    assert JOINT.learns == JOINT.tasks == edit.tasks == ("a", "b")
    assert JOINT.targets == edit.targets == ("a+b",)
    assert JOINT.label == "lora-r4-a+b-s0"
    assert JOINT.given == edit.given == "learns all tasks at once"


def test_the_label_of_a_joint_trial_of_many_tasks_differs_from_that_of_a_sequence() -> None:
    names = [f"{letter}{'x' * 50}" for letter in "abc"]
    joint = replace(JOINT, target="+".join(names), together=tuple(names))
    first = replace(TRIAL, target=names[0])
    second = replace(TRIAL, target=names[1], parent=first)
    third = replace(TRIAL, target=names[2], parent=second)

    assert joint.label == f"lora-r4-3+{names[2]}-s0"
    assert third.label == f"lora-r4-3.{names[2]}-s0"
    assert third.tasks == third.targets == tuple(names)
    assert (third.learns, third.given) == ((names[2],), "")


@pytest.mark.parametrize(
    "trial",
    [
        TRIAL,
        JOINT,
        replace(TRIAL, hyper={}, rank=None, target=None),
        replace(TRIAL, method="dare", parent=TRIAL, snapshot=40, sources=("a", "b")),
        replace(TRIAL, target="ü", parent=replace(TRIAL, method="lines", parent=TRIAL)),
        replace(TRIAL, hyper={"lr": 1, "on": True, "name": "x"}),
        replace(TRIAL, hyper={"lr": 1.0, "on": 1, "name": "x"}),
        replace(TRIAL, recipe=replace(RECIPE, lr=1, image="pad", clip=-0.0)),
        replace(TRIAL, recipe=replace(RECIPE, lr=1.0, image="pad", clip=0.0)),
    ],
)
def test_an_id_is_the_digest_of_the_trials_json(trial: Trial) -> None:
    assert trial.id == digest(trial.to_json())[:12]


def test_an_id_is_computed_once_and_travels_with_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, known = replace(TRIAL, seed=7), replace(TRIAL, seed=8)
    texts = recorded(monkeypatch, Trial, "_text")
    assert known.id == known.id

    moved = [pickle.loads(pickle.dumps(trial)) for trial in (fresh, known)]

    assert moved == [fresh, known]
    assert [trial.id for trial in moved] == [fresh.id, known.id]
    assert len(texts) == 3  # the moved trial that had no id yet computes its own


def test_a_changed_trial_gets_an_id_of_its_own() -> None:
    assert TRIAL.id != replace(TRIAL, seed=1).id
    assert replace(replace(TRIAL, seed=1), seed=0).id == TRIAL.id


def test_a_score_key_is_the_digest_of_every_field() -> None:
    assert ASKED.key == digest(asdict(ASKED))[:12]
