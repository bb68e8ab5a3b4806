"""A run folder that MLflow mirrors: zero-shot, lora and dare of a suite named small."""

from __future__ import annotations

from dataclasses import replace

import torch

from bench.model.change import Change, LowRank
from bench.plan.plan import Cell, Plan
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.store.run_folder import Store
from bench.values.recipe import Recipe
from bench.values.record import Cost, Record
from bench.values.scores import Score, ScoreSpec
from bench.values.trial import Trial

COMMAND = "bench run --methods lora,dare"
RECIPE = Recipe(updates=3, batch_size=2, lr=1e-3, connector_lr=1e-4)
ZERO_SHOT = Trial(
    method="zero_shot",
    hyper={},
    rank=None,
    target=None,
    seed=0,
    recipe=Recipe(updates=0, batch_size=0, lr=0.0, connector_lr=0.0),
    model="m",
    data="",
    code="",
)
LORA = replace(ZERO_SHOT, method="lora", hyper={"lr": None}, rank=4, target="new", recipe=RECIPE, data="d", code="c")
DARE = replace(LORA, method="dare", hyper={"drop_rate": 0.5}, parent=LORA)
FACTS = {"commit": "0123456789ab", "device": "cpu"}


def asked(task: str, count: int = 2, split: str = "test") -> ScoreSpec:
    return ScoreSpec(task=task, split=split, count=count, examples=f"{task}{count}", max_new_tokens=8, code="c")


def put(store: Store, trial: Trial, values: dict[str, float], count: int = 2) -> Record:
    """Write a done record: one score per task, its lenient score a tenth higher; a change and losses if it trains."""
    scores = {}
    for task, value in values.items():
        item = asked(task, count)
        metrics = {"accuracy": value, "lenient": value + 0.1}
        file = store.scores_of(trial).write(item.key, [{"id": str(row), "scores": metrics} for row in range(count)])
        scores[item.key] = Score(item, "accuracy", metrics, file)
    if trial.target:
        losses = [3.0, 2.0, 1.0] if trial.parent is None else []
        change = Change({"x.weight": LowRank(torch.ones(2, 1), torch.ones(1, 3), 2.0)})
        store.change_of(trial).write(change, losses, {"seconds": 7.0})
    record = Record(trial, "done", scores, Cost(train_seconds=7.0, change_bytes=20), FACTS)
    store.write(record)
    return record


def small() -> Suite:
    return Suite("small", "model", ("old", "older"), ("new",), RECIPE)


def plan() -> Plan:
    request = Request(small(), ("lora", "dare"), (4,), ("new",), ("old", "older"), RECIPE)
    return Plan(request, ZERO_SHOT, tuple(Cell.of(request.registry, trial) for trial in (LORA, DARE)), (), {})
