"""Answers per second with and without shared image prefixes, at GQA's proportions.

python -m tests.perf.prefixes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from typing_extensions import override

from bench.model.llava.tiny import Shape, processor
from bench.model.resident import Base
from bench.plugins.task import Example, Split, Task
from bench.trial.corpus import Corpus
from bench.trial.evaluate import evaluate
from bench.values.scores import ScoreSpec
from tests.perf import scaled
from tests.perf.timing import each_round, ratio, show

QUESTIONS, BATCH, TOKENS, ROUNDS = 32, 32, 4, 3


class Questions(Task):
    """Questions of 8 to 24 drawn words, several on each drawn picture."""

    name: ClassVar[str] = "questions"
    paper: ClassVar[str] = "drawn here, for timings"
    primary: ClassVar[str] = "exact"
    max_new_tokens: ClassVar[int] = TOKENS

    count: int = QUESTIONS
    on_each: int = 1

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        rng, found = np.random.default_rng(0), list[Example]()
        for number in range(self.count):
            if number % self.on_each == 0:
                image = Image.fromarray(rng.integers(0, 255, (336, 336, 3), dtype=np.uint8))
            words = [f"w{word}" for word in rng.integers(0, scaled.WORDS, rng.integers(8, 25))]
            found.append(Example(str(number), " ".join(words), ("w1",), image))
        return found

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"exact": np.zeros(len(examples))}


def corpus(on_each: int, count: int = QUESTIONS, shape: Shape = scaled.SHAPE) -> Corpus:
    """Return questions, ``on_each`` on every picture, for a scaled model in float32."""
    model: Any = scaled.model(shape)
    task = Questions()
    task.on_each, task.count = on_each, count
    base = Base(model, scaled.tower(shape), processor(scaled.tokenizer(), shape), {}, torch.device("cpu"))
    system = " ".join(f"w{number}" for number in range(scaled.SYSTEM))
    return Corpus(base, task, "test", f"{system} <image> {{prompt}}")


def answers(corpus: Corpus, said: dict[str, list[str]], name: str) -> None:
    """Answer all questions in one of the ways, and keep what was said."""
    asked = ScoreSpec("questions", "test", QUESTIONS, "", TOKENS, "")
    given = evaluate(corpus.base.model, corpus, asked, batch_size=BATCH, whole=name == "whole")
    said[name] = [each.prediction for each in given]


def main() -> None:
    """Print a row for each number of questions on a picture."""
    rows = []
    for on_each in (32, 4, 1):
        examples, said = corpus(on_each), dict[str, list[str]]()
        ways = {name: partial(answers, examples, said, name) for name in ("whole", "shared")}
        found = each_round(ways, ROUNDS)
        same = sum(one == other for one, other in zip(said["whole"], said["shared"], strict=True))
        speeds = [f"{QUESTIONS / median(found[name]):.1f}" for name in ways]
        rows.append([str(on_each), *speeds, f"{ratio(found, 'whole', 'shared'):.2f}", f"{same}/{QUESTIONS}"])
    head = ["questions on an image", "whole, answers/s", "shared, answers/s", "ratio", "equal answers"]
    show("Evaluation: image prefixes read once (scaled LLaVA, float32, 32 at once, one thread)", head, rows)


if __name__ == "__main__":
    main()
