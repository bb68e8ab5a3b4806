"""Compute the digest of examples, which is the part of every id that depends on the task's data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from bench.file_digests import of_files
from bench.plugins.examples import read_examples
from bench.plugins.images import rgb_image
from bench.plugins.source import LENGTH
from bench.values.canonical import digest

if TYPE_CHECKING:
    from bench.plugins.task import Example, Split, Task

_AT_ONCE = 2_000  # examples whose files are digested together


Arguments = ParamSpec("Arguments")
Known = TypeVar("Known")


def once_a_task(
    function: Callable[Concatenate[Task, Arguments], Known],
) -> Callable[Concatenate[Task, Arguments], Known]:
    """Cache a function's results per task and other arguments, for as long as the task object lives."""
    known: WeakKeyDictionary[Task, dict[tuple[object, ...], Known]] = WeakKeyDictionary()

    def remembered(task: Task, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Known:
        of_task, key = known.setdefault(task, {}), (*args, *kwargs.items())
        if key not in of_task:
            of_task[key] = function(task, *args, **kwargs)
        return of_task[key]

    return remembered


@once_a_task
def of_split(task: Task, split: Split, count: int | None) -> str:
    """Return the digest of the first ``count`` examples of a split."""
    examples = read_examples(task, split)[:count]
    return of_examples(examples, [task.prompt(example) for example in examples])


def of_examples(examples: Sequence[Example], prompts: Sequence[str]) -> str:
    """Return the digest of examples: ids, prompts, answers and the pixels of every image."""
    total = hashlib.sha256()
    pairs = zip(examples, prompts, strict=True)
    pixels: dict[int, tuple[object, bytes]] = {}  # keeps each image alive, because an id may be reused after that
    while some := list(islice(pairs, _AT_ONCE)):
        files = of_files(example.image for example, _ in some if isinstance(example.image, Path))
        for example, prompt in some:
            total.update(digest([example.id, prompt, list(example.answers)]).encode())
            if isinstance(example.image, Path):
                total.update(files[example.image])
                continue
            key = id(example.image)
            if key not in pixels:
                pixels[key] = (example.image, of_image(example))
            total.update(pixels[key][1])
    return total.hexdigest()[:LENGTH]


def of_image(example: Example) -> bytes:
    """Return the digest of an example's image: of the bytes of its file, or else of its pixels."""
    if isinstance(example.image, Path):
        return hashlib.sha256(example.image.read_bytes()).digest()
    image = example.image
    if image.mode in ("P", "PA"):  # its bytes are numbers of colours, not the colours
        image = rgb_image(image)
    content = f"{image.mode}{image.size}".encode() + image.tobytes()
    return hashlib.sha256(content).digest()
