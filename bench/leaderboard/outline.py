"""The outline of a leaderboard: all that it shows besides the scores, in a form that needs no method and no example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

from bench.leaderboard.heading import Heading
from bench.plan.chance import Level, level
from bench.plan.plan import Cell, Plan
from bench.plan.row_key import RowKey
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial


@dataclass(frozen=True, slots=True)
class Outline:
    """The cells of a leaderboard, the scores that they show, and what tables say of tasks and methods.

    ``level`` returns the chance of a source's score and the highest value it may have; it is asked for only if the
    untouched base model has that score, and never if ``every_source`` counts. With ``gates``, the table has the oracle
    gate of plain LoRA.
    """

    zero_shot: Cell
    cells: tuple[Cell, ...]
    asked: Mapping[str | None, tuple[ScoreSpec, ...]]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    heading: Heading
    every_source: bool
    gates: bool
    level: Callable[[ScoreSpec], Level]

    @classmethod
    def of(cls, plan: Plan, heading: Heading) -> Self:
        """Return the outline of a plan's leaderboard under a heading."""
        request = plan.request
        return cls(
            Cell.of(request.registry, plan.zero_shot),
            plan.cells,
            plan.asked,
            request.sources,
            request.targets,
            heading,
            request.every_source,
            request.controls,
            partial(level, request),
        )

    @property
    def trials(self) -> list[Trial]:
        """Every trial that a cell shows, with its parents."""
        found = [cell.trial for cell in (self.zero_shot, *self.cells)]
        return list({each.id: each for trial in found for each in (trial, *trial.ancestors())}.values())

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON, with the level of every source."""
        levels = {} if self.every_source else self._levels()
        return {
            "zero_shot": _cell_json(self.zero_shot),
            "cells": [_cell_json(cell) for cell in self.cells],
            "asked": [[target, [asdict(item) for item in items]] for target, items in self.asked.items()],
            "sources": list(self.sources),
            "targets": list(self.targets),
            "heading": asdict(self.heading),
            "every_source": self.every_source,
            "gates": self.gates,
            "levels": levels,
        }

    def _levels(self) -> dict[str, Level]:
        return {item.task: self.level(item) for item in self.asked[None] if item.task in self.sources}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read everything back from JSON."""
        heading, levels = data["heading"], data["levels"]
        texts = {name: tuple(heading[name]) for name in ("parts", "settings", "at_chance")}
        return cls(
            _cell(data["zero_shot"]),
            tuple(map(_cell, data["cells"])),
            {target: tuple(ScoreSpec(**item) for item in items) for target, items in data["asked"]},
            tuple(data["sources"]),
            tuple(data["targets"]),
            Heading(**{**heading, **texts}),
            data["every_source"],
            data["gates"],
            lambda item: (levels[item.task][0], levels[item.task][1]),
        )


def _cell_json(cell: Cell) -> dict[str, Any]:
    return {"trial": cell.trial.to_json(), "key": asdict(cell.key)}


def _cell(data: Mapping[str, Any]) -> Cell:
    return Cell(Trial.from_json(data["trial"]), RowKey(**data["key"]))
