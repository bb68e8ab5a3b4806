"""CPU seconds and memory of a leaderboard of a thousand and of ten thousand made-up records.

    python -m tests.perf.tables

The records are those of the paper's seven methods at 64 ranks on the two targets of ``micro``, with one seed and with
eleven; every example's score is drawn at random. They lie in a temporary folder, like a folder of an older version:
without ``scores/numbers.bin``. "first" is ``bench leaderboard`` on that folder, in a process of its own; "warm" is the
same command again. Memory is the highest resident set of the process.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.cli.options import Cells
from bench.cli.request import read_request
from bench.plan.baselines import make
from bench.store.numbers import FILE
from bench.store.run_folder import Store
from bench.text import text_table
from bench.values.job import Job
from bench.values.record import Record
from bench.values.scores import Score

_RANKS = ",".join(map(str, range(1, 65)))


def rows(job: Job, random_: random.Random) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Yield made-up examples for each score of a job, four of five of them right."""
    for item in job.asked:
        right = [random_.random() < 0.8 for _ in range(item.count)]
        yield (
            item.key,
            [
                {
                    "id": f"{item.task}-{item.split}-{place}",
                    "question": "What is in the picture, at the left of the small red square?",
                    "answers": ["a square", "square"],
                    "prediction": "a square" if hit else "a circle",
                    "scores": {"exact": float(hit), "lenient": float(hit)},
                }
                for place, hit in enumerate(right)
            ],
        )


def write(job: Job, store: Store, random_: random.Random) -> None:
    """Write the record and the scores of a job, without the file of numbers."""
    scores = {}
    environment = {"device": "CPU", "torch": "2.13.0", "transformers": "5.0.0", "attention": "sdpa", "dtype": "float32"}
    for item, (key, examples) in zip(job.asked, rows(job, random_), strict=True):
        file = store.scores_of(job.trial).write(key, examples)
        value = sum(example["prediction"] == "a square" for example in examples) / item.count
        scores[key] = Score(item, "exact", {"exact": value, "lenient": value}, file, 1.0, environment)
    store.write(Record(job.trial, "done", scores, environment=environment))
    (store.folder(job.trial) / "scores" / FILE).unlink()


def fill(root: Path, seeds: int, examples: int) -> tuple[int, list[str]]:
    """Write the records of a number of seeds, and return how many they are and the command of their leaderboard."""
    many, few = ",".join(map(str, range(seeds))), str(examples)
    cells = Cells(methods="paper", ranks=_RANKS, seeds=many, limit=few)
    store = Store(root)
    plan = make(read_request(cells, root), store)
    random_ = random.Random(0)
    for job in plan.jobs:
        write(job, store, random_)
    options = ["--methods", "paper", "--ranks", _RANKS, "--seeds", many, "--limit", few]
    return len(plan.jobs), ["leaderboard", *options, "--output", str(root)]


def measure(words: list[str]) -> tuple[str, ...]:
    """Run a command in a process of its own, and return its CPU seconds and its memory in GB."""
    subprocess.run([sys.executable, __file__, "--run", *words], check=True, stdout=subprocess.DEVNULL)
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
            count, words = fill(Path(scratch), seeds, options.examples)
            size = sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file()) / 1e6
            table.append((f"{count:,}", f"{size:,.0f}", *measure(words), *measure(words)))
    out = sys.stdout.write
    out(f"bench leaderboard; {options.examples} examples of each task; load average {psutil.getloadavg()[0]:.1f}\n")
    for line in text_table(table, left=()):
        out(f"{line}\n")


if __name__ == "__main__":
    main()
