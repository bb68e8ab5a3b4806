from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli.show import examples, overview
from bench.errors import UsageError
from bench.store.run_folder import Store
from bench.values.record import Record
from bench.values.scores import Score, ScoreSpec
from bench.values.trial import Trial
from tests.making.trials import TRIAL

ZERO_SHOT = replace(TRIAL, method="zero_shot", rank=None, target=None)


def recorded(store: Store, trial: Trial, split: str, right: bool) -> Record:
    asked = ScoreSpec("s", split, 1, "", 4, "")
    row = {
        "id": "1",
        "question": "q?",
        "answers": ["a"],
        "prediction": "ab"[not right],
        "scores": {"exact": float(right)},
    }
    file = store.scores_of(trial).write(asked.key, [row])
    known = store.read(trial) or Record(trial, "done")
    record = replace(known, scores={**known.scores, asked.key: Score(asked, "exact", {"exact": float(right)}, file)})
    store.write(record)
    return record


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for trial in (TRIAL, ZERO_SHOT):
        store.folder(trial).mkdir()
    recorded(store, ZERO_SHOT, "test", right=True)
    return store


def test_what_was_forgotten_is_read_off_the_test_split_alone(store: Store) -> None:
    recorded(store, TRIAL, "validation", right=False)
    record = recorded(store, TRIAL, "test", right=False)

    text = examples(record, store)

    assert text.count("q?") == 1


@pytest.mark.parametrize("read", [{"eval_dtype": "bfloat16"}, {"template": "{prompt}"}, {"image": "pad"}])
def test_what_was_forgotten_is_told_against_the_zero_shot_row_of_the_same_recipe(
    store: Store, read: dict[str, Any]
) -> None:
    recipe = replace(TRIAL.recipe, **read)
    other, other_zero_shot = replace(TRIAL, recipe=recipe), replace(ZERO_SHOT, recipe=recipe)
    for trial in (other, other_zero_shot):
        store.folder(trial).mkdir()
    recorded(store, other_zero_shot, "test", right=False)

    texts = [examples(recorded(store, trial, "test", right=False), store) for trial in (TRIAL, other)]

    assert [text.count("q?") for text in texts] == [1, 0]


def test_what_scores_were_made_with_is_said_once_for_all_that_share_it(store: Store) -> None:
    record = recorded(store, TRIAL, "test", right=True)
    here = {"device": "A100", "torch": "2.13.0", "dtype": "float16", "attention": "sdpa", "eval_batch": "64"}
    (score,) = record.scores.values()
    scores = {"1": score, **{key: replace(score, environment=here) for key in "23"}}

    lines = overview(replace(record, scores=scores), store).splitlines()

    assert [line for line in lines if "scored with" in line] == [
        "  scored with  device A100, torch 2.13.0, attention sdpa, dtype float16, eval_batch 64"
    ]


def test_a_trial_of_a_search_says_what_it_lacks(store: Store) -> None:
    record = recorded(store, TRIAL, "validation", right=False)

    with pytest.raises(UsageError, match=r"no test scores of a source\. Measure them with bench run"):
        examples(record, store)
