"""Join the training examples of several tasks: of a target and its sources, or of tasks that are learnt together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from types import MappingProxyType

from torch import Tensor

from bench.trial.corpus import Corpus, Row, joined


class Joined:
    """The training examples of several tasks under one numbering.

    A batch may hold examples of several tasks; a task's rows have the ids, labels and features that its own corpus
    gives them, and one padding. A training sees epochs of each range of numbers in ``taught``.
    """

    taught: Sequence[range]
    sources: Mapping[str, range] = MappingProxyType({})
    tasks: Mapping[str, range] = MappingProxyType({})

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self.base = corpora[0].base
        self._corpora = corpora
        *self._starts, end = accumulate((len(corpus.examples) for corpus in corpora), initial=0)
        self._numbers = [range(*ends) for ends in pairwise((*self._starts, end))]

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


class Mixture(Joined):
    """The training examples of a target and of its sources: the target's come first.

    ``examples`` are the target's, and ``sources`` has the numbers of the others by source.
    """

    def __init__(self, target: Corpus, sources: Mapping[str, Corpus]) -> None:
        super().__init__((target, *sources.values()))
        self.examples = target.examples
        self.taught = self._numbers[:1]
        self.sources = dict(zip(sources, self._numbers[1:], strict=True))


class Union(Joined):
    """The training examples of tasks that are learnt together; ``tasks`` has their numbers by task."""

    def __init__(self, tasks: Mapping[str, Corpus]) -> None:
        super().__init__(tuple(tasks.values()))
        self.taught = self._numbers
        self.tasks = dict(zip(tasks, self._numbers, strict=True))


Lessons = Corpus | Mixture | Union  # what a training reads
