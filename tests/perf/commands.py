"""Wall and CPU seconds of whole commands, each in a fresh process, on a made-up run folder of micro's 42 cells.

    python -m tests.perf.commands

The first ``bench run`` finds the records of every trial, and writes the reports. The commands after it are those that
people repeat, the medians of three; a goal is what the project has set itself for the wall time. The last plan is of
another folder, which is empty, and has 64 ranks and 100 seeds of the paper's seven methods. A cached run is short
only if bench has not been changed for a minute, because what it follows from has a digest of the code.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.cli.options import Cells
from bench.track.client import _DATABASE
from tests.perf.tables import RANKS, fill
from tests.perf.timing import show

_MAIN = "import sys; from bench.cli.main import main; sys.exit(main())"
_AGAIN = "Nothing has changed"  # what a cached run says


def timed(words: Sequence[str], folder: Path) -> tuple[float, float, str]:
    """Run a command and return its wall seconds, its CPU seconds and what it told the user."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "BENCH_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", _MAIN, *words]
    ended = subprocess.run(command, env=environment, capture_output=True, check=False, encoding="utf-8")
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise RuntimeError(f"bench {' '.join(words)} failed: {ended.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended.stderr


def row(label: str, goal: float | None, words: Sequence[str], folder: Path, rounds: int = 1) -> tuple[str, ...]:
    """Return a line of the table: a command, its goal, and the medians of its wall and CPU seconds."""
    found = [timed(words, folder) for _ in range(rounds)]
    wall, cpu = (statistics.median(each) for each in zip(*((wall, cpu) for wall, cpu, _ in found), strict=True))
    if label == "bench run, cached" and not all(_AGAIN in told for _, _, told in found):
        label += " (planned again: the code was just changed)"
    return label, "-" if goal is None else f"{goal:.1f}", f"{wall:.1f}", f"{cpu:.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="16,32,64", help="of the made-up run")
    parser.add_argument("--many", type=int, default=100, help="seeds of the last plan")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cells, output = ["--methods", "paper", "--ranks", options.ranks], ["--output", str(folder / "runs")]
        plan = fill(folder / "runs", Cells(methods="paper", ranks=options.ranks))
        (folder / "runs" / _DATABASE).touch()  # a cached run asks whether it exists, and does not open it
        count, trial, run = len(plan.cells), plan.cells[0].trial, ["run", *cells, "--lanes", "0", *output]
        seeds, rounds = ",".join(map(str, range(options.many))), options.rounds
        many = ["plan", "--methods", "paper", "--ranks", RANKS, "--seeds", seeds, "--output", str(folder / "empty")]
        rows = [
            row("bench run, of which all is done, writes its reports", None, run, folder),
            row("bench run, cached", 2.5, run, folder, rounds),
            row("bench leaderboard", 1.5, ["leaderboard", *output], folder, rounds),
            row("bench ls trials", 1.5, ["ls", "trials", *output], folder, rounds),
            row("bench ls runs", 1.5, ["ls", "runs", *output], folder, rounds),
            row("bench ls methods, which imports them", None, ["ls", "methods"], folder, rounds),
            row("bench show TRIAL", 1.5, ["show", trial.id, *output], folder, rounds),
            row("bench plan", None, ["plan", *cells, *output], folder),
            row(f"bench plan, {64 * options.many * count // len(plan.request.ranks):,} cells", 8.0, many, folder),
        ]
    title = f"Commands on {count} cells of micro, in fresh processes; load average {psutil.getloadavg()[0]:.1f}"
    show(title, ["command", "goal, s", "wall, s", "CPU, s"], rows)


if __name__ == "__main__":
    main()
