"""The options that several commands share, in groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from os.path import expanduser
from pathlib import Path
from typing import Any, ClassVar

from bench.cli.arguments import arg, flag, ranges, several, word
from bench.errors import StoreError, UsageError
from bench.plan.row_key import SORTS
from bench.store.places import local_path, place
from bench.store.run_folder import Store
from bench.values.recipe import CONNECTORS, Quantization

_COMPARED, _MODEL = "what is compared", "suite and base model"
_FOLDERS, _PRINTED = "data, plugins and run folder", "what is printed"
BASES: dict[str, Quantization] = {"full": "none", "4bit": "4bit"}


@dataclass(frozen=True, kw_only=True)
class Suited:
    """The option that chooses the suite."""

    section: ClassVar[str | None] = _MODEL

    suite: str = arg("micro", "the suite: base model, tasks and recipe (default: micro)", "NAME")


@dataclass(frozen=True, kw_only=True)
class Modelled:
    """The option that replaces the base model."""

    section: ClassVar[str | None] = _MODEL

    model: str | None = arg(
        None, "LLaVA checkpoint: a folder or a hub id (default: the suite's)", "DIR|ID", type=expanduser
    )


@dataclass(frozen=True, kw_only=True)
class Based:
    """The option that chooses the precision of the base model's weights."""

    section: ClassVar[str | None] = _MODEL

    base: str | None = arg(
        None, "the base model's weights during training: full, or 4bit for QLoRA (default: full)", choices=BASES
    )


@dataclass(frozen=True, kw_only=True)
class Data:
    """The option that names the data folder."""

    section: ClassVar[str | None] = _FOLDERS

    data: Path | None = arg(None, "folder of the tasks' data (default: $BENCH_DATA, else data)", "DIR", type=local_path)


@dataclass(frozen=True, kw_only=True)
class TaskData(Data):
    """Options of a command that reads tasks and plans nothing."""

    section: ClassVar[str | None] = _FOLDERS

    set: tuple[str, ...] = several("set an option of a task (repeatable)", "TASK.FIELD=VALUE", str)


@dataclass(frozen=True, kw_only=True)
class CellData(Data):
    """Options that say how the data of cells is read."""

    section: ClassVar[str | None] = _FOLDERS

    skip_bad: int = arg(0, "skip up to N broken records per split (default: 0)", "N", least=0)


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """The option that loads files of plugins."""

    section: ClassVar[str | None] = _FOLDERS

    plugin: tuple[Path, ...] = several("load the methods and tasks of a file (repeatable)", "FILE.py", local_path)


@dataclass(frozen=True, kw_only=True)
class Output:
    """The option that names the run folder."""

    section: ClassVar[str | None] = _FOLDERS

    output: Path = arg(
        Path("runs"),
        "run folder: a directory, or a URL such as s3://bucket/runs (default: $BENCH_OUTPUT, else runs)",
        "DIR|URL",
        type=place,
        variable="BENCH_OUTPUT",
    )

    def store(self) -> Store:
        """Return the store of the run folder, which may not exist yet."""
        store = Store(self.output.resolve())
        store.check()
        return store

    def existing(self) -> Store:
        """Return the store of a run folder that exists.

        Raises:
            UsageError: it does not exist.
        """
        store = self.store()
        if not store.root.is_dir():
            raise UsageError(f"There is no run folder {self.output}. Name one with --output.")
        return store


@dataclass(frozen=True, kw_only=True)
class Rows(Suited):
    """Options that choose the suite, the rows of a leaderboard, and what they are scored on."""

    section: ClassVar[str | None] = _COMPARED

    methods: str = arg(
        "paper",
        "names, or paper (the methods of the LoRASculpt paper's table), all (every built-in method for a single "
        "target, without references and tools) or installed (also the ranked methods of plugins); words and names can "
        "be mixed; default: paper",
        "A,B",
    )
    ranks: str = arg("32", "LoRA ranks (default: 32)", "N,M", type=ranges)
    targets: str = arg("all", "tasks to learn (default: all of the suite)", "A,B")
    sources: str = arg("all", "source tasks, which may be forgotten (default: all of the suite)", "A,B")
    every_source: bool = flag("count every source in Source, also one at chance, which has nothing to forget")
    seeds: str = arg("0", "training seeds, such as 0,1 or 0-4 (default: 0)", "N,M", type=ranges)
    limit: str | None = arg(None, "score only the first N examples of each task", "N")
    connector: str | None = arg(None, "how the connector is trained (default: the suite's)", choices=CONNECTORS)
    set: tuple[str, ...] = several(
        "set a hyperparameter, a recipe field (recipe.FIELD=VALUE) or a task option (repeatable)",
        "METHOD.FIELD=VALUE",
        str,
    )
    tuned: str | None = arg(
        None,
        "add rows tuned by the search at PATH (without PATH: the search in --output, else the suite's own table)",
        "PATH",
        nargs="?",
        const="",
    )
    baselines: bool = flag("add trivial baselines, and mark methods that do not clearly beat them")
    rewind: str | None = arg(
        None, "draw every row's trade-off curve: scale its change by each of these strengths, 0 to 1", "S,T"
    )


@dataclass(frozen=True, kw_only=True)
class Selecting(Based, Modelled, Rows):
    """Options that select the cells of a leaderboard: two commands with the same values mean the same cells."""


@dataclass(frozen=True, kw_only=True)
class Cells(Plugins, CellData, Selecting):
    """The cells of a leaderboard, and where their plugins and data are. A run folder stores those of its runs."""

    def selection(self) -> dict[str, object]:
        """Return the options as a JSON object, with absolute paths."""
        chosen: dict[str, object] = {item.name: getattr(self, item.name) for item in fields(Cells)}
        chosen["set"] = list(self.set)
        chosen["plugin"] = [str(path.resolve()) for path in self.plugin]
        chosen["data"] = None if self.data is None else str(self.data.resolve())
        if self.model is not None and Path(self.model).is_dir():
            chosen["model"] = str(Path(self.model).resolve())
        return chosen

    def meaning(self) -> dict[str, object]:
        """Return the part of ``selection`` that says which cells are meant."""
        chosen = self.selection()
        return {item.name: chosen[item.name] for item in fields(Selecting)}

    @classmethod
    def selected(cls, selection: Mapping[str, Any]) -> Cells:
        """Return the options that were stored; an option that an old version did not have gets its default.

        Raises:
            StoreError: a value is not what an option has.
        """
        stored = [item for item in fields(Cells) if item.name in selection]
        return Cells(**{item.name: _restored(item, selection[item.name]) for item in stored})


def _restored(item: Field[Any], value: Any) -> Any:
    """Return the value of an option from its JSON."""
    kind = item.metadata.get("type", bool if item.default is False else str)
    try:
        if isinstance(item.default, tuple):
            return tuple(kind(each) for each in value)
        found = None if value is None and item.default is None else kind(value)
        if found is not None and found not in item.metadata.get("choices", (found,)):
            raise ValueError("not one of its choices")
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"A run's {item.name} is {value!r}, which is not possible ({error}). Run bench run again."
        ) from error
    return found


@dataclass(frozen=True, kw_only=True)
class Mix:
    """The option that compares rows of different environments."""

    section: ClassVar[str | None] = _PRINTED

    mix: bool = flag("compare rows even if their environments differ, and say so (default: mark them, with no verdict)")


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """The option that sorts a leaderboard."""

    section: ClassVar[str | None] = _PRINTED

    sort: str = arg(
        "avg",
        "sort the rows of a rank by avg, source, target or lost (least forgetting first), or as --methods lists them: "
        "method (default: avg)",
        choices=SORTS,
    )


@dataclass(frozen=True, kw_only=True)
class TextOrJson:
    """The option that prints JSON for other programs."""

    section: ClassVar[str | None] = _PRINTED

    format: str = arg("text", "text, or json for other programs (default: text)", choices=("text", "json"))


@dataclass(frozen=True, kw_only=True)
class OneTrial:
    """The argument that names a trial."""

    trial: str = word("label or id of a trial, or the start of either", "TRIAL")
