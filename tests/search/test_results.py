from pathlib import Path

import pytest

from bench.search.results import save_choices
from bench.store.run_folder import Store
from bench.store.search_results import CHOICES, SearchResult, read_choices

FACTS = {
    "method": "dare",
    "rank": 4,
    "target": "new",
    "sources": ["old"],
    "limit": None,
    "seeds": [0],
    "trials": 4,
    "search_seed": 0,
    "margin": None,
    "sampler": "tpe",
    "model": "0123",
    "recipe": {},
    "parent": {},
    "tried": 4,
    "chosen": None,
}


def result(**changes: object) -> SearchResult:
    return SearchResult("dare-r4-new", "bench search", {}, {**FACTS, **changes}, ())


def test_a_replaced_choice_is_told_with_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    save_choices(store, [result()])

    save_choices(store, [result(trials=8, seeds=[0, 1])])

    told = "dare-r4-new: search.json had a choice from other seeds, trials. It is replaced."
    assert told in " ".join(capsys.readouterr().err.split())
    assert [row["trials"] for row in read_choices(tmp_path / CHOICES)] == [8]


def test_a_choice_from_the_same_settings_is_replaced_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    save_choices(store, [result()])

    save_choices(store, [result(tried=3)])

    assert capsys.readouterr().err == ""
    assert [row["tried"] for row in read_choices(tmp_path / CHOICES)] == [3]
