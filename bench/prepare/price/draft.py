"""Plan a run without the data or the base model, and say what is missing on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import DataError
from bench.plan.baselines import make
from bench.plan.plan import Plan
from bench.plan.request import Request
from bench.plan.sources import check_source
from bench.store.run_folder import Store


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan, exact or assumed, with the folder of the base model (None if missing) and what is missing.

    ``faults`` says what is wrong with data that is on this machine but cannot be read.
    """

    plan: Plan
    folder: Path | None
    missing: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The name of the base model for a probe: its folder, or its hub id."""
        model = self.plan.request.suite.model
        return str(Path(model).resolve()) if Path(model).exists() else model


def draft(asked: Request, store: Store, plan: Callable[[Request, Store], Plan] = make) -> Draft:
    """Return the ``plan`` of a request; if the model or data is missing, use the sizes that tasks declare.

    Raises:
        UsageError: the base model is not on this machine, and its shapes are not known; or a source that is taught has
            no training examples.
        DataError: the data is missing and the task does not declare its size.
    """
    from bench.prepare.price.blueprint import Blueprint

    assumed = not asked.suite.here() and Blueprint.knows(asked.suite.model)
    folder = None if assumed else asked.suite.folder
    reasons = _missing_tasks(asked)
    if folder is not None and not reasons:
        return Draft(plan(asked, store), folder)
    tasks, missing = list(dict.fromkeys(name.partition("@")[0] for name in reasons)), []
    if tasks:
        missing.append(f"data of {', '.join(tasks)}: bench data get {','.join(tasks)}, or --data DIR")
    if folder is None:
        missing.append(f"base model {asked.suite.model}: bench run downloads it, or --model DIR")
    root = asked.tasks.reading.root
    faults = [reason for name, reason in reasons.items() if (root / name.partition("@")[0]).is_dir()]
    return Draft(plan(replace(asked, assumed=True), store), folder, tuple(missing), tuple(faults))


def _missing_tasks(asked: Request) -> dict[str, str]:
    """Return the tasks whose data cannot be read on this machine, each with the reason."""
    missing = {}
    for name in dict.fromkeys((*asked.targets, *asked.sources)):
        task = asked.tasks.load(name)
        try:
            task.examples(asked.split)
            if name in asked.targets:
                task.examples("train")
            elif asked.mixing:
                check_source(task, name, asked.mixing)
        except DataError as error:
            if not task.sizes.get(asked.split):
                raise
            missing[name] = str(error)
    return missing
