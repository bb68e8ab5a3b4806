"""What the tests of plans share."""

from __future__ import annotations

import pytest

from bench.plugins.tasks import Tasks


@pytest.fixture(scope="session")
def drawn_tasks() -> Tasks:
    """The installed tasks, whose examples are checked and digested once for all tests that only read them."""
    return Tasks()
