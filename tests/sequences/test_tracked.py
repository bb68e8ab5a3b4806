"""What MLflow shows of a sequence's tables: one table, and a run for each chain with its numbers after each stage."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from bench.plan.chains import Chain, ChainRequest
from bench.plan.row_key import RowKey
from bench.sequences import tracked
from bench.track import ChainRun, Result
from bench.track.points import frame_in_points
from bench.values.trial import Trial
from tests.making.sequences import key
from tests.making.trials import TRIAL
from tests.making.worked_sequence import TASKS, WORKED, alone, built, plain


def chained(of: RowKey, *, apart: bool = False) -> Chain:
    stages: list[Trial] = []
    for task in TASKS:
        stages.append(replace(TRIAL, target=task, parent=stages[-1] if stages and not apart else None))
    return Chain(of, TASKS, 0, tuple(stages), apart)


CONTINUED, APART = chained(key("lora")), chained(key("lora", "independent"), apart=True)


class Planned:
    """Chains that are only planned."""

    def chains(self) -> tuple[Chain, ...]:
        return (CONTINUED, APART)


@pytest.fixture
def result() -> Result:
    return tracked.result(built(plain(), alone()), cast(ChainRequest, Planned()), [Path("sequence.md")])


def points(run: ChainRun) -> dict[tuple[str, int], float]:
    return {(name, stage): round(100 * value, 2) for name, value, stage in run.points}


def test_every_chain_has_each_task_after_each_stage_and_ends_with_its_metrics(result: Result) -> None:
    lora, independent = result.chains

    found = points(lora)
    assert (lora.name, independent.name) == ("lora r16 a.b.c s0", "lora independent r16 a.b.c s0")
    for stage, row in enumerate(WORKED, 1):
        assert [found[f"task/{task}", stage] for task in TASKS] == list(row)
    assert found["ap_k", 2] == 65.0  # (70 + 60) / 2
    assert (found["ap", 3], found["bwt", 3]) == (69.33, -11.0)
    assert lora.params == {
        "method": "lora",
        "rank": "16",
        "order": "a.b.c",
        "seed": "0",
        "connector": "full",
    }
    assert independent.params["given"] == "task id given"


def test_the_stages_of_a_chain_are_its_trials_and_those_apart_stay_where_they_are(result: Result) -> None:
    lora, independent = result.chains

    assert lora.stages == tuple(trial.id for trial in CONTINUED.stages)
    assert independent.stages == ()


def test_the_table_in_points_keeps_ranks_and_costs(result: Result) -> None:
    shown = frame_in_points(result.table)

    (line,) = shown[shown["variant"].eq("") & shown["method"].eq("lora")].to_dict("records")
    (before,) = result.table[result.table["variant"].eq("") & result.table["method"].eq("lora")].to_dict("records")
    assert (line["ap"], line["bwt"], line["rank"]) == (69.33, -11.0, 16)
    same = [str(name) for name in line if re.search("seconds|bytes|updates", str(name))]
    assert len(same) == 3
    assert [line[name] for name in same] == [before[name] for name in same]


def test_the_untouched_base_model_is_in_the_table_and_has_no_chain(result: Result) -> None:
    assert "zero_shot" in list(result.table["method"])
    assert len(result.chains) == 2
    assert result.files == (Path("sequence.md"),)
