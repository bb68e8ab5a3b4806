"""The studies there are."""

from __future__ import annotations

from collections.abc import Mapping

from bench.studies import densities, epochs, pruning, sweeps
from bench.studies.study import Study
from bench.studies.tables import TABLES

FIGURES = (pruning.FIGURE, epochs.FIGURE, sweeps.FIGURE, densities.FIGURE)

STUDIES: Mapping[str, Study] = {study.name: study for study in (*TABLES, *FIGURES)}
