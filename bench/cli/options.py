"""Options as frozen dataclasses: a field names, documents and types an option, and argparse takes it from there."""

from __future__ import annotations

import math
from argparse import SUPPRESS, ArgumentParser, Namespace, _ActionsContainer
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import UsageError
from bench.lanes.cluster import check_address
from bench.lanes.setup import Launch
from bench.plan.recipes import BASES
from bench.spec import CONNECTORS, Execution
from bench.store.places import place

T = TypeVar("T")
Options = TypeVar("Options", bound="Command")

_ARGUMENT = "argument"
HIDDEN = SUPPRESS  # the help text of an option that is understood, but not shown
_EITHER = "either"
_HOW = "how trials are run"
_RUNS = Execution()
_GIB = 2**30


def arg(default: T, text: str, metavar: str | None = None, **settings: object) -> T:
    """Return a field that is an option; ``settings`` are those of ``add_argument``. A number is read as one.

    Three settings are ours: ``name`` (where it differs from the field's), ``group`` (the title of the options that it
    is shown among) and ``choices`` as a function.
    """
    known = {"type": type(default)} if isinstance(default, int | float) else {}
    found: T = field(default=default, metadata={_ARGUMENT: {"help": text, "metavar": metavar, **known, **settings}})
    return found


def flag(text: str, **settings: object) -> bool:
    """Return a field that is an option without a value."""
    found: bool = field(default=False, metadata={_ARGUMENT: {"help": text, "action": "store_true", **settings}})
    return found


def several(text: str, metavar: str, type: Callable[[str], T]) -> tuple[T, ...]:
    """Return a field that is an option which may be given several times."""
    return arg((), text, metavar, action="append", type=type)


def word(text: str, metavar: str) -> str:
    """Return a field that is a word without an option's name, and has to be given."""
    found: str = field(metadata={_ARGUMENT: {"help": text, "metavar": metavar, "positional": True}})
    return found


def either(text: str, metavar: str) -> Path | None:
    """Return a field that is one of several options of which exactly one has to be given."""
    return arg(None, text, metavar, type=Path, group=_EITHER)


def add_options(parser: ArgumentParser, options: type[Command]) -> None:
    """Add the options of a class to a parser; what is not typed is left to the field's default.

    The fields of the last base come first: list the bases of a class in reverse.
    """
    groups: dict[str | None, _ActionsContainer] = {None: parser}
    for item in fields(options):
        if _ARGUMENT not in item.metadata:
            continue
        settings = dict(item.metadata[_ARGUMENT])
        title = settings.pop("group", None)
        if title not in groups:
            either = title == _EITHER
            groups[title] = (
                parser.add_mutually_exclusive_group(required=True) if either else parser.add_argument_group(title)
            )
        if callable(settings.get("choices")):
            settings["choices"] = settings["choices"]()
        if settings.pop("positional", False):
            groups[title].add_argument(item.name, default=item.default, **settings)
        else:
            settings.pop("name", None)
            groups[title].add_argument(_name(item), dest=item.name, default=SUPPRESS, **settings)


def _name(item: Field[Any]) -> str:
    """Return what an option is called on the command line."""
    return str(item.metadata[_ARGUMENT].get("name", f"--{item.name.replace('_', '-')}"))


def words_of(options: Cells, names: Iterable[str]) -> list[str]:
    """Return the words that set some of the options as they are."""
    known, words = {item.name: item for item in fields(options)}, []
    for name in names:
        value = getattr(options, name)
        for each in value if isinstance(value, tuple) else (value,):
            words += [_name(known[name])] if each is True else [_name(known[name]), str(each)]
    return words


def read_options(options: type[Options], parsed: Namespace, words: Sequence[str]) -> Options:
    """Return what was parsed with the options of a class."""
    names = {item.name for item in fields(options)}
    typed = {name: value for name, value in vars(parsed).items() if name in names}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in typed.items()}
    return options(**values, words=tuple(words), typed=tuple(typed))


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command as it was typed: its words, and the names of the options among them."""

    words: tuple[str, ...] = ()
    typed: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command in one line."""
        return " ".join(["bench", *self.words])

    def chooses(self, options: type[Cells]) -> bool:
        """Whether an option of a class was typed."""
        return any(item.name in self.typed for item in fields(options))


@dataclass(frozen=True, kw_only=True)
class Suited:
    """The suite."""

    suite: str = arg("micro", "the suite: base model, tasks and recipe (default: micro)", "NAME")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a model is scored on, and how often it is trained."""

    sources: str = arg("all", "tasks that may be forgotten (default: all of the suite)", "A,B")
    seeds: str = arg("0", "training seeds (default: 0)", "N,M")
    limit: str | None = arg(None, "score only the first N examples of each task", "N")


@dataclass(frozen=True, kw_only=True)
class Modelled:
    """The base model."""

    model: str | None = arg(None, "another LLaVA checkpoint, a folder or a hub id (default: the suite's)", "DIR|ID")


@dataclass(frozen=True, kw_only=True)
class Based:
    """How the base model's weights are held."""

    base: str | None = arg(
        None, "the base's weights while it is trained on: full, or 4bit (QLoRA; default: full)", choices=BASES
    )


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the tasks' files lie."""

    data: Path | None = arg(None, "folder of the tasks' files (default: $BENCH_DATA, else data)", "DIR", type=Path)


@dataclass(frozen=True, kw_only=True)
class Material(Data, Based, Modelled):
    """Base model and data."""

    skip_bad: int = arg(0, "leave out up to N broken records of a split (default: 0)", "N")


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """The files of plugins."""

    plugin: tuple[Path, ...] = several(
        "take in the methods and tasks of a file; may be given several times", "FILE.py", Path
    )


@dataclass(frozen=True, kw_only=True)
class Output:
    """The run folder."""

    output: Path = arg(
        Path("runs"),
        "run folder, on a disk or at a URL such as s3://bucket/runs (default: runs)",
        "DIR|URL",
        type=place,
    )


@dataclass(frozen=True, kw_only=True)
class Trained(Suited):
    """What is trained on what."""

    methods: str = arg("all", "methods; all = the built-in seven, installed = every plugin", "A,B")
    ranks: str = arg("32", "LoRA ranks (default: 32)", "N,M")
    targets: str = arg("all", "tasks to learn (default: all of the suite)", "A,B")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """How it is trained, and which rows are added."""

    connector: str | None = arg(None, "what training does to the connector (default: the suite's)", choices=CONNECTORS)
    set: tuple[str, ...] = several(
        "a hyperparameter, or recipe.FIELD=VALUE; may be given several times", "METHOD.FIELD=VALUE", str
    )
    tuned: str | None = arg(
        None,
        "add rows with what bench search chose (default: the search in --output, else the suite's own table)",
        "PATH",
        nargs="?",
        const="",
    )
    baselines: bool = flag("add trivial baselines, and mark the methods not shown to beat them")
    rewind: str | None = arg(
        None, "draw every row's curve: its change scaled by each of these strengths, 0 to 1", "S,T"
    )


@dataclass(frozen=True, kw_only=True)
class Cells(Plugins, Material, Rows, Scored, Trained):
    """Which cells are meant: what a run folder keeps of its last run, and what is shown again by it."""

    def selection(self) -> dict[str, object]:
        """Return the options as JSON, with whole paths."""
        chosen: dict[str, object] = {item.name: getattr(self, item.name) for item in fields(Cells)}
        chosen["set"] = list(self.set)
        chosen["plugin"] = [str(path.resolve()) for path in self.plugin]
        chosen["data"] = None if self.data is None else str(self.data.resolve())
        if self.model is not None and Path(self.model).is_dir():
            chosen["model"] = str(Path(self.model).resolve())
        return chosen

    @classmethod
    def selected(cls, selection: Mapping[str, Any]) -> Cells:
        """Return the cells of a selection; an option that its version did not have is at its default."""
        known = {item.name: selection[item.name] for item in fields(Cells) if item.name in selection}
        known["set"] = tuple(selection.get("set", ()))
        known["plugin"] = tuple(Path(path) for path in selection.get("plugin", ()))
        known["data"] = None if known.get("data") is None else Path(known["data"])
        return Cells(**known)


@dataclass(frozen=True, kw_only=True)
class HowTrialsRun:
    """How trials are run; none of it changes what a trial gives, except by rounding."""

    gpus_per_trial: int = arg(_RUNS.workers, "GPUs that share a trial (on a CPU: cores; default: 1)", "N", group=_HOW)
    address: str | None = arg(
        None,
        "work on a running Ray cluster; lanes: its free GPUs, else CPUs (default: a Ray of this command's own)",
        "auto|HOST:PORT",
        group=_HOW,
    )
    micro_batch: int | None = arg(
        None, "most examples a worker trains on at once (default: the recipe's)", "N", type=int, group=_HOW
    )
    gradient_checkpointing: bool = flag("train in less memory and more time", group=_HOW)
    eval_batch: int = arg(
        _RUNS.eval_batch_size,
        f"answers generated at once (default: {_RUNS.eval_batch_size})",
        "N",
        group=_HOW,
    )
    feature_cache: float = arg(
        _RUNS.feature_cache_bytes / _GIB,
        f"vision features a lane keeps (default: {_RUNS.feature_cache_bytes / _GIB:g})",
        "GIB",
        group=_HOW,
    )

    def launch(self, lanes: int | None = None) -> Launch:
        """Return what the options come to with so many lanes; None takes every free device.

        Raises:
            UsageError: a value is out of range, or two do not go together.
        """
        if lanes is not None and lanes < 0:
            raise UsageError(f"--lanes is {lanes}; give 0 or more.")
        check_address(self.address, lanes)
        counts = {"gpus-per-trial": self.gpus_per_trial, "eval-batch": self.eval_batch, "micro-batch": self.micro_batch}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise UsageError(f"--{name} is {count}; the least is 1.")
        if self.gpus_per_trial > 1 and lanes == 0:
            raise UsageError(
                f"--gpus-per-trial {self.gpus_per_trial} starts workers, and --lanes 0 none. Leave out one of them."
            )
        if not 0 <= self.feature_cache < math.inf:
            raise UsageError(f"--feature-cache is {self.feature_cache:g}; give 0 or more GiB.")
        execution = Execution(
            workers=self.gpus_per_trial,
            micro_batch_size=self.micro_batch,
            gradient_checkpointing=self.gradient_checkpointing,
            eval_batch_size=self.eval_batch,
            feature_cache_bytes=int(self.feature_cache * _GIB),
        )
        return Launch(lanes, self.address, execution)


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """How many lanes work."""

    lanes: int | None = arg(None, "warm workers (default: one per GPU or CPU core; 0: in this process)", "N", type=int)


@dataclass(frozen=True, kw_only=True)
class Starts(HowTrialsRun, Lanes):
    """How a command works, if it does."""

    dry_run: bool = flag("print the plan and stop")


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Whether environments may differ."""

    mix: bool = flag("compare rows of different environments all the same, and say so (default: set them apart)")


@dataclass(frozen=True, kw_only=True)
class OneTrial:
    """The trial that is meant."""

    trial: str = word("a label, an id, or the start of either", "TRIAL")


@dataclass(frozen=True, kw_only=True)
class Sure:
    """Whether to ask."""

    yes: bool = flag("do not ask")
