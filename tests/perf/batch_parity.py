"""How many answers differ between batch size 1 and 64, by dtype: the base model of micro on its test splits.

python tests/perf/batch_parity.py --limit 100
"""

from __future__ import annotations

import argparse

import torch

from bench.data import Corpus
from bench.evaluate import BATCH, generate
from bench.models import Base
from bench.registry import load_task
from bench.suite import MICRO


def main() -> None:
    """Print one line per dtype and task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=100)
    limit = parser.parse_args().limit
    torch.set_num_threads(1)
    for dtype in ("float32", "bfloat16", "float16"):
        base = Base.load(MICRO.folder, dtype, torch.device("cpu"))
        for name in (*MICRO.sources, *MICRO.targets):
            task = load_task(name)
            corpus = Corpus(base, task, "test", MICRO.recipe.template)
            indices = range(min(limit, len(corpus.examples)))
            one = generate(base.model, corpus, indices, task.max_new_tokens, batch_size=1)
            many = generate(base.model, corpus, indices, task.max_new_tokens, batch_size=BATCH)
            differ = sum(a != b for a, b in zip(one, many, strict=True))
            print(f"{dtype:9} {name:14} {differ} of {len(indices)} answers differ")


if __name__ == "__main__":
    main()
