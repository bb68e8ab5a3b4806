"""What is missing on this machine, and how a run is planned without it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from bench import request
from bench.errors import DataError
from bench.plan import Plan, Request
from bench.registry import load_task
from bench.rows import make
from bench.store import Store


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan, exact or assumed, with the folder of the base model where it is here, and what is missing."""

    plan: Plan
    folder: Path | None
    missing: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """What the base model is called in a probe: its folder, or its hub id."""
        model = self.plan.request.suite.model
        return str(Path(model).resolve()) if Path(model).exists() else model


def draft(options: Namespace, store: Store) -> Draft:
    """Return the plan of a command; without the base model or the data, that of the sizes that the tasks declare.

    Raises:
        UsageError: a name is unknown, or a value out of range.
        DataError: the data is missing and the task does not declare its size.
    """
    assumed = request.read(options, assumed=True)
    folder = model_folder(assumed)
    tasks = _missing_tasks(assumed)
    if folder is not None and not tasks:
        return Draft(make(request.read(options), store), folder)
    missing = []
    if tasks:
        missing.append(f"data of {', '.join(tasks)}: bench data get {' '.join(tasks)}, or --data DIR")
    if folder is None:
        missing.append(f"base model {assumed.suite.model}: bench run fetches it, or --model DIR")
    return Draft(make(assumed, store), folder, tuple(missing))


def model_folder(asked: Request) -> Path | None:
    """Return the folder of a request's base model if it is on this machine; nothing is fetched."""
    model = asked.suite.model
    if (Path(model) / "config.json").is_file():
        return Path(model)
    name, _, revision = model.partition("@")
    if name.count("/") != 1 or Path(model).exists():
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision or None)
    folder = Path(found).parent if isinstance(found, str) else None
    return folder if folder is not None and any(folder.glob("*.safetensors")) else None


def _missing_tasks(asked: Request) -> list[str]:
    """Return the tasks whose data is not here."""
    missing = []
    for name in dict.fromkeys((*asked.targets, *asked.sources)):
        task = load_task(name)
        try:
            task.examples(asked.split)
            if name in asked.targets:
                task.examples("train")
        except DataError:
            if not task.sizes.get(asked.split):
                raise
            missing.append(name)
    return missing
