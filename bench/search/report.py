"""Report a finished search: a table, one folder per quest with figures and numbers, and runs in MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.search import figures
from bench.search.quest import Quest
from bench.store.drafts import replace_file, staged
from bench.store.run_folder import Store
from bench.store.search_results import FOLDER, RESULT, SearchResult
from bench.text import text_table
from bench.track import mirror_searches

_HEADS = (
    "",
    "tried",
    "failed",
    "stopped",
    "front",
    "hypervolume",
    "default: S / T / Avg",
    "chosen: S / T / Avg",
    " with",
)
_WIDTHS = (0, 0, 0, 0, 0, 0, 23, 23)  # wide enough for a point's three scores


def publish(store: Store, quests: Sequence[Quest], results: Sequence[SearchResult]) -> None:
    """Write every quest's folder, and update MLflow if any folder has changed."""
    news = [write(store, quest, result) for quest, result in zip(quests, results, strict=True)]
    if any(news):
        mirror_searches(store.root)


def write(store: Store, quest: Quest, result: SearchResult) -> bool:
    """Write a quest's folder, figures first and numbers last; return whether anything has changed."""
    folder = store.root / FOLDER / result.label
    path, text = folder / RESULT, result.text()
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    with staged(folder) as here:
        figures.write(result, quest.study.space, here)
    replace_file(path, text)
    return True


def lines(results: Sequence[SearchResult], tuned: str = "bench run") -> Iterator[str]:
    """Yield the lines of the results' table, with validation scores x 100; ``tuned`` is what runs the choices."""
    yield from text_table([_HEADS, *map(_cells, results)], left={0, len(_HEADS) - 1}, least=_WIDTHS, gap=" ")
    if stopped := sum(result.count("stopped") for result in results):
        trained = sum(result.updates or 0 for result in results)
        saved = sum(result.facts["updates_saved"] for result in results)
        yield f"Stopped early: {stopped}; {saved} of {trained} updates were not trained ({saved / trained:.0%})."
    for result in results:
        shares = result.facts["importance"].get("avg", {})
        if len(shares) < 2:  # a single hyperparameter always has the whole share
            continue
        listed = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        count = sum(item.avg is not None for item in result.configurations)
        yield f"{result.label}: what mattered for Avg: {listed}; {count} configurations give only a hint."
    yield f"Validation scores x 100; the test splits were not read. {tuned} --tuned runs the chosen configurations."


def _cells(result: SearchResult) -> Sequence[str]:
    facts = result.facts
    counts = (len(result.configurations), result.count("failed"), result.count("stopped"), len(facts["front"]))
    return (
        f"{result.label} ",
        *map(str, counts),
        f"{facts['hypervolume']:.3f}",
        *(_scores(facts[name]) for name in ("default", "chosen")),
        f" {_settings(result)}",
    )


def _scores(told: Mapping[str, Any] | None) -> str:
    return "-" if told is None else " / ".join(f"{100 * told[name]:.1f}" for name in ("source", "target", "avg"))


def _settings(result: SearchResult) -> str:
    """Return the searched hyperparameters of the chosen configuration."""
    chosen = next((item for item in result.configurations if item.number == result.chosen), None)
    if chosen is None:
        return "every configuration failed"
    return ", ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in chosen.hyper.items())
