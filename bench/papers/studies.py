"""List the studies of all papers by name."""

from __future__ import annotations

from collections.abc import Mapping

from bench.papers.lorasculpt import densities, epochs, pruning, sweeps
from bench.papers.lorasculpt.tables import TABLES
from bench.papers.mdgd import effective_rank
from bench.papers.study import Study

FIGURES = (pruning.FIGURE, epochs.FIGURE, sweeps.FIGURE, densities.FIGURE, effective_rank.FIGURE)

STUDIES: Mapping[str, Study] = {study.name: study for study in (*TABLES, *FIGURES)}
