"""What tells trials of one label apart, in listings and in messages."""

from dataclasses import replace

from bench.store.told_apart import by_label, told_apart
from bench.values.trial import Trial
from tests.making.trials import TRIAL


def edit(parent: Trial, snapshot: int | None = None, **hyper: float) -> Trial:
    return replace(parent, method="rewind", hyper=hyper, parent=parent, snapshot=snapshot)


def test_trials_of_one_label_are_told_apart_by_what_differs() -> None:
    plain = replace(TRIAL, hyper={"lr": None})
    tried, other = replace(plain, hyper={"lr": 0.1}), replace(plain, method="dora")
    frozen = replace(plain, recipe=replace(TRIAL.recipe, connector="frozen"))
    edits = [edit(plain, strength=0.5), edit(plain, strength=1.0, snapshot=1), edit(tried, strength=0.5)]

    found = by_label([plain, tried, frozen, *edits, edit(other, strength=0.5), replace(plain, seed=1)])

    assert list(found.values()) == [
        "lr none, recipe.connector full",
        "lr 0.1, recipe.connector full",
        "lr none, recipe.connector frozen",
        "of lora, strength 0.5, update last, lora.lr none",
        "of lora, strength 1, update 1, lora.lr none",
        "of lora, strength 0.5, update last, lora.lr 0.1",
        "of dora",
        "",
    ]


def test_trials_that_differ_in_data_code_or_version_are_told_apart_too() -> None:
    others = [replace(TRIAL, data="x"), replace(TRIAL, code="x"), replace(TRIAL, model="x"), replace(TRIAL, version=1)]

    assert len(set(by_label([TRIAL, *others]).values())) == 5


def test_stages_are_told_apart_by_what_came_before() -> None:
    stage = [replace(TRIAL, target="u", parent=edit(TRIAL, strength=strength)) for strength in (0.5, 0.25)]

    assert list(by_label(stage).values()) == ["t: rewind.strength 0.5", "t: rewind.strength 0.25"]


def test_a_long_value_or_one_with_line_ends_stays_on_its_line() -> None:
    templates = ["USER: <image>\n{prompt} ASSISTANT:", "USER: {prompt}", "x" * 99]
    trials = [replace(TRIAL, recipe=replace(TRIAL.recipe, template=text)) for text in templates]

    texts = list(by_label(trials).values())

    assert texts[0] == "recipe.template USER: <image> {prompt} A"
    assert len(set(texts)) == 3
    assert not [text for text in texts if "\n" in text]


def test_numbers_that_look_alike_are_written_out() -> None:
    texts = by_label([replace(TRIAL, hyper={"lr": lr}) for lr in (0.00025941, 0.00025944)]).values()

    assert list(texts) == ["lr 0.00025941", "lr 0.00025944"]


def test_an_edit_and_a_training_of_one_label_are_told_apart() -> None:
    assert list(by_label([replace(TRIAL, method="rewind"), edit(TRIAL)]).values()) == ["trained", "of lora"]


def test_a_message_names_each_by_its_id() -> None:
    other = replace(TRIAL, hyper={"lr": 1e-4})

    assert told_apart([replace(TRIAL, hyper={"lr": None}), other])[1] == f"{other.id} (lr 0.0001)"
