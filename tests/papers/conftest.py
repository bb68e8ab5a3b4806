"""Plans of studies, and leaderboards of made-up scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import Paper
from bench.checks.tiny import Squares
from bench.cli.request import read_request
from bench.cli.study import StudyOptions, named_study, study_plan
from bench.leaderboard.build import build
from bench.leaderboard.cell_scores import CellScores
from bench.leaderboard.heading import Heading
from bench.papers.study import StudyResult
from bench.plan import suite
from bench.plan.plan import Cell, Plan
from bench.plan.suite import MICRO, Suite
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from tests.making.commands import typed

Scores = Callable[[Cell | None], tuple[float, float]]
Planned = Callable[..., Plan]
MadeUp = Callable[..., StudyResult]


@pytest.fixture(scope="session")
def paper() -> Paper:
    """The paper whose tables are compared."""
    found = Registry().paper("lorasculpt")
    assert isinstance(found, Paper)
    return found


@pytest.fixture
def micro(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """The suite micro with a base model that is only a configuration: planning reads no more."""
    folder = tmp_path / "model"
    folder.mkdir()
    text = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps({"model_type": "llava", "text_config": text}), encoding="utf-8")
    made = replace(MICRO, model=str(folder))
    monkeypatch.setitem(suite.SUITES, "micro", made)
    return made


@pytest.fixture
def tasks() -> Tasks:
    """What the plans of a test read; its registry may be given more."""
    return Tasks()


@pytest.fixture
def paper_suite(micro: Suite, tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A suite of the paper's name, with tasks of the paper's names that are coloured squares."""
    paper = tasks.registry.paper("lorasculpt")
    assert isinstance(paper, Paper)
    for name in (*paper.sources, *paper.targets):
        tasks.registry.add(type(name, (Squares,), {"name": name}))
    made = replace(micro, name="lorasculpt", sources=paper.sources, targets=paper.targets)
    monkeypatch.setitem(suite.SUITES, "lorasculpt", made)
    return made


@pytest.fixture
def planned(micro: Suite, tasks: Tasks, tmp_path: Path) -> Planned:
    """Return ``planned("table1 --limit 4")``: the plan of a study's command against an empty store."""

    def plan(words: str) -> Plan:
        options = typed(StudyOptions, *words.split())
        study = named_study(options.name)
        asked = replace(read_request(options.cells(study, Registry()), options.output), tasks=tasks)
        return study_plan(study, asked, Store(tmp_path / "runs"))

    return plan


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUp:
    """Return ``made_up(plan, scores)``: every example of a cell scores its ``scores(cell)``, (Source, Target).

    ``failed`` are the variants that broke; None, all.
    """

    def found(plan: Plan, scores: Scores, failed: Collection[str] | None = ()) -> StudyResult:
        zero_shot = Cell.of(plan.request.registry, plan.zero_shot)
        cells = [_scored(plan, cell, scores(cell)) for cell in plan.cells]
        cells = [_broken(cell) if failed is None or cell.key.variant in failed else cell for cell in cells]
        heading = Heading(plan.request.suite.name)
        request = plan.request
        board = build(
            cells,
            _scored(plan, zero_shot, scores(None)),
            sources=request.sources,
            targets=request.targets,
            heading=heading,
        )
        return StudyResult(plan, Store(tmp_path / "runs"), board)

    return found


def _broken(cell: CellScores) -> CellScores:
    return replace(cell, status="failed", error="it broke", primary={})


def _scored(plan: Plan, cell: Cell, values: tuple[float, float]) -> CellScores:
    source, target = values
    request = plan.request
    targets = [cell.trial.target] if cell.trial.target else request.targets
    primary = {name: np.full(100, source) for name in request.sources}
    primary |= {str(name): np.full(100, target) for name in targets}
    return CellScores(cell.key, cell.trial.target, cell.trial.seed, primary=primary)
