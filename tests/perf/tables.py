"""CPU seconds and memory of a leaderboard of a thousand and of ten thousand made-up records.

    python -m tests.perf.tables

The records are those of the paper's seven methods at 64 ranks on the two targets of ``micro``, with one seed and with
eleven; every example's score is drawn at random. They lie in a temporary folder, like a folder of an older version:
without ``scores/numbers.bin``. "first" is ``bench leaderboard`` on that folder, in a process of its own; "warm" is the
same command again. Memory is the highest resident set of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.cli.options import Cells
from bench.cli.request import read_request
from bench.plan.baselines import make
from bench.plan.plan import Plan
from bench.store.run_folder import Store
from bench.text import text_table
from bench.values.job import Job
from bench.values.record import Record
from bench.values.scores import Score

RANKS = ",".join(map(str, range(1, 65)))


@cache
def lines(task: str, split: str, count: int) -> tuple[tuple[str, str], ...]:
    """Return two lines for each made-up example of a score: with a wrong and with a right prediction."""
    made = []
    for place in range(count):
        example = {
            "id": f"{task}-{split}-{place}",
            "question": "What is in the picture, at the left of the small red square?",
            "answers": ["a square", "square"],
        }
        said = (
            {**example, "prediction": text, "scores": {"exact": hit, "lenient": hit}}
            for text, hit in (("a circle", 0.0), ("a square", 1.0))
        )
        wrong, right = (json.dumps(row) + "\n" for row in said)
        made.append((wrong, right))
    return tuple(made)


def write(job: Job, store: Store, random_: random.Random) -> None:
    """Write the record and the scores of a job, four of five right, without the file of numbers.

    The store would write that file, too, and wait for the disk each time, which takes five times as long.
    """
    scores = {}
    environment = {"device": "CPU", "torch": "2.13.0", "transformers": "5.0.0", "attention": "sdpa", "dtype": "float32"}
    folder = store.begin(job.trial)
    (folder / "scores").mkdir()
    for item in job.asked:
        hits = random_.choices((0, 1), (1, 4), k=item.count)
        name, value = f"scores/{item.key}.jsonl", sum(hits) / item.count
        pairs = zip(lines(item.task, item.split, item.count), hits, strict=True)
        (folder / name).write_text("".join(pair[hit] for pair, hit in pairs), encoding="utf-8")
        scores[item.key] = Score(item, "exact", {"exact": value, "lenient": value}, name, 1.0, environment)
    store.write(Record(job.trial, "done", scores, environment=environment))


def fill(root: Path, cells: Cells) -> Plan:
    """Write a record of every trial of some cells, and return their plan."""
    (store := Store(root)).prepare()
    plan, random_ = make(read_request(cells, root), store), random.Random(0)
    for job in plan.jobs:
        write(job, store, random_)
    return plan


def measure(words: list[str]) -> tuple[str, ...]:
    """Run a command in a process of its own, and return its CPU seconds and its memory in GB.

    It has a cache of its own, so that "first" does not find what an earlier timing has left.
    """
    own = {**os.environ, "BENCH_CACHE": str(Path(words[-1]) / "cache")}
    subprocess.run([sys.executable, __file__, "--run", *words], check=True, stdout=subprocess.DEVNULL, env=own)
    seconds, kib = (Path(words[-1]) / "measured").read_text(encoding="utf-8").split()
    return f"{float(seconds):.1f}", f"{1.024e-6 * float(kib):.2f}"


def main() -> None:
    """Print the table; ``--run`` marks a process that one row measures."""
    if sys.argv[1:2] == ["--run"]:
        from bench.cli.main import main as bench

        code = bench(sys.argv[2:])
        used = resource.getrusage(resource.RUSAGE_SELF)
        (Path(sys.argv[-1]) / "measured").write_text(f"{time.process_time()} {used.ru_maxrss}", encoding="utf-8")
        sys.exit(code)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 11])
    parser.add_argument("--examples", type=int, default=100, help="of each task")
    options = parser.parse_args()
    table: list[tuple[str, ...]] = [("records", "MB", "first, CPU s", "GB", "warm, CPU s", "GB")]
    for seeds in options.seeds:
        with TemporaryDirectory() as scratch:
            many, few = ",".join(map(str, range(seeds))), str(options.examples)
            count = len(fill(Path(scratch), Cells(methods="paper", ranks=RANKS, seeds=many, limit=few)).jobs)
            words = ["leaderboard", "--methods", "paper", "--ranks", RANKS, "--seeds", many, "--limit", few]
            words += ["--output", scratch]
            size = sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file()) / 1e6
            table.append((f"{count:,}", f"{size:,.0f}", *measure(words), *measure(words)))
    out = sys.stdout.write
    out(f"bench leaderboard; {options.examples} examples of each task; goals of 10,000: first 90, warm 10\n")
    out(f"load average {psutil.getloadavg()[0]:.1f}\n")
    for line in text_table(table, left=()):
        out(f"{line}\n")


if __name__ == "__main__":
    main()
