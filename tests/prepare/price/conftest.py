"""Plans of the suite lorasculpt, without its model and data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.plan import PlanOptions
from bench.cli.request import read_request
from bench.prepare.price.draft import Draft, draft
from bench.store.run_folder import Store
from tests.making.commands import typed


@pytest.fixture
def drafted(tmp_path: Path) -> Callable[..., Draft]:
    """Return ``drafted(*words)``: the plan of ``bench plan --suite lorasculpt`` with these words."""

    def make(*words: str) -> Draft:
        options = typed(PlanOptions, "--suite", "lorasculpt", "--data", str(tmp_path), *words)
        return draft(read_request(options, tmp_path / "runs"), Store(tmp_path / "runs"))

    return make
