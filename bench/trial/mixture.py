"""Join the training examples of a target and of its sources, for a method that sees both."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from torch import Tensor

from bench.trial.corpus import Corpus, Row, joined


class Mixture:
    """The training examples of a target and of its sources under one numbering: the target's come first.

    ``examples`` are the target's, of which every training sees epochs; ``sources`` has the numbers of the others by
    source. A batch may hold examples of several tasks; a task's rows have the ids, labels and features that its own
    corpus gives them, and one padding.
    """

    def __init__(self, target: Corpus, sources: Mapping[str, Corpus]) -> None:
        self.base = target.base
        self.examples = target.examples
        self._corpora = (target, *sources.values())
        *self._starts, _ = accumulate((len(corpus.examples) for corpus in self._corpora), initial=0)
        self.sources: Mapping[str, range] = {
            name: range(start, start + len(corpus.examples))
            for (name, corpus), start in zip(sources.items(), self._starts[1:], strict=True)
        }

    def target_tokens(self, indices: Sequence[int], max_length: int) -> int:
        """Return how many tokens of these examples are learnt if each example is cut to ``max_length``."""
        places = map(self._place, indices)
        return sum(self._corpora[corpus].target_tokens([index], max_length) for corpus, index in places)

    def training_batch(self, indices: Sequence[int], max_length: int) -> dict[str, Tensor]:
        """Return prompts with answers, padded on the right; only the answer and its end token are learnt."""
        places = [self._place(index) for index in indices]
        rows: dict[tuple[int, int], Row] = {}
        for number, corpus in enumerate(self._corpora):
            own = [index for of, index in places if of == number]
            rows |= {(number, index): row for index, row in zip(own, corpus.rows(own, max_length), strict=True)}
        return joined(self.base, [rows[place] for place in places])

    def _place(self, index: int) -> tuple[int, int]:
        """Return the number of an example's corpus, and its index there."""
        corpus = bisect_right(self._starts, index) - 1
        return corpus, index - self._starts[corpus]


Lessons = Corpus | Mixture  # what a training reads
