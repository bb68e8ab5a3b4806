"""Turn a task's examples into a model's batches: token ids, label masks and frozen vision features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from bench.errors import DataError
from bench.model.answer_loss import IGNORED
from bench.model.decoding import Prefixes
from bench.model.family import Features
from bench.model.resident import Base
from bench.plugins.task import Example, Fault, Split, Task
from bench.trial.features import FeatureCache
from bench.trial.tokens import Pair, Tokens, taught
from bench.trial.vision import encoded
from bench.values.resources import Resources

if TYPE_CHECKING:
    from PIL.Image import Image

_GROUP = 32  # images pass the tower in fixed groups, so that the bits of their features do not depend on the request


class Row(NamedTuple):
    """One example that is learnt: its token ids, the label of each token, and its image's features."""

    ids: list[int]
    labels: list[int]
    features: Features


class Corpus:
    """One split of a task for one base model.

    Its tokens are kept. Its features are kept as long as ``cache`` has room. A corpus that is taught has a
    ``max_length``: it is the training split without the examples that cannot be taught. Of a ``sparse`` corpus, only
    some examples are read, and only their tokens are kept.
    """

    sources: Mapping[str, range] = MappingProxyType({})  # a training on one task sees no other
    tasks: Mapping[str, range] = MappingProxyType({})  # ... and learns no other

    def __init__(  # noqa: PLR0913  where the examples are from, and how they are kept
        self,
        base: Base,
        task: Task,
        split: Split,
        template: str,
        cache: FeatureCache | None = None,
        max_length: int | None = None,
        *,
        sparse: bool = False,
    ) -> None:
        self.base = base
        self.task = task
        self.examples: Sequence[Example] = task.examples(split)
        self._split = split
        self._tokens = Tokens(base.family, base.processor, base.model.config, template)
        self._prompts: dict[int, list[int]] = {}
        self._pairs: dict[int, Pair] = {}
        if max_length is not None:
            found = taught(self._tokens, task, max_length, keep=not sparse)
            self.examples, self._pairs = found.examples, found.pairs
        self._places, self._images = _distinct_images(self.examples)
        self._cache = cache or FeatureCache(Resources().feature_cache_bytes)
        # If the features of a split exceed the cache, a group is evicted before its next image is needed; groups of 32
        # would then cost 32 times the work. So they would if only one image of a group is ever read.
        fits = len(self._images) * base.feature_bytes <= self._cache.limit
        self._group = _GROUP if fits and not sparse else 1

    @property
    def taught(self) -> Sequence[range]:
        """The numbers of the examples of which a training sees epochs."""
        return (range(len(self.examples)),)

    def prompt_length(self, index: int) -> int:
        """Return the number of tokens of an example's prompt, including the image's."""
        return len(self._prompt(index))

    def target_tokens(self, indices: Sequence[int], max_length: int) -> int:
        """Return how many tokens of these examples are learnt if each example is cut to ``max_length``."""
        pairs = [self._pair(index) for index in indices]
        return sum(max(0, min(len(answer), max_length - len(prompt))) for prompt, answer in pairs)

    def training_batch(self, indices: Sequence[int], max_length: int) -> dict[str, Tensor]:
        """Return prompts with answers, padded on the right; only the answer and its end token are learnt."""
        return joined(self.base, self.rows(indices, max_length))

    def rows(self, indices: Sequence[int], max_length: int) -> list[Row]:
        """Return the rows of a training batch, which may be joined with those of other corpora."""
        ids, labels, image = [], [], self.base.family.placeholder(self.base.model.config)
        for index in indices:
            prompt, answer = self._pair(index)
            ids.append([*prompt, *answer][:max_length])
            if (left := ids[-1].count(image)) < (whole := prompt.count(image)):
                raise DataError(
                    f"{self.task.name} {self.examples[index].id}: recipe.max_length {max_length} keeps only {left} of "
                    f"the {whole} image tokens. Raise it."
                )
            labels.append([*[IGNORED] * len(prompt), *answer][:max_length])
        return [Row(*parts) for parts in zip(ids, labels, self._features(indices), strict=True)]

    def prompt_batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return prompts without answers, padded on the left, ready for generation."""
        batch = _padded(self.base, [self._prompt(index) for index in indices], left=True)
        return batch | _inputs(self.base, batch["input_ids"], self._features(indices))

    def image(self, index: int) -> int:
        """Return the number of an example's image; examples whose image is the same have the same number."""
        return self._places[index]

    def prefix(self, index: int) -> tuple[int, tuple[int, ...]]:
        """Return what questions on one image share: the image's number, and the tokens up to the end of the image.

        The prompt's last token is not part of it.
        """
        ids, image = self._prompt(index), self.base.family.placeholder(self.base.model.config)
        end = len(ids) - ids[::-1].index(image)
        return self._places[index], tuple(ids[: min(end, len(ids) - 1)])

    def prefixed_batch(self, indices: Sequence[int]) -> tuple[dict[str, Tensor], Prefixes | None]:
        """Return prompts without answers, ready for generation; those that share a prefix have it once."""
        shared = [self.prefix(index) for index in indices]
        if len(numbers := {prefix: number for number, prefix in enumerate(dict.fromkeys(shared))}) == len(shared):
            return self.prompt_batch(indices), None
        starts = _padded(self.base, [list(ids) for _, ids in shared], left=True)
        rests = [self._prompt(index)[len(ids) :] for index, (_, ids) in zip(indices, shared, strict=True)]
        batch = {
            name: torch.cat([starts[name], rest], 1) for name, rest in _padded(self.base, rests, left=True).items()
        }
        firsts = [shared.index(prefix) for prefix in numbers]
        ids = starts["input_ids"][firsts]
        inputs = _inputs(self.base, ids, self._features([indices[first] for first in firsts]))
        rows = [numbers[prefix] for prefix in shared]
        return batch, Prefixes({"input_ids": ids, **inputs}, ids.new_tensor(rows), ids.new_tensor(firsts))

    def _prompt(self, index: int) -> list[int]:
        """Return an example's prompt tokens; an evaluation does not read the answer, so the answer may be anything."""
        if index not in self._prompts:
            with self._named(index) as example:
                self._prompts[index] = self._tokens.prompt(self.task, example)
        return self._prompts[index]

    def _pair(self, index: int) -> Pair:
        if index not in self._pairs:
            with self._named(index) as example:
                self._pairs[index] = self._tokens.pair(self.task, example)
        return self._pairs[index]

    @contextmanager
    def _named(self, index: int) -> Iterator[Example]:
        """Put the task and the place of an example before the reason of its fault."""
        example = self.examples[index]
        try:
            yield example
        except DataError as error:
            fault = Fault(self.task.place(example, self._split), str(error))
            raise DataError(f"{self.task.name}: {fault}. Repair the record.") from error

    def _features(self, indices: Sequence[int]) -> list[Features]:
        """Return the features of the images of some examples."""
        places = [self._places[index] for index in indices]
        groups = self._cache.take(self, (place // self._group for place in places), self._features_of)
        return [groups[place // self._group][place % self._group] for place in places]

    def _features_of(self, groups: Sequence[int]) -> Iterator[tuple[int, Sequence[Features]]]:
        images = [self._images[group * self._group : (group + 1) * self._group] for group in groups]
        for place, features in encoded(self.base, images, self._cache.files):
            yield groups[place], features


def joined(base: Base, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Return rows as one training batch, padded on the right."""
    batch = _padded(base, [row.ids for row in rows], left=False)
    batch["labels"] = _tensor(base, [row.labels for row in rows], IGNORED, left=False)
    return batch | _inputs(base, batch["input_ids"], [row.features for row in rows])


def _padded(base: Base, rows: Sequence[list[int]], *, left: bool) -> dict[str, Tensor]:
    tokenizer = base.processor.tokenizer
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    mask = [[1] * len(row) for row in rows]
    return {"input_ids": _tensor(base, rows, pad, left=left), "attention_mask": _tensor(base, mask, 0, left=left)}


def _tensor(base: Base, rows: Sequence[list[int]], fill: int, *, left: bool) -> Tensor:
    """Return rows as one tensor [n, longest], padded with ``fill`` on the left or on the right."""
    width = max(len(row) for row in rows)
    gaps = [[fill] * (width - len(row)) for row in rows]
    padded = [gap + row if left else row + gap for gap, row in zip(gaps, rows, strict=True)]
    return torch.tensor(padded, device=base.device)


def _inputs(base: Base, ids: Tensor, features: Sequence[Features]) -> dict[str, Tensor]:
    """Return the model's inputs other than ids, mask and labels: the images' features."""
    return base.family.inputs(base.model.config, ids, features)


def _distinct_images(examples: Sequence[Example]) -> tuple[list[int], list[Image | Path]]:
    """Return each example's index into the distinct images, and those images in order."""
    places: list[int] = []
    images: list[Image | Path] = []
    known: dict[object, int] = {}
    for example in examples:
        key: object = example.image if isinstance(example.image, Path) else id(example.image)
        if key not in known:
            known[key] = len(images)
            images.append(example.image)
        places.append(known[key])
    return places, images
