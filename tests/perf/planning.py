"""CPU seconds that planning and pricing take, for a thousand cells to a hundred thousand.

    python -m tests.perf.planning

The cells are the paper's seven methods at 64 ranks on the two targets of ``micro``, with 1, 11 and 112 seeds; the
run folder is empty. "plan" is all that ``bench plan`` does to know its trials and what is cached, "price" all that it
then prints. Both run in one process that has imported everything, read the tasks and measured the model once, because
every command pays that once, whatever its size; ``tests.perf.commands`` times whole commands.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import psutil

from bench.cli.options import Cells
from bench.cli.request import read_request
from bench.plan.baselines import make
from bench.prepare.price.blueprint import Blueprint
from bench.prepare.price.quote import Quote
from bench.prepare.price.text import lines
from bench.store.run_folder import Store
from bench.text import text_table
from bench.values.canonical import sha256
from bench.values.resources import Resources
from tests.perf.tables import RANKS


@contextmanager
def ids_counted() -> Iterator[list[int]]:
    """Yield a list whose one entry is the number of ids of trials that were computed meanwhile."""
    count = [0]

    def counted(text: str) -> str:
        count[0] += '"seed":' in text
        return sha256(text)

    with patch("bench.values.trial.sha256", counted):
        yield count


def measure(seeds: int, root: Path) -> tuple[str, ...]:
    """Plan and price the cells of a number of seeds and return the row of the table."""
    request = read_request(Cells(methods="paper", ranks=RANKS, seeds=",".join(map(str, range(seeds)))), root)
    with ids_counted() as ids:
        began = time.process_time()
        plan = make(request, Store(root))
        list(plan.totals())
        planned = time.process_time()
        blueprint = Blueprint.of(request.suite.model, request.suite.folder)
        list(lines(Quote(plan, blueprint, Resources(), None, None)))
        priced = time.process_time()
    cells = len(plan.cells)
    return (
        f"{cells:,}",
        f"{planned - began:.2f}",
        f"{priced - planned:.2f}",
        f"{cells / (planned - began):,.0f}",
        f"{ids[0] / cells:.2f}",
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 11, 112])
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        root = Path(scratch) / "runs"
        measure(1, root)
        rows = [measure(seeds, root) for seeds in options.seeds]
    out = sys.stdout.write
    out(f"Planning; load average {psutil.getloadavg()[0]:.1f}\n")
    for line in text_table(
        [("cells", "plan, CPU s", "price, CPU s", "planned cells/s", "ids per cell"), *rows], left=()
    ):
        out(f"{line}\n")


if __name__ == "__main__":
    main()
