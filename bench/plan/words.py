"""Check that a request's base model can say the answers of the tasks, and read their prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.model.vocabulary import Vocabulary, vocabulary_of
from bench.plan.fingerprint import once_a_task
from bench.plan.sources import check_source
from bench.plan.suite import Suite
from bench.plugins.examples import read_examples
from bench.plugins.task import Split, Task

if TYPE_CHECKING:
    from bench.plan.request import Request

_NAMED = 8  # how many unknown words a message names


@dataclass(frozen=True, slots=True)
class UnknownWords:
    """What a base model cannot say or read of a task.

    ``answers`` of ``all_answers`` taught answers have unknown words, ``in_answers``. Of ``all_in_prompts`` words of the
    prompts, ``in_prompts`` are unknown.
    """

    task: str
    model: str
    answers: int
    all_answers: int
    in_answers: tuple[str, ...]
    in_prompts: tuple[str, ...]
    all_in_prompts: int
    vocabulary: Vocabulary

    def __str__(self) -> str:
        """Return the counts and the first of the words in one sentence."""
        parts, words = [], []
        if self.answers:
            parts.append(f"{self.answers:,} of {self.all_answers:,} answers")
            words.append(_listed(self.in_answers))
        if self.in_prompts:
            parts.append(f"{len(self.in_prompts):,} of {self.all_in_prompts:,} words of the prompts")
            words.append(_listed(self.in_prompts))
        where = "; in the prompts: ".join(words)
        return f"{self.task}: {' and '.join(parts)} are unknown to {self.model}: {where}."

    @property
    def refusal(self) -> str:
        """The sentence, why such answers are refused, and what to do."""
        return (
            f"{self} No training teaches a word that the tokenizer lacks. Use words that the tokenizer has "
            f"({self.vocabulary.file} lists its {self.vocabulary.size:,} tokens), or another base model (--model)."
        )


def check_words(request: Request) -> Iterator[str]:
    """Yield a warning for each task with words that are unknown to the request's base model.

    Raises:
        UsageError: a target's answers have unknown words; or a method trains on the sources, and a source's answers
            have unknown words, or it has no training examples.
    """
    mixing, taught = request.mixing, request.taught
    for name in dict.fromkeys((*request.targets, *request.sources)):
        task, is_target = request.tasks.load(name), name in request.targets
        if mixing and not is_target:
            check_source(task, name, mixing)
        counts: dict[Split, int | None] = {"train": None} if name in taught else {}
        if found := unknown_words(request.suite, task, counts | {request.split: request.limit}, name):
            if found.answers and (is_target or mixing):
                instead = (
                    "" if is_target else f" Or leave {name} out of --sources, or drop {mixing}, which trains on it."
                )
                raise UsageError(f"{found.refusal}{instead}")
            yield f"{found} The model reads every such word as its unknown token."


def unknown_words(
    suite: Suite, task: Task, counts: dict[Split, int | None], name: str | None = None
) -> UnknownWords | None:
    """Return what a suite's base model cannot say or read of the first examples of some splits, or None.

    ``counts`` has the number of examples by split; None means all of them.
    """
    vocabulary = vocabulary_of(suite.folder)
    if vocabulary is None:
        return None
    examples = [example for split, count in counts.items() for example in read_examples(task, split)[:count]]
    answers = list(dict.fromkeys(example.answers[0] for example in examples))
    prompts = list(dict.fromkeys(task.prompt(example) for example in examples))
    lost, unread = vocabulary.unknown(answers), vocabulary.unknown(prompts)
    if not lost and not unread:
        return None
    return UnknownWords(
        name or task.name,
        f"the base model of {suite.name}",
        len(lost),
        len(answers),
        _words(lost.values()),
        _words(unread.values()),
        len({word for prompt in prompts for word in vocabulary.words(prompt)}) if unread else 0,
        vocabulary,
    )


@once_a_task
def unknown_answers(task: Task, name: str, suite: str, folder: Path) -> UnknownWords | None:
    """Return what the base model of a suite, in ``folder``, cannot say of a task's training answers, or None."""
    vocabulary = vocabulary_of(folder)
    if vocabulary is None:
        return None
    answers = list(dict.fromkeys(example.answers[0] for example in read_examples(task, "train")))
    lost, model = vocabulary.unknown(answers), f"the base model of {suite}"
    counts = (len(lost), len(answers), _words(lost.values()))
    return UnknownWords(name, model, *counts, (), 0, vocabulary) if lost else None


def _words(found: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for words in found for word in words))


def _listed(words: Sequence[str]) -> str:
    more = len(words) - _NAMED
    return ", ".join(words[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
