"""The settings of a search: how many configurations it tries, how they are drawn, stopped and chosen."""

from __future__ import annotations

from dataclasses import dataclass

from bench.search.optuna_study import Sampler
from bench.search.pareto import Objective


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The settings of a search.

    ``margin`` is the lead in points at which a training is stopped (see Quest), or None if no training is stopped.
    ``storage`` is the URL of the studies' database, or None for a file in the run folder. ``trials`` is the number of
    configurations of each quest. ``fields`` names the only hyperparameters to search, or is None to search all.
    """

    seed: int = 0
    sampler: Sampler = "tpe"
    margin: float | None = None
    storage: str | None = None
    trials: int = 20
    objective: Objective = "avg"
    fields: tuple[str, ...] | None = None

    @property
    def lead(self) -> float | None:
        """The margin as a fraction."""
        return None if self.margin is None else self.margin / 100
