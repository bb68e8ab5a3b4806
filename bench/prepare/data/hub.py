"""Data sets from the hub: what they weigh, and their rows brought to where a task reads them with ``source=hub``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.console import agreed, say, tell
from bench.errors import DataError, UsageError
from bench.plugins.task import Card, Task
from bench.prepare.data.check import SPLITS
from bench.prepare.data.get import check_space
from bench.sizes import readable_size


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes of a hub data set: what is transferred, and what it takes unpacked; None: the hub does not say.

    ``commit`` is what its revision stands for now.
    """

    transfer: int | None
    unpacked: int | None
    commit: str


def get(tasks: Sequence[Task], root: Path, *, yes: bool) -> int:
    """Bring the hub data sets of tasks that read from there; a task's own reading writes what it needs under ``root``.

    Raises:
        UsageError: a task has no data set on the hub, or it does not fit on the disk.
        DataError: the hub cannot be asked.
    """
    needed = 0
    for task in tasks:
        name = address(task)
        found = weigh(task, name)
        tell([_line(task, name, found)])
        needed += (found.transfer or 0) + 2 * (found.unpacked or 0)  # the hub's cache, its tables, and our images
    check_space(root, needed)
    if not yes and not agreed("Fetch? [y/N] "):
        say("Nothing was fetched; --yes does not ask.")
        return 1
    return max(0, *(_read(task) for task in tasks))


def address(task: Task) -> str:
    """Return the hub's id and revision that a task reads: its option's, or its card's.

    Raises:
        UsageError: it has none.
    """
    card: Card | None = task.card
    if card is None or card.hub is None or not hasattr(task, "source"):
        raise UsageError(f"{task.name} has no data set on the hub. Fetch it with --from files.")
    return str(getattr(task, "hub", "") or card.hub)


def weigh(task: Task, name: str) -> Weight:
    """Return what the hub says a data set weighs, of the configurations that the task reads.

    Raises:
        DataError: ``datasets`` is not installed, or the hub cannot be asked.
    """
    repository, _, revision = name.partition("@")
    if Path(repository).is_dir():
        size = sum(path.stat().st_size for path in Path(repository).rglob("*") if path.is_file())
        return Weight(0, size, "a folder here")
    try:
        from datasets import load_dataset_builder
        from huggingface_hub import HfApi
    except ImportError as error:
        raise DataError("The hub needs the package datasets: pip install 'retain-bench[hub]'.") from error
    configs = task.card.hub_configs if task.card and task.card.hub_configs else (None,)
    try:
        commit = str(HfApi().dataset_info(repository, revision=revision or None).sha)
        infos = [load_dataset_builder(repository, config, revision=commit).info for config in configs]
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "").rstrip(". ")
        raise DataError(
            f"{name} cannot be asked for: {type(error).__name__}: {reason}. Check the network and the name, or take "
            "--from files."
        ) from error
    return Weight(_sum(info.download_size for info in infos), _sum(info.dataset_size for info in infos), commit)


def _read(task: Task) -> int:
    """Let a task read all its splits, which brings them, and return 1 where one cannot be read."""
    failed = 0
    for split in SPLITS:
        try:
            say(f"{task.name} {split}: {len(task.examples(split)):,} examples")
        except DataError as error:
            say(f"{task.name} {split}: {error}")
            failed = 1
    if not failed:
        say(f"All of {task.name} is there. Run with --set {task.name}.source=hub.")
    return failed


def _line(task: Task, name: str, found: Weight) -> str:
    transfer, unpacked = (
        "unknown size" if size is None else readable_size(size) for size in (found.transfer, found.unpacked)
    )
    return f"  {task.name}  {name} ({found.commit}): {transfer} to fetch, {unpacked} unpacked"


def _sum(sizes: Iterator[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else sum(size or 0 for size in known)
