"""Read the scores of a sequence's chains from the store, and build its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.leaderboard.cell_scores import CellScores
from bench.leaderboard.from_store import parts, scored, trained_with
from bench.leaderboard.heading import Heading
from bench.leaderboard.stats import FloatArray
from bench.plan.chains import Chain, ChainRequest
from bench.plan.chance import counted
from bench.plan.plan import Cell, asked, base_trial
from bench.plugins.guard import guarded
from bench.plugins.task import Example
from bench.sequences.board import SequenceBoard
from bench.sequences.build import build
from bench.sequences.grouping import ChainScores
from bench.store.run_folder import Store
from bench.values.record import Record
from bench.values.scores import Score, ScoreSpec
from bench.values.trial import Trial


def sequence_board(request: ChainRequest, store: Store, heading: Heading | None = None) -> SequenceBoard:
    """Return the tables of a request from the records in the store, with holes and failures.

    Without a ``heading``, the tables name only the suite.
    """
    of = request.request
    reader, wanted = _Reader(request, store), asked(of, of.targets)
    counting = counted(of, store.read(base_trial(of)), wanted)
    heading = Heading(of.suite.name) if heading is None else heading
    chains = [reader.chain(chain) for chain in request.chains()]
    return build(
        chains,
        reader.zero_shot(wanted),
        tasks=of.targets,
        sources=of.sources,
        heading=replace(
            heading,
            parts=tuple(parts(of, wanted)),
            at_chance=counting.lines(),
            environment=trained_with(reader.records),
        ),
        counted=counting.names,
    )


@dataclass(eq=False, slots=True)
class _Reader:
    """Read trials once: several orders share stages, and every order shares the tasks learnt alone."""

    request: ChainRequest
    store: Store
    _cells: dict[tuple[str, tuple[ScoreSpec, ...]], CellScores] = field(default_factory=dict)
    _records: dict[str, Record | None] = field(default_factory=dict)
    _forms: dict[tuple[str, str], FloatArray] = field(default_factory=dict)

    def chain(self, chain: Chain) -> ChainScores:
        """Return what the store has of a chain."""
        specs = [self.request.scores(chain, stage) for stage in range(1, len(chain.stages) + 1)]
        stages = [self._stage(chain, number, spec) for number, spec in enumerate(specs)]
        whole = all(cell.status == "done" for cell in stages)
        return ChainScores(
            key=chain.key,
            order=chain.order,
            seed=chain.seed,
            stages=tuple(stages),
            asked=tuple(tuple(item.task for item in each) for each in specs),
            apart=chain.apart,
            forms=self._forms_of(chain, specs),
            updates=chain.stages[-1].recipe.updates // _stages_in(chain),
            kept_bytes=self._kept_bytes(chain) if whole else None,
        )

    def zero_shot(self, wanted: tuple[ScoreSpec, ...]) -> ChainScores:
        """Return what the store has of the untouched base model, as a chain of one stage."""
        trial = base_trial(self.request.request)
        cell = self._scored(Cell.of(self.request.request.registry, trial), wanted)
        names = tuple(item.task for item in wanted)
        forms = self._followed({item: trial for item in wanted if item.task in self.request.request.targets})
        return ChainScores(cell.key, (), trial.seed, (cell,), (names,), forms=forms)

    @property
    def records(self) -> list[Record]:
        """The records that were read so far."""
        return [record for record in self._records.values() if record is not None]

    def _record(self, trial: Trial) -> Record | None:
        if trial.id not in self._records:
            self._records[trial.id] = self.store.read(trial)
        return self._records[trial.id]

    def _stage(self, chain: Chain, number: int, specs: tuple[ScoreSpec, ...]) -> CellScores:
        """Return the scores after a stage. Its training time includes the training that an edit follows.

        A joint training has the time of all stages, so each has a part of it.
        """
        cell = self._scored(Cell(chain.stages[number], chain.key), specs)
        seconds = [
            record.cost.train_seconds
            for trial in _trained(chain, number)
            if (record := self._record(trial)) is not None
        ]
        return replace(cell, key=chain.key, cost=replace(cell.cost, train_seconds=sum(seconds) / _stages_in(chain)))

    def _scored(self, cell: Cell, specs: tuple[ScoreSpec, ...]) -> CellScores:
        place = (cell.trial.id, specs)
        if place not in self._cells:
            self._cells[place] = scored(cell, self.store, specs)
        return self._cells[place]

    def _forms_of(self, chain: Chain, specs: Sequence[tuple[ScoreSpec, ...]]) -> dict[str, FloatArray]:
        """Return which replies to each task have its form after the last stage."""
        answering = {task: chain.order.index(task) if chain.apart else -1 for task in chain.order}
        return self._followed(
            {item: chain.stages[answering[item.task]] for item in specs[-1] if item.task in answering}
        )

    def _followed(self, items: Mapping[ScoreSpec, Trial]) -> dict[str, FloatArray]:
        """Return 1 for each stored reply that has the form its task asks for, else 0, [n] by task."""
        found = {}
        for item, trial in items.items():
            record = self._record(trial)
            if record is not None and (score := record.scores.get(item.key)) is not None:
                found[item.task] = self._forms_in(trial, score)
        return found

    def _forms_in(self, trial: Trial, score: Score) -> FloatArray:
        place = (trial.id, score.asked.key)
        if place not in self._forms:
            task = self.request.request.tasks.load(score.asked.task)
            rows = self.store.scores_of(trial).read(score)
            with guarded(type(task)):
                self._forms[place] = np.array(
                    [float(bool(task.follows(_example(row), row["prediction"]))) for row in rows]
                )
        return self._forms[place]

    def _kept_bytes(self, chain: Chain) -> int:
        """Return the bytes of what answers and of what the next stage needs: of one stage, or of all that are apart."""
        kept = chain.stages if chain.apart else chain.stages[-1:]
        records = [(trial, self._record(trial)) for trial in kept]
        return sum(
            record.cost.change_bytes + self.store.change_of(trial).handed_over_bytes()
            for trial, record in records
            if record is not None
        )


def _stages_in(chain: Chain) -> int:
    """Return for how many stages one trial of a chain stands."""
    return len(chain.order) if chain.joint else 1


def _trained(chain: Chain, number: int) -> list[Trial]:
    """Return the trials of a stage: the training, and the edit that may follow it."""
    before = set() if chain.apart or not number else {chain.stages[number - 1].id}
    found: list[Trial] = []
    for trial in (chain.stages[number], *chain.stages[number].ancestors()):
        if trial.id in before:
            break
        found.append(trial)
    return found


def _example(row: Mapping[str, Any]) -> Example:
    """Return the example of a stored reply, without its image."""
    return Example(row["id"], row["question"], tuple(row["answers"]), Path())
