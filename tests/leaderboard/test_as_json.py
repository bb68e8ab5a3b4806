"""The JSON of a leaderboard: what made its rows, and that the documentation lists every field."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from bench.checks.reports import fixed_leaderboard
from bench.leaderboard.as_json import as_json
from bench.leaderboard.from_store import trained_with
from bench.values.record import Record
from tests.making.guides import page
from tests.making.trials import TRIAL


def test_the_page_on_the_run_folder_lists_every_field() -> None:
    made = as_json(fixed_leaderboard())
    (table, *_), text = made["tables"], page("docs/run-folder.md")
    section = text[text.index("### leaderboard.json") : text.index("`sequence.json` has")]

    listed = set(re.findall(r"`(\w+)`", section))

    assert {*made, *table, *table["rows"][1]} <= listed
    assert json.dumps(made)


def test_the_commit_and_the_environment_are_those_of_the_trainings() -> None:
    trained = Record(TRIAL, "done", environment={"commit": "aaa", "torch": "2.13.0"})
    edited = Record(replace(TRIAL, seed=1), "done", environment={"commit": "bbb", "torch": "2.13.0"})
    base = Record(replace(TRIAL, rank=None, target=None), "done", environment={"commit": "ccc"})
    board = fixed_leaderboard()

    facts = trained_with([base, trained, edited])
    made = as_json(replace(board, heading=replace(board.heading, environment=facts)))

    assert (made["commit"], made["environment"]) == ("aaa and bbb", {"commit": ["aaa", "bbb"], "torch": ["2.13.0"]})
