"""Turn examples into token ids, and find those that cannot be taught. This needs a tokenizer, and no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.errors import DataError, UsageError
from bench.model.families import family_in
from bench.model.family import Config, Exchange, Family, Processor
from bench.plugins.images import rgb_image
from bench.plugins.task import Example, Fault, Task
from bench.values.recipe import Recipe

Pair = tuple[list[int], list[int]]  # the tokens of a prompt, with the image's placeholders, and of its answer


@dataclass(frozen=True, slots=True)
class Tokens:
    """A model's way to turn prompts and answers into token ids; ``config`` and ``processor`` are the model's."""

    family: Family
    processor: Processor
    config: Config
    template: str

    @classmethod
    def of_checkpoint(cls, folder: Path, recipe: Recipe) -> Self:
        """Load the tokenizer of a checkpoint, but not its weights.

        Raises:
            UsageError: the checkpoint's family is not supported.
        """
        family = family_in(folder)
        config = family.model_class.config_class.from_pretrained(folder, local_files_only=True)
        return cls(family, family.processor(folder, recipe.image), config, recipe.template)

    def prompt(self, task: Task, example: Example) -> list[int]:
        """Return the tokens of an example's prompt, for an evaluation.

        Raises:
            DataError: the prompt contains the token of an image.
        """
        return self._ids(task, example, None)[0]

    def pair(self, task: Task, example: Example) -> Pair:
        """Return the tokens of an example's prompt and of the answer that is taught, however long they are.

        Raises:
            DataError: the example cannot be taught; the message says why.
        """
        if not example.answers:
            raise DataError("it has no answer")
        return self._ids(task, example, example.answers[0])

    def lesson(self, task: Task, example: Example, max_length: int) -> Pair:
        """Return ``pair``, of which a training reads the first ``max_length`` tokens.

        Raises:
            UsageError: no example can be taught, because the image alone has as many tokens.
            DataError: the example cannot be taught, or its prompt leaves no room for its answer.
        """
        if (image := self.family.image_tokens(self.config)) >= max_length:
            raise UsageError(f"recipe.max_length is {max_length:,}, but an image alone has {image:,} tokens. Raise it.")
        pair = self.pair(task, example)
        if (length := len(pair[0])) >= max_length:
            raise DataError(
                f"its prompt has {length:,} tokens, so recipe.max_length {max_length:,} leaves no room for its answer"
            )
        return pair

    def _ids(self, task: Task, example: Example, answer: str | None) -> Pair:
        """Return the tokens of an example's prompt, and of the answer if one is given."""
        count = self.family.tokens_of(self.config, self.processor, lambda: rgb_image(example.image))
        exchange = Exchange(task.prompt(example), self.template, answer)
        return self.family.ids(self.processor, self.config, exchange, count)


@dataclass(frozen=True, slots=True)
class Taught:
    """The examples of a training split that can be taught, and the faults of the others by id.

    ``pairs`` has the tokens of the examples by their place; it is empty if they are not kept.
    """

    examples: Sequence[Example]
    pairs: dict[int, Pair]
    faults: Mapping[str, Fault]


def taught(tokens: Tokens, task: Task, max_length: int, *, keep: bool = True) -> Taught:
    """Divide a task's training split; only as many examples may be broken as the task's reading skips.

    Every example is tokenised; ``keep`` keeps the tokens.

    Raises:
        DataError: more records of the split are broken, or none of its examples can be taught.
    """
    examples: list[Example] = []
    pairs: dict[int, Pair] = {}
    faults: dict[str, Fault] = {}
    split = task.examples("train")
    before, allowed = len(task.faults("train")), task.reading.skip_bad
    for example in split:
        try:
            pair = tokens.lesson(task, example, max_length)
        except DataError as error:
            fault = Fault(task.place(example, "train"), str(error))
            if (broken := before + len(faults)) >= allowed:
                raise DataError(
                    f"{task.name}: {fault}. That is broken record {broken + 1}, and {allowed} may be skipped: repair "
                    "it, or allow more with --skip-bad."
                ) from error
            faults[example.id] = fault
            continue
        if keep:
            pairs[len(examples)] = pair
        examples.append(example)
    if not examples:
        first = next(iter(faults.values()), "the split is empty")
        raise DataError(f"{task.name}: none of the {len(faults)} examples of its train split can be taught: {first}.")
    return Taught(examples, pairs, faults)
