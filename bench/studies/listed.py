"""The studies there are."""

from __future__ import annotations

from collections.abc import Mapping

from bench.studies.study import Study
from bench.studies.tables import TABLES

STUDIES: Mapping[str, Study] = {study.name: study for study in TABLES}
