from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from PIL import Image
from typing_extensions import override

from bench import Example, Task
from bench.checks.tiny import Squares
from bench.plan.fingerprint import of_examples, once_a_task
from bench.plugins.registry import run_file
from bench.plugins.source import of_plugin


class Lazy(Sequence[Example]):
    """Examples that draw each image on demand and keep no image."""

    @override
    def __len__(self) -> int:
        return 50

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    @override
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[place] for place in range(50)[index]]
        if index >= len(self):
            raise IndexError(index)
        return Example(str(index), "which shade ?", ("gray",), Image.new("RGB", (4, 4), (index, index, index)))

    @override
    def __iter__(self) -> Iterator[Example]:
        return (self[place] for place in range(50))


PLUGIN = """
from typing import ClassVar
from bench import Card
class Mine:
    {}card: ClassVar[Card] = Card("{}", "CC0")
    prompt: ClassVar[str] = "{}"
"""


def test_the_origin_of_a_tasks_data_does_not_change_its_digest(tmp_path: Path) -> None:
    digests = []
    for number, words in enumerate((("", "here", "a"), ("", "there", "a"), ("", "here", "b"), ("dis", "here", "a"))):
        path = tmp_path / f"plugin_{number}.py"
        path.write_text(PLUGIN.format(*words), encoding="utf-8")
        digests.append(of_plugin(run_file(path).Mine))

    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_images_that_are_drawn_when_asked_for_are_each_read() -> None:
    prompts = ["which shade ?"] * 50

    assert of_examples(Lazy(), prompts) == of_examples(list(Lazy()), prompts)


def test_what_is_remembered_of_a_task_is_of_that_instance_alone() -> None:
    asked: list[Task] = []

    @once_a_task
    def count(task: Task, split: str) -> int:
        asked.append(task)
        return len(asked)

    one, other = Squares(), Squares()

    assert [count(one, "test"), count(one, "test"), count(other, "test"), count(one, "train")] == [1, 1, 2, 3]


def test_the_colours_of_a_palette_are_part_of_the_digest() -> None:
    images = [Image.new("P", (4, 4), 1) for _ in range(2)]
    for image, colours in zip(images, ([0, 0, 0, 9, 9, 9], [0, 0, 0, 200, 9, 9]), strict=True):
        image.putpalette(colours)

    digests = {of_examples([Example("1", "which ?", ("a",), image)], ["which ?"]) for image in images}

    assert len(digests) == 2
