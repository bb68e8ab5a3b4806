"""Download data sets from the hub, so that tasks with the option ``source=hub`` can read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.console import agreed, say, tell, warn
from bench.errors import DataError, UsageError
from bench.plugins.task import SPLITS, Card, Task
from bench.prepare.data.get import check_space
from bench.sizes import readable_size
from bench.store.disk_errors import refusal


def get(tasks: Sequence[Task], root: Path, *, yes: bool) -> int:
    """Download the hub data sets of tasks; a task writes what it needs under ``root`` when it is read.

    Raises:
        UsageError: a task has no data set on the hub, or the data sets do not fit on the disk.
        DataError: the hub cannot be asked.
    """
    needed = 0
    for task in tasks:
        name = address(task)
        transfer, unpacked, commit = weigh(task, name)
        tell([f"  {task.name}  {name} ({commit}): {_said(transfer)} to download, {_said(unpacked)} unpacked"])
        needed += (transfer or 0) + 2 * (unpacked or 0)  # the hub's cache, its tables and the images of the task
    check_space(root, needed)
    if not yes and not agreed("Download? [y/N] "):
        warn("Nothing was downloaded. Add --yes to skip the question.")
        return 1
    return max(0, *(_read(task) for task in tasks))


def address(task: Task) -> str:
    """Return the hub id and revision that a task reads, from its option ``hub`` or from its card.

    Raises:
        UsageError: the task has no data set on the hub.
    """
    card: Card | None = task.card
    if card is None or card.hub is None or not hasattr(task, "source"):
        raise UsageError(f"{task.name} has no data set on the hub. Use --from files.")
    return str(getattr(task, "hub", "") or card.hub)


def weigh(task: Task, name: str) -> tuple[int | None, int | None, str]:
    """Return the bytes of a hub data set to transfer and unpacked, and the commit that the revision names at present.

    Only the configurations that the task reads count. A size is None if the hub does not say it.

    Raises:
        DataError: ``datasets`` is not installed, or the hub cannot be asked.
    """
    repository, _, revision = name.partition("@")
    if Path(repository).is_dir():
        size = sum(path.stat().st_size for path in Path(repository).rglob("*") if path.is_file())
        return 0, size, "a folder here"
    try:
        from datasets import load_dataset_builder
        from huggingface_hub import HfApi
    except ImportError as error:
        raise DataError(
            "The package datasets, which reads the hub, is not installed: pip install 'retain-bench[hub]'."
        ) from error
    configs = task.card.hub_configs if task.card and task.card.hub_configs else (None,)
    try:
        commit = str(HfApi().dataset_info(repository, revision=revision or None).sha)
        infos = [load_dataset_builder(repository, config, revision=commit).info for config in configs]
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "").rstrip(". ")
        raise DataError(
            f"The hub does not answer for {name}: {type(error).__name__}: {reason}. Check the network and the name, or "
            "use --from files."
        ) from error
    return _sum(info.download_size for info in infos), _sum(info.dataset_size for info in infos), commit


def _read(task: Task) -> int:
    """Read every split of a task, which downloads it, and return 1 if a split cannot be read."""
    failed = 0
    for split in SPLITS:
        try:
            say(f"{task.name} {split}: {len(task.examples(split)):,} examples")
        except DataError as error:
            if full := refusal(error, task.reading.root):
                raise full from error
            warn(f"{task.name} {split}: {error}")
            failed = 1
    if not failed:
        say(f"{task.name} is complete. Run with --set {task.name}.source=hub.")
    return failed


def _said(size: int | None) -> str:
    return "unknown size" if size is None else readable_size(size)


def _sum(sizes: Iterator[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else sum(size or 0 for size in known)
