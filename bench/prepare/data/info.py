"""Print the card of a task: its owner, its size, where it comes from, and its prompts."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.errors import DataError
from bench.plugins.task import SPLITS, Card, Task
from bench.plugins.tasks import Tasks
from bench.prepare.data import checksums
from bench.sizes import readable_size

_WIDTH = 116
_MARGIN = 11


def lines(tasks: Tasks, name: str) -> Iterator[str]:
    """Yield the card of a task as lines for the terminal; files that are missing are marked."""
    task = tasks.load(name)
    yield name
    yield from _field("what", _about(task))
    yield from _field("paper", task.paper)
    if task.card is None:
        yield from _field("data", "are part of the package that provides the task")
    else:
        yield from _origin(task.card, task.reading.root)
    yield from _field("pictures", f"a report page {'shows' if task.pictures_may_be_copied else 'does not show'} copies")
    yield from _field("splits", "\n".join(_splits(task)))
    yield from _field("scores", f"{task.metric}; up to {_tokens(task)}")
    for variant in task.variants or ("",):
        yield from _field(
            "asks", (f"@{variant}\n" if variant else "") + _asked(tasks, f"{task.name}@{variant}".rstrip("@"))
        )
    if task.card is not None:
        yield from _field("disk", _disk(task, task.card))
        for text in task.card.notes:
            yield from _field("note", text)


def _tokens(task: Task) -> str:
    others = ", ".join(f"{count} as @{variant}" for variant, count in task.variant_tokens.items())
    return f"{task.max_new_tokens} new tokens" + (f" ({others})" if others else "")


def _about(task: Task) -> str:
    """Return the docstring of the task's class, one line per paragraph."""
    paragraphs = (inspect.getdoc(type(task)) or "").replace("``", "").split("\n\n")
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _origin(card: Card, root: Path) -> Iterator[str]:
    yield from _field("home", card.homepage)
    yield from _field("licence", card.licence)
    files = []
    for download in card.downloads:
        there = "present" if checksums.is_there(root, download) else "by hand" if download.by_hand else "missing"
        size = f" ({readable_size(download.size)})" if download.size else ""
        files.append(f"{there:8}  {download.unpacks_to or download.path}  from {download.url}{size}")
    yield from _field("files", "\n".join(files))
    if card.hub:
        yield from _field("hub", f"{card.hub}: {card.columns}")


def _splits(task: Task) -> Iterator[str]:
    for split in SPLITS:
        declared = f"{task.sizes[split]:,} declared" if split in task.sizes else "no size declared"
        try:
            found = len(task.examples(split))
            digest = task.manifest(split).get("sha256")
        except DataError as error:
            yield f"{split:10}  {declared}, not readable: {error}"
            continue
        yield f"{split:10}  {declared}, {found:,} here" + (f", manifest {str(digest)[:16]}" if digest else "")


def _asked(tasks: Tasks, name: str) -> str:
    """Return the prompt and the answer of the first test example, as a variant words them."""
    task = tasks.load(name)
    try:
        example = task.examples("test")[0]
    except DataError:
        return "(the data are missing)"
    return f"{task.prompt(example)}\n-> {example.answers[0]}"


def _disk(task: Task, card: Card) -> str:
    folders = {Path(download.path).parts[0] for download in card.downloads} | {task.name}
    sizes = {folder: _bytes(task.reading.root / folder) for folder in sorted(folders)}
    listed = ", ".join(
        f"{readable_size(size)} in {task.reading.root / folder}" for folder, size in sizes.items() if size
    )
    return listed or f"nothing in {task.reading.root}"


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _field(name: str, text: str) -> Iterable[str]:
    """Return a text with its name, wrapped and indented; its line breaks are kept."""
    wrapped = [
        part
        for line in text.splitlines() or [""]
        for part in textwrap.wrap(line, _WIDTH - _MARGIN, break_long_words=False, break_on_hyphens=False) or [""]
    ]
    return [f"  {name if not place else '':{_MARGIN - 2}}{line}".rstrip() for place, line in enumerate(wrapped)]
