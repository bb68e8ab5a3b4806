"""Every method with every choice, connector and dtype gives the CPU's numbers on the pretend device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.plan.cell_trials import cell_trial
from bench.plan.plan import Cell as PlannedCell
from bench.plan.plan import assemble, edited
from bench.values.job import Job
from tests.matrix.cells import EDITS, TRAINED, Cell, marked, off_cells
from tests.matrix.lanes import Lanes

pytestmark = pytest.mark.matrix

CELLS = [
    pytest.param(cell, marks=marks, id=str(cell)) for method in (*TRAINED, *EDITS) for cell, marks in marked(method)
]


def jobs_of(cell: Cell, lanes: Lanes) -> tuple[Job, ...]:
    """Return the jobs of a cell: the base model's, a parent's if the method edits, and its own."""
    request = replace(lanes.request, methods=(cell.method,), settings={cell.method: cell.settings})
    registry, target = request.registry, request.targets[0]
    if cell.parent is None:
        trial = cell_trial(request, cell.method, 2, target, 0)
    else:
        trial = edited(registry, cell_trial(request, cell.parent, 2, target, 0), cell.method, None, **cell.settings)
    return assemble(request, [PlannedCell.of(registry, trial)], lanes.cpu.store).jobs


@pytest.mark.parametrize("cell", CELLS)
def test_a_trial_on_the_device_gives_the_cpus_numbers(cell: Cell, lanes_of: Callable[[str, str], Lanes]) -> None:
    lanes = lanes_of(cell.connector, cell.dtype)

    lanes.run_both(jobs_of(cell, lanes))


@pytest.mark.parametrize("cell", [*off_cells()], ids=str)
def test_a_method_that_is_off_gives_the_cpus_numbers(cell: Cell, lanes_of: Callable[[str, str], Lanes]) -> None:
    lanes = lanes_of(cell.connector, cell.dtype)

    lanes.run_both(jobs_of(cell, lanes))
