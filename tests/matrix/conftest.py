"""The matrix runs only if its mark is asked for, and in a process of its own: the device stays in the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.checks.pretend_device import register
from bench.values.recipe import Connector, Dtype
from tests.matrix.lanes import Lanes, suite_of

LanesOf = Callable[[Connector, Dtype], Lanes]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the matrix out of every run that does not name its mark."""
    asked = str(config.option.markexpr).split()
    return None if {"matrix", "selection"} & {*asked} else True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse other tests in the same process: torch starts no thread for a device after its first backward pass."""
    own = [item for item in items if item.get_closest_marker("matrix")]
    if 0 < len(own) < len(items):
        raise pytest.UsageError("The matrix needs a process of its own. Run it alone: pytest tests/matrix -m matrix.")


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The pretend device, known to this process from now on."""
    return register()


@pytest.fixture(scope="session")
def lanes_of(device: torch.device, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LanesOf:
    """Return ``lanes_of(connector, dtype)``; every call with the same words returns the same lanes."""
    made: dict[tuple[Connector, Dtype], Lanes] = {}

    def lanes_of(connector: Connector, dtype: Dtype) -> Lanes:
        key = connector, dtype
        if key not in made:
            made[key] = Lanes.of(suite_of(tiny_folder, *key), tmp_path_factory.mktemp("-".join(key)), device)
        return made[key]

    return lanes_of
