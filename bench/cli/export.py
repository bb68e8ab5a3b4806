"""``bench export``: write a trial as a peft adapter, or as a whole model for transformers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.arguments import Command, either
from bench.cli.options import OneTrial, Output
from bench.cli.repeat import Repeats, asked_in
from bench.console import say
from bench.errors import BenchError, UsageError
from bench.page.card import Exported, model_card
from bench.plan.suite import Suite, by_revision
from bench.plugins.registry import Registry
from bench.store.drafts import staged, sweep_stages
from bench.store.run_folder import Store
from bench.values.record import Record

if TYPE_CHECKING:
    from bench.model.change import Change

_CARD = "README.md"  # where a hub looks for a model's card


@dataclass(frozen=True, kw_only=True)
class _Exported(OneTrial):
    adapter: Path | None = either("write an adapter that peft loads", "DIR")
    merged: Path | None = either("write a whole model that transformers loads", "DIR")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Output, _Exported, Command):
    """The options of ``bench export``."""


def export(options: ExportOptions) -> int:
    """Write a trial as an adapter or as a merged model."""
    store = options.existing()
    record = store.find(options.trial)
    if options.adapter is not None:
        write_adapter(record, store, options.adapter)
    if options.merged is not None:
        write_merged(record, store, options.merged)
    say(f"wrote {options.adapter or options.merged}")
    return 0


def write_adapter(record: Record, store: Store, folder: Path) -> None:
    """Write a trial's change as a peft adapter with its model card.

    Raises:
        UsageError: the trial failed, peft cannot load its change, or the folder is not empty.
    """
    suite, change = _ready(record, store, folder)
    card = _card(record, store, suite, merged=False)
    if not change.peft_loads:
        raise UsageError(
            f"peft cannot load the change of {record.trial.label}, because it is not LoRA or DoRA with one rank and "
            "one scale in all layers. Use --merged DIR."
        )
    with staged(folder) as here:
        change.save(here, base=suite.model_name)
        (here / _CARD).write_text(card, encoding="utf-8")


def write_merged(record: Record, store: Store, folder: Path) -> None:
    """Write the base model with a trial's change merged in, and its processor, so that it answers as it was scored.

    Images are prepared as the trial's recipe says, and answers are greedy, whatever the base's settings are.

    Raises:
        UsageError: the trial failed, its change cannot be merged, or the folder is not empty.
    """
    suite, change = _ready(record, store, folder)
    import torch

    from bench.model import weights
    from bench.model.decoding import greedy_settings
    from bench.model.families import family_of
    from bench.model.holding import write
    from bench.model.saving import save_model

    model: Any
    model, names = weights.load(suite.folder)
    pristine = weights.pristine(model, suite.folder, names)
    weights.cast(model, getattr(torch, record.trial.recipe.eval_dtype), torch.device("cpu"))
    write(model, change, pristine)
    model.config.dtype = record.trial.recipe.eval_dtype
    processor = family_of(model).processor(suite.folder, record.trial.recipe.image)
    model.generation_config = greedy_settings(model, processor.tokenizer)
    with staged(folder) as here:
        save_model(model, here)
        processor.save_pretrained(here)
        (here / _CARD).write_text(_card(record, store, suite, merged=True), encoding="utf-8")


def _card(record: Record, store: Store, suite: Suite, *, merged: bool) -> str:
    """Return the model card of a trial, with the command that repeats it if its plugins can be loaded."""
    trial = record.trial
    cells, whole = asked_in(store, trial)
    registry, command = Registry(), ""
    with suppress(BenchError):  # the plugin's file is gone; the trial can be exported without it
        registry = Registry(cells.plugin)
        command = Repeats.of(cells, Path(store.root.name), registry, store, whole)(record)
    licences = {task: _licence(registry, task) for task in trial.tasks if task in registry.names("task")}
    return model_card(Exported(record, store, suite, merged, licences, command))


def _licence(registry: Registry, task: str) -> str:
    card = registry.task_class(task).card
    return "drawn by the package that provides the task" if card is None else card.licence


def _ready(record: Record, store: Store, folder: Path) -> tuple[Suite, Change]:
    """Return the suite and the change of a trial that can be exported to a folder, which exists and is empty then."""
    if record.status == "failed":
        raise UsageError(f"{record.trial.label} failed ({record.error}) and has nothing to export. Run it again first.")
    if record.trial.target is None:
        raise UsageError(
            f"{record.trial.label} is the base model itself and has no change to export. Name another trial."
        )
    suite = by_revision(record.trial.model, store.models())
    if suite.revision() != record.trial.model:
        raise UsageError(
            f"{suite.model} has changed since {record.trial.label} was trained on it. Restore its old files."
        )
    change = store.change_of(record.trial).read()
    if change.live:
        raise UsageError(
            f"The change of {record.trial.label} is routed: in {len(change.live)} layers, such as {change.live[0]}, "
            "each example chooses its own factors. So it cannot be merged, and peft cannot load it. Export another "
            "trial."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep_stages(folder)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty. Choose a new folder.")
    except OSError as error:
        raise UsageError(f"Cannot write to {folder}: {error.strerror}. Choose another folder.") from error
    return suite, change
