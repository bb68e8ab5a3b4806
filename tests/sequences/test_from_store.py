"""The tables of a sequence from a run folder: which trial answers what, what is kept, which replies have the form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from bench.leaderboard.heading import Heading
from bench.model.change import Change, LowRank
from bench.plan.chains import Chain, ChainMethod, ChainRequest
from bench.plan.plan import asked, base_trial
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.sequences.board import SequenceBoard, SequenceRow
from bench.sequences.from_store import sequence_board
from bench.sequences.reports import write_reports
from bench.store.changes import Handover
from bench.store.run_folder import Store
from bench.trial.runner import TrialRunner
from bench.values.record import Cost
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial
from tests.making.records import write_scores

FIRST, SECOND, SOURCE = "new_squares", "old_squares", "icon_choice"
HERE = {"device": "cpu", "torch": "2.13.0"}

LoRA = Registry().method("lora")


@dataclass(kw_only=True)
class Banking(LoRA):  # type: ignore[valid-type, misc]
    """LoRA that answers earlier tasks with changes of their own."""

    name: ClassVar[str] = "banking"

    def bank(self, model: nn.Module) -> Mapping[str, Change]:
        return {}

    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        return {}


@pytest.fixture
def request_for(tiny_suite: Suite, squares: Tasks) -> Callable[..., ChainRequest]:
    """A function that returns a request for plain LoRA and others, on two tasks of eight examples."""
    squares.registry.add(Banking)

    def build(*methods: str, orders: tuple[tuple[str, ...], ...] = ((FIRST, SECOND),), **more: object) -> ChainRequest:
        recipe = replace(tiny_suite.recipe, updates=7)
        cells = (("lora",), (2,), (FIRST, SECOND), (SOURCE,))
        request = Request(tiny_suite, *cells, recipe, limit=8, tasks=squares)
        request = replace(request, **{name: more.pop(name) for name in ("seeds",) if name in more})  # type: ignore[arg-type]
        chosen = tuple(ChainMethod.read(name, squares.registry) for name in methods)
        return ChainRequest(request, chosen, orders, **more)  # type: ignore[arg-type]

    return build


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "runs")
    found.prepare()
    return found


def put(store: Store, trial: Trial, items: tuple[ScoreSpec, ...], right: float, seconds: float = 10.0) -> None:
    """Write the record of a trial with its scores, and what it cost."""
    store.begin(trial)
    record = write_scores(store, trial, items, right, HERE)
    cost = Cost(train_seconds=seconds, change_bytes=1000)
    store.write(replace(record, environment=HERE, cost=cost))


def put_all(store: Store, request: ChainRequest, right: Callable[[Chain, int], float]) -> None:
    """Write every trial of a request, and the base model, half of whose answers are right."""
    of = request.request
    put(store, base_trial(of), asked(of, of.targets), 0.5, 0.0)
    for chain in request.chains():
        for number, trial in enumerate(chain.stages, 1):
            put(store, trial, request.scores(chain, number), right(chain, number))


def row(board: SequenceBoard, name: str, block: int = 0) -> SequenceRow:
    return next(row for row in board.blocks[block].rows if row.key.name == name)


def test_a_request_becomes_rows_with_their_scores(request_for: Callable[..., ChainRequest], store: Store) -> None:
    request = request_for("l2")
    put_all(store, request, lambda chain, stage: 1.0 if stage == 1 else 0.75)

    board = sequence_board(request, store, Heading("tiny", command="bench sequence"))

    assert [each.key.name for each in board.blocks[0].rows] == ["zero_shot", "lora", "l2", "lora independent"]
    lora = row(board, "lora")
    assert [stage.scores[FIRST].value for stage in lora.stages] == [1.0, 0.75]
    assert lora.metrics["bwt"].value == -0.25
    assert lora.metrics["source"].value == 0.75
    assert lora.stages[0].source is None  # sources are scored at the end
    assert row(board, "l2").same_as == "lora r2"
    assert board.heading.command == "bench sequence"
    assert board.heading.parts == (f"{SOURCE} 8 of 400", f"{FIRST} 8 of 12", f"{SECOND} 8 of 12")
    assert "7 updates a stage and 14 in all" in board.setting


def test_a_task_learnt_alone_is_read_from_its_own_trial(request_for: Callable[..., ChainRequest], store: Store) -> None:
    request = request_for()
    put_all(store, request, lambda chain, stage: 0.25 if chain.apart and stage == 2 else 1.0)

    apart = row(sequence_board(request, store), "lora independent")

    assert [[stage.scores[task].value for task in (FIRST, SECOND)] for stage in apart.stages] == [[1, 1], [1, 0.25]]
    assert apart.metrics["bwt"].value == 0
    assert apart.key.given == "task id given"


def test_a_joint_training_is_read_from_its_one_trial(request_for: Callable[..., ChainRequest], store: Store) -> None:
    request = request_for("ortho_lora", orders=((FIRST, SECOND), (SECOND, FIRST)), controls=True)
    put_all(store, request, lambda chain, stage: 0.75 if chain.joint else 1.0)

    board = sequence_board(request, store)

    for block in range(2):
        for name in ("ortho_lora", "lora joint"):
            joint = row(board, name, block)
            assert joint.metrics.keys() == {"ap", "apn", "source", "source_lost", "mif"}
            assert joint.metrics["ap"].value == joint.metrics["source"].value == 0.75
            assert joint.cost is not None
            assert (joint.cost.seconds, joint.cost.updates, joint.cost.kept_bytes) == (5.0, 7, 1000)
    assert "7 updates a stage and 14 in all" in board.setting
    assert len({chain.stages[0].id for chain in request.chains() if chain.joint}) == 2


def test_a_stage_that_did_not_run_and_one_that_failed_have_their_reason(
    request_for: Callable[..., ChainRequest], store: Store
) -> None:
    request = request_for("l2")
    lora, l2, *_ = request.chains()
    put(store, lora.stages[0], request.scores(lora, 1), 1.0)
    store.begin(l2.stages[0])
    record = write_scores(store, l2.stages[0], ())
    store.write(replace(record, status="failed", error="stumbled"))

    board = sequence_board(request, store)

    assert row(board, "lora").trouble == f"seed 0 missing: stage 2 ({SECOND}): not run"
    assert row(board, "l2").trouble == f"seed 0 failed: stage 1 ({FIRST}): stumbled"
    assert row(board, "zero_shot").trouble == "seed 0 missing: not run"
    assert row(board, "lora").stages[0].scores[FIRST].value == 1.0


def test_what_is_kept_is_the_last_stage_with_its_bank_or_every_task_apart(
    request_for: Callable[..., ChainRequest], store: Store
) -> None:
    request = request_for("banking")
    put_all(store, request, lambda chain, stage: 1.0)
    change = Change({"x.weight": LowRank(torch.ones(2, 1), torch.ones(1, 3), 2.0)})
    last = request.chains()[1].stages[1]
    store.change_of(last).write(change, [], {}, Handover(kept={"seen": torch.zeros(9)}, bank={FIRST: change}))

    board = sequence_board(request, store)

    handed = store.change_of(last).handed_over_bytes()
    costs = {each.key.name: each.cost for each in board.blocks[0].rows}
    kept = {name: cost.kept_bytes for name, cost in costs.items() if cost is not None}
    assert kept == {"lora": 1000, "banking": 1000 + handed, "lora independent": 2000}
    assert handed > 36
    assert row(board, "banking").key.given == "task id given"


def test_the_time_of_a_stage_includes_the_training_that_an_edit_follows(
    request_for: Callable[..., ChainRequest], store: Store
) -> None:
    request = request_for("lora+lines")
    put_all(store, request, lambda chain, stage: 1.0)
    chain = next(chain for chain in request.chains() if chain.key.method == "lora+lines")
    for trial in chain.stages:
        assert trial.parent is not None
        put(store, trial.parent, (), 1.0, seconds=30.0)

    found = row(sequence_board(request, store), "lora+lines")

    assert found.cost is not None
    assert found.cost.seconds == 40.0


def test_replies_are_judged_by_their_form_after_the_last_stage(
    request_for: Callable[..., ChainRequest], store: Store, squares: Tasks
) -> None:
    request = request_for()
    put_all(store, request, lambda chain, stage: 1.0)
    lora = request.chains()[0]
    items = request.scores(lora, 2)
    record = store.read(lora.stages[1])
    assert record is not None
    for item in items:
        texts = ["a b c", "red", "one two", " ", "the very answer", "no", "x", "y"]
        rows = [
            {
                "id": str(at),
                "question": "?",
                "answers": ["The very answer"],
                "prediction": text,
                "scores": {"exact": 0.0},
            }
            for at, text in enumerate(texts)
        ]
        store.scores_of(lora.stages[1]).write(item.key, rows)

    board = sequence_board(request, store)

    assert row(board, "lora").metrics["mif"].value == 0.75
    assert row(board, "lora independent").metrics["mif"].value == 1.0
    assert row(board, "zero_shot").metrics["mif"].value == 1.0


def test_orders_share_the_trials_that_they_have_in_common(
    request_for: Callable[..., ChainRequest], store: Store
) -> None:
    request = request_for(orders=((FIRST, SECOND), (SECOND, FIRST)), seeds=(0, 1), controls=True)
    put_all(store, request, lambda chain, stage: 1.0 - 0.125 * chain.seed)

    board = sequence_board(request, store)

    assert [block.order for block in board.blocks] == [(FIRST, SECOND), (SECOND, FIRST)]
    assert board.seeds == (0, 1)
    names = [each.key.name for each in board.blocks[0].rows]
    assert names == [
        "zero_shot",
        "lora",
        "lora independent",
        "lora rewound after each stage",
        "lora replay",
        "lora joint",
    ]
    assert row(board, "lora replay").key.given == "sees data of earlier tasks"
    assert {line.key.name for line in board.summary} == set(names) - {"zero_shot"}


def test_sources_that_have_nothing_to_forget_are_left_out(
    request_for: Callable[..., ChainRequest], store: Store
) -> None:
    request = request_for()
    put_all(store, request, lambda chain, stage: 1.0)
    of = request.request
    put(store, base_trial(of), [item for item in asked(of, of.targets) if item.task == SOURCE], 0.0, 0.0)  # type: ignore[arg-type]

    board = sequence_board(request, store)

    assert board.heading.at_chance
    assert "No source is above chance" in board.heading.at_chance[0]
    assert board.left_out == ()  # a mean of none does not exist, so all count


def test_without_sources_there_is_no_source_and_no_complaint(
    request_for: Callable[..., ChainRequest], store: Store
) -> None:
    request = request_for(when="never")
    put_all(store, request, lambda chain, stage: 1.0)

    board = sequence_board(request, store)

    assert "source" not in row(board, "lora").metrics
    assert not row(board, "lora").problems


def test_environments_of_all_stages_count(request_for: Callable[..., ChainRequest], store: Store) -> None:
    request = request_for("l2")
    put_all(store, request, lambda chain, stage: 1.0)
    chain = next(chain for chain in request.chains() if chain.key.method == "l2")
    record = store.read(chain.stages[1])
    assert record is not None
    store.write(replace(record, environment={**HERE, "torch": "2.12.0"}))

    found = row(sequence_board(request, store), "l2")

    assert found.foreign["difference"] == "trained with torch 2.12 and 2.13 (lora r2: 2.13)"
    assert found.foreign["stages"] == "trained with torch 2.12 and 2.13 (stage 1: 2.13)"


@pytest.mark.slow
def test_a_sequence_that_a_lane_has_run_lacks_nothing(
    request_for: Callable[..., ChainRequest], store: Store, tiny_suite: Suite, squares: Tasks, tmp_path: Path
) -> None:
    request = request_for("lora+lines", "banking", when="every")
    chains = request.chains()
    lane = TrialRunner(store, tiny_suite.folder, squares)
    jobs = request.plan(store).jobs
    for job in jobs:
        assert lane.run(job).error is None, job.trial.label

    board = sequence_board(request, store, Heading("tiny"))

    names = ["zero_shot", "lora", "lora+lines", "banking", "lora independent"]
    assert [row.key.name for row in board.rows] == names
    assert not any(row.problems or row.foreign for row in board.rows)
    for name in names[1:]:
        found = row(board, name)
        assert found.metrics.keys() >= {"ap", "map", "bwt", "forgetting", "fwt", "source", "source_lost", "mif"}
        assert all(stage.source is not None for stage in found.stages)
        assert found.cost is not None
        assert found.cost.kept_bytes
    assert row(board, "banking").same_as == "lora r2"  # its bank is empty, so the newest change answers
    assert row(board, "lora").stages[0] == row(board, "banking").stages[0]
    assert row(board, "lora independent").stages[0].scores == row(board, "lora").stages[0].scores
    assert row(board, "lora").metrics["source"].value == pytest.approx(
        store.read(chains[0].stages[1]).scores[request.scores(chains[0], 2)[0].key].value  # type: ignore[union-attr]
    )
    assert len(write_reports(board, tmp_path / "reports")) == 6
