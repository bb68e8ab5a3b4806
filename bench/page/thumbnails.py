"""Make the small pictures of a page, if the task says that its pictures may be copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING

from bench.errors import BenchError, first_line
from bench.plugins.examples import read_examples
from bench.plugins.images import rgb_image
from bench.plugins.task import Split, Task

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 128  # pixels of the longer side
_QUALITY = 80


class Budget:
    """The bytes that the pictures of a page may still take."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> bool:
        """Return whether so many bytes are left, and take them if they are."""
        if count > self.left:
            return False
        self.left -= count
        return True


def thumbnails(
    task: Task, split: Split, wanted: Iterable[str], budget: Budget, prefix: str
) -> tuple[Mapping[str, str], Mapping[str, bytes], str]:
    """Return files for the pictures of wanted examples, in their order, until the budget is used up.

    The result has the file of each example's picture by the example's id, the bytes of each file, and why pictures are
    missing, or nothing. An id that differs from the task's is left out.
    """
    if not task.pictures_may_be_copied:
        return (
            {},
            {},
            f"The pictures of {task.name} are not shown, because the task does not say that they may be copied.",
        )
    try:
        examples = {example.id: example for example in read_examples(task, split)}
    except BenchError as error:
        return {}, {}, f"The pictures of {task.name} cannot be read: {first_line(error)}"
    names: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for number, name in enumerate(name for name in wanted if name in examples):
        try:
            found = _shrunk(rgb_image(examples[name].image))
        except BenchError as error:
            return names, files, f"Some pictures of {task.name} cannot be read: {first_line(error)}"
        if not budget.take(len(found)):
            return names, files, f"Only {number} examples of {task.name} have a picture, to keep the page small."
        names[name] = f"{prefix}{number}.webp"
        files[names[name]] = found
    return names, files, ""


def _shrunk(image: Image) -> bytes:
    """Return a picture as a small WebP file without metadata."""
    if max(image.size) > SIDE:
        image = image.copy()
        image.thumbnail((SIDE, SIDE))
    out = BytesIO()
    image.save(out, "WEBP", quality=_QUALITY)
    return out.getvalue()
