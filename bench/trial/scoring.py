"""Score a trial: generate the answers to every task with base + change, and commit each score."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from torch import nn

from bench.environment import evaluation_environment, together
from bench.model.change import Change
from bench.model.resident import Base, Form
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.store.unfinished import Partial
from bench.trial.evaluate import Answer, evaluate, means
from bench.trial.warm import Warm
from bench.trial.workers import Group
from bench.values.record import Record
from bench.values.resources import Resources
from bench.values.scores import Score, ScoreSpec
from bench.values.trial import Trial

OnTrialProgress = Callable[[str, int, int, float], None]  # stage, done, total, loss
Hold = Callable[[Base, Change], AbstractContextManager[nn.Module]]  # a context in which a base model has a change


def silent(stage: str, done: int, total: int, loss: float) -> None:
    """Ignore progress."""


@dataclass(eq=False, slots=True)
class Scorer:
    """Scores trials of a lane, on the base models and data that the lane keeps warm."""

    store: Store
    warm: Warm
    tasks: Tasks
    device: torch.device
    resources: Resources
    group: Group

    def scored(
        self,
        record: Record,
        asked: Sequence[ScoreSpec],
        change: Change,
        bank: Mapping[str, Change],
        progress: OnTrialProgress,
    ) -> Record:
        """Return the record with every score that is asked for; each is committed as soon as it is computed.

        A task of the ``bank`` is answered with the bank's change, all others with ``change``.
        """
        missing = record.lacks(tuple(asked))
        banked = [item for item in missing if item.task in bank]
        parts = [(change, [item for item in missing if item not in banked])]
        parts += [(bank[item.task], [item]) for item in banked]
        total, done = sum(item.count for item in missing), 0

        def watch(before: int, count: int) -> None:
            progress("evaluate", before + count, total, 0.0)

        for learnt, items in parts:
            if items:
                record = self._scored_with(learnt, record, items, partial(watch, done))
                done += sum(item.count for item in items)
        return record

    def generated_with(self, trial: Trial) -> dict[str, str]:
        """Return the environment in which a trial's answers are generated."""
        model = self.warm.base(Form.evaluation(trial.recipe)).model
        return evaluation_environment(model, trial.recipe.eval_dtype, self.resources.eval_batch_size, self.device)

    def answers(
        self, trial: Trial, asked: ScoreSpec, change: Change, hold: Hold = Base.holding, *, whole: bool = False
    ) -> list[Answer]:
        """Return every example's outcome for base + change; ``hold`` puts the change into the base model.

        Each prompt is read ``whole``, or once for all prompts that share an image's prefix.
        """
        with hold(self.warm.base(Form.evaluation(trial.recipe)), change) as model:
            return self._answers(trial, asked, model, whole=whole)

    def _scored_with(
        self, change: Change, record: Record, missing: Sequence[ScoreSpec], watch: Callable[[int], None]
    ) -> Record:
        """Return the record with its missing scores, for base + change; ``watch`` hears how many answers are done."""
        before, facts = 0, self.generated_with(record.trial)
        base = self.warm.base(Form.evaluation(record.trial.recipe))
        with base.holding(change) as model:  # merge once for all scores: a 7B model takes a minute of one core
            for asked in missing:

                def counted(count: int, before: int = before, most: int = asked.count) -> None:
                    watch(before + min(most, count * self.group.size))  # the other workers are about as far

                known = self.store.scores_of(record.trial).partial(asked.key, facts, self.group.rank, counted)
                record = self._scored(record, asked, model, known)
                before += asked.count
        return record

    def _scored(self, record: Record, asked: ScoreSpec, model: nn.Module, known: Partial) -> Record:
        """Compute and commit one score, and return the record with it."""
        began = time.monotonic()
        trial = record.trial
        answers = self._answers(trial, asked, model, known)

        def commit() -> Record:
            file = self.store.scores_of(trial).write(asked.key, [asdict(answer) for answer in answers])
            seconds = known.seconds + time.monotonic() - began
            with_what = together(known.environment, *({"eval_batch": str(size)} for size in known.smallest))
            score = Score(asked, self.tasks.load(asked.task).metric, means(answers), file, seconds, with_what)
            cost = replace(record.cost, evaluate_seconds=record.cost.evaluate_seconds + seconds)
            scored = record.with_score(score, cost)
            self.store.write(scored)
            known.remove()
            return scored

        return self.group.first(commit)

    def _answers(
        self, trial: Trial, asked: ScoreSpec, model: nn.Module, known: Partial | None = None, *, whole: bool = False
    ) -> list[Answer]:
        corpus = self.warm.corpus(Form.evaluation(trial.recipe), asked.task, asked.split, trial.recipe.template)
        batch_size = self.resources.eval_batch_size
        return evaluate(model, corpus, asked, batch_size=batch_size, group=self.group, partial=known, whole=whole)
