"""Publish a finished search: one folder per quest, with figures and numbers, and runs in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.plugins.hyperparameters import Range
from bench.search import figures
from bench.search.optuna_study import Tried
from bench.store.places import replace_file, staged
from bench.store.run_folder import Store
from bench.store.search_results import FILE, FOLDER, Configuration, SearchResult
from bench.track import mirror_searches

if TYPE_CHECKING:
    from bench.search.outcome import Outcome


def publish(store: Store, outcomes: Sequence[Outcome], provenance: Mapping[str, Any], command: str) -> None:
    """Write every quest's folder, and update MLflow if any folder has changed."""
    news = [write(outcome, find(outcome, provenance, command), store) for outcome in outcomes]
    if any(news):
        mirror_searches(store.root)


def find(outcome: Outcome, provenance: Mapping[str, Any], command: str) -> SearchResult:
    """Return an outcome in the form that is written: facts, every configuration and its trials."""
    quest = outcome.quest
    return SearchResult(
        quest.label,
        command,
        {name: in_words(span) for name, span in quest.study.space.items()},
        {**outcome.to_json(), **provenance},
        tuple(_configuration(outcome, tried) for tried in outcome.tried),
    )


def write(outcome: Outcome, finding: SearchResult, store: Store) -> bool:
    """Write a quest's folder, figures first and numbers last; return whether anything has changed."""
    folder = store.root / FOLDER / finding.label
    path, text = folder / FILE, finding.text()
    if path.is_file() and path.read_text() == text:
        return False
    with staged(folder) as here:
        figures.write(finding, outcome.quest.study.space, here)
    replace_file(path, text)
    return True


def in_words(span: Range) -> str:
    """Return a search range as text for a reader."""
    if span.choices:
        return " | ".join(map(str, span.choices))
    return f"{span.low:g} to {span.high:g}{', log' if span.log else ''}"


def _configuration(outcome: Outcome, tried: Tried) -> Configuration:
    source, target = (tried.point.source, tried.point.target) if tried.point else (None, None)
    trials = tuple(work.trial.id for work in outcome.quest.works(tried.hyper) if work.asked)
    return Configuration(tried.number, dict(tried.hyper), tried.state, source, target, trials)
