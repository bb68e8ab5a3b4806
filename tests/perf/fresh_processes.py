"""What warm lanes save: the same trials, each in a process of its own, two at a time.

    python tests/perf/fresh_processes.py --cells 6 --output /tmp/fresh

Every cell of ``bench run --methods paper --ranks 16,32,64`` is done as the field does it: one process that imports,
loads, trains (an edit trains its parent first), evaluates and ends. Up to N cells, of different methods, ranks and
targets, are timed, and the whole is extrapolated from them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_ONE = """
import json, sys
from pathlib import Path
from bench.plugins.tasks import Tasks
from bench.trial.runner import Bench
from bench.spec import Work
from bench.store.run_folder import Store
from bench.plan.suite import MICRO
store = Store(Path(sys.argv[1]))
store.prepare()
bench = Bench(store, MICRO.model, Tasks())
work = Work.from_json(json.loads(sys.stdin.read()))
if work.trial.parent:
    bench.run(Work(work.trial.parent, ()))
sys.exit(bench.run(work).status != "done")
"""


def main() -> None:
    """Time the cells and print the extrapolation."""
    import json

    from bench.cli.options import Cells
    from bench.cli.request import read_request
    from bench.plan.plan import make
    from bench.store.run_folder import Store

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True, help="a new folder; every cell gets one inside")
    options = parser.parse_args()
    request = read_request(Cells(methods="paper", ranks="16,32,64"), options.output)
    plan = make(request, Store(options.output))
    cells = {cell.trial.id for cell in plan.cells}
    jobs = [job for job in plan.jobs if job.trial.id in cells]
    jobs.sort(key=lambda job: request.methods.index(job.trial.method))
    # A stride of one more than a method has cells: not always the first of each.
    chosen = jobs[:: len(jobs) // options.cells + 1][: options.cells]

    def run(place: int) -> float:
        began = time.monotonic()
        folder = options.output / str(place)
        text = json.dumps(chosen[place].to_json())
        subprocess.run([sys.executable, "-c", _ONE, str(folder)], input=text, encoding="utf-8", check=True)
        return time.monotonic() - began

    began = time.monotonic()
    with ThreadPoolExecutor(options.processes) as pool:
        seconds = list(pool.map(run, range(len(chosen))))
    wall = time.monotonic() - began
    for job, second in zip(chosen, seconds, strict=True):
        print(f"{second:7.1f} s  {job.trial.label}")
    mean = sum(seconds) / len(seconds)
    print(f"{len(chosen)} cells in {wall:.0f} s; {len(jobs)} cells: about {mean * len(jobs) / options.processes:.0f} s")


if __name__ == "__main__":
    main()
