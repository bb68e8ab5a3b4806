"""Print what was measured as one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.sizes import GIB, readable_count
from tests.perf.timing import show

_HEAD = ("item", "seconds", "times LoRA's", "plan, s", "peak, GiB", "plan, GiB", "micro-batch", "")


def show_table(facts: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each item; answers have a row for each way."""
    versions = ", ".join(f"{name} {facts[name]}" for name in ("torch", "transformers", "peft"))
    size = readable_count(facts.get("parameters", 0))
    show(f"{size} drawn parameters in bfloat16 on {facts['device']}; {versions}", _HEAD, rows(items))


def rows(items: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    """Yield the cells of every item."""
    updates = {item["item"]: item.get("update_seconds") for item in items}
    for item in items:
        if item["status"] not in ("done", "stopped"):
            reason = item.get("error") or item.get("reason", "")
            yield (item["item"], *[""] * 6, f"{item['status']}: {reason}"[:70])
        elif "shared" in item:
            for way in ("whole", "shared"):
                note = f"{item['questions'] / item[way]['seconds']:.1f} answers/s, {item['differ']} differ"
                yield _row({**item, **item[way]}, f"answers, {way}", None, note)
        else:
            yield _row(item, item["item"], updates.get("lora"), _note(item))


def _row(item: Mapping[str, Any], name: str, lora: float | None, note: str) -> Sequence[str]:
    seconds, update = item.get("seconds"), item.get("update_seconds")
    ratio = f"{update / lora:.2f}" if update and lora else ""
    taken = update or seconds
    return (
        name,
        f"{taken:.3f}" if taken else "",
        ratio,
        f"{item['plan_seconds']:.3f}" if "plan_seconds" in item else "",
        _gib(item.get("peak_bytes")),
        _gib(item.get("plan_bytes")),
        str(item.get("micro_batch", "")),
        note,
    )


def _note(item: Mapping[str, Any]) -> str:
    if "layers" in item:
        return f"{item['layers']} layers of one block"
    counted = f"{item.get('counted', 0)} of {item['updates']} updates counted"
    return f"{counted}, with checkpointing" if item["gradient_checkpointing"] else counted


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / GIB:.2f}"
