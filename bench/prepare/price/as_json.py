"""Turn a quote into plain values: bytes, hours and counts."""

from __future__ import annotations

from typing import Any

from bench.prepare.price.quote import Quote
from bench.prepare.price.work import gpu_hours

SCHEMA = 1  # raised if a field is renamed, removed or means something else


def as_json(quote: Quote, missing: tuple[str, ...]) -> dict[str, Any]:
    """Return a quote, ready for JSON; ``missing`` is what is not on this machine, so that nothing counts as cached."""
    plan, todo = quote.plan, quote.todo
    return {
        "schema": SCHEMA,
        "kind": "plan",
        "missing": list(missing),
        "cells": len(plan.cells),
        "trials": {
            "all": len(plan.jobs),
            "done": sum(map(plan.done, plan.jobs)),
        },
        "trainings": {"all": len(plan.trainings), "to_do": sum(item.trains for item in todo)},
        "updates": sum(item.trial.recipe.updates for item in todo if item.trains),
        "examples_per_update": plan.request.recipe.batch_size,
        "answers": sum(item.answers for item in todo),
        "time": _time(quote),
        "disk_bytes": dict(quote.disk()),
        "plain_blocks": quote.plain_blocks,
        "memory_bytes": _memory(quote),
        "jobs": [
            {"id": job.trial.id, "label": job.trial.label, "done": plan.done(job), "scores": len(job.asked)}
            for job in plan.jobs
        ],
        "notes": list(plan.notes),
    }


def _time(quote: Quote) -> dict[str, Any] | None:
    """Return the hours, or None if no rate is known."""
    if quote.rates is None:
        return None
    whole = gpu_hours(quote.todo, quote.rates)
    training = sum(item.training_seconds(quote.rates) for item in quote.todo) / 3600
    edits = sum(item.edit_seconds(quote.rates) for item in quote.todo) / 3600
    return {
        "unit": quote.unit,
        "hours": whole,
        "training_hours": training,
        "edit_hours": edits,
        "evaluation_hours": whole - training - edits,
        "wall_hours": quote.wall_hours,
        "lanes": quote.lanes,
        "device": quote.fleet.gpu.name if quote.fleet else "CPU",
        "devices": quote.fleet.count if quote.fleet else None,
        "from": quote.rates.origin,
    }


def _memory(quote: Quote) -> dict[str, Any]:
    """Return the parts of each method's memory at the highest rank, and those of evaluation."""
    found: dict[str, Any] = {}
    if quote.ranks:
        rank = max(quote.ranks)
        for name in (name for name in quote.methods if (name, rank) in quote.trials):
            item = quote.footprint(name, rank)
            parts = dict(item.at(quote.micro_batch))
            found[name] = {"rank": rank, "micro_batch": quote.micro_batch, "parts": parts}
            found[name]["total"] = item.total(quote.micro_batch)
    count = quote.resources.eval_batch_size
    found["evaluation"] = {"answers": count, "parts": dict(quote.evaluation.at(count))}
    found["evaluation"]["total"] = quote.evaluation.total(count)
    return found
