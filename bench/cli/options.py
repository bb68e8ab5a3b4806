"""Options as frozen dataclasses: each field holds the name, type, default and help of one option."""

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
from bench.sizes import GIB
from bench.spec import CONNECTORS, Execution
from bench.store.places import place

T = TypeVar("T")
Options = TypeVar("Options", bound="Command")

_ARGUMENT = "argument"
HIDDEN = SUPPRESS  # the help text of an option that is parsed but not shown
_EITHER = "either"
_HOW = "how trials run"
_RUNS = Execution()


def arg(default: T, text: str, metavar: str | None = None, **settings: object) -> T:
    """Return a field for an option, with ``settings`` for ``add_argument``.

    The option's value is a number if ``default`` is one. Three settings are not argparse's: ``name`` (if it differs
    from the field's), ``group`` (the title of the option's section in the help) and ``choices`` as a function.
    """
    known = {"type": type(default)} if isinstance(default, int | float) else {}
    found: T = field(default=default, metadata={_ARGUMENT: {"help": text, "metavar": metavar, **known, **settings}})
    return found


def flag(text: str, **settings: object) -> bool:
    """Return a field for an option without a value."""
    found: bool = field(default=False, metadata={_ARGUMENT: {"help": text, "action": "store_true", **settings}})
    return found


def several(text: str, metavar: str, type: Callable[[str], T]) -> tuple[T, ...]:
    """Return a field for an option that may be given several times."""
    return arg((), text, metavar, action="append", type=type)


def word(text: str, metavar: str) -> str:
    """Return a field for a required positional argument."""
    found: str = field(metadata={_ARGUMENT: {"help": text, "metavar": metavar, "positional": True}})
    return found


def either(text: str, metavar: str) -> Path | None:
    """Return a field for one of several options, of which a command must give exactly one."""
    return arg(None, text, metavar, type=Path, group=_EITHER)


def add_options(parser: ArgumentParser, options: type[Command]) -> None:
    """Add the options of a class to a parser. An option that is not typed keeps its field's default.

    The fields of the last base come first, so list the bases of a class in reverse order.
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
    """Return an option's name on the command line."""
    return str(item.metadata[_ARGUMENT].get("name", f"--{item.name.replace('_', '-')}"))


def words_of(options: Cells, names: Iterable[str]) -> list[str]:
    """Return the words that set the named options to their current values."""
    known, words = {item.name: item for item in fields(options)}, []
    for name in names:
        value = getattr(options, name)
        for each in value if isinstance(value, tuple) else (value,):
            words += [_name(known[name])] if each is True else [_name(known[name]), str(each)]
    return words


def read_options(options: type[Options], parsed: Namespace, words: Sequence[str]) -> Options:
    """Return the parsed options as an instance of their class."""
    names = {item.name for item in fields(options)}
    typed = {name: value for name, value in vars(parsed).items() if name in names}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in typed.items()}
    return options(**values, words=tuple(words), typed=tuple(typed))


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command as it was typed: its words, and the names of the options that were given."""

    words: tuple[str, ...] = ()
    typed: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command as one line."""
        return " ".join(["bench", *self.words])

    def chooses(self, options: type[Cells]) -> bool:
        """Return whether an option of a class was typed."""
        return any(item.name in self.typed for item in fields(options))


@dataclass(frozen=True, kw_only=True)
class Suited:
    """The option that chooses the suite."""

    suite: str = arg("micro", "the suite: base model, tasks and recipe (default: micro)", "NAME")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Options that choose the source tasks, the seeds and the number of scored examples."""

    sources: str = arg("all", "source tasks, which may be forgotten (default: all of the suite)", "A,B")
    seeds: str = arg("0", "training seeds (default: 0)", "N,M")
    limit: str | None = arg(None, "score only the first N examples of each task", "N")


@dataclass(frozen=True, kw_only=True)
class Modelled:
    """The option that replaces the base model."""

    model: str | None = arg(None, "LLaVA checkpoint: a folder or a hub id (default: the suite's)", "DIR|ID")


@dataclass(frozen=True, kw_only=True)
class Based:
    """The option that chooses the precision of the base model's weights."""

    base: str | None = arg(
        None, "the base model's weights during training: full, or 4bit for QLoRA (default: full)", choices=BASES
    )


@dataclass(frozen=True, kw_only=True)
class Data:
    """The option that names the data folder."""

    data: Path | None = arg(None, "folder of the tasks' data (default: $BENCH_DATA, else data)", "DIR", type=Path)


@dataclass(frozen=True, kw_only=True)
class Material(Data, Based, Modelled):
    """Options for the base model and the data."""

    skip_bad: int = arg(0, "skip up to N broken records per split (default: 0)", "N")


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """The option that loads files of plugins."""

    plugin: tuple[Path, ...] = several("load the methods and tasks of a file (repeatable)", "FILE.py", Path)


@dataclass(frozen=True, kw_only=True)
class Output:
    """The option that names the run folder."""

    output: Path = arg(
        Path("runs"),
        "run folder: a directory, or a URL such as s3://bucket/runs (default: runs)",
        "DIR|URL",
        type=place,
    )


@dataclass(frozen=True, kw_only=True)
class Trained(Suited):
    """Options that choose the suite, the methods, the ranks and the targets."""

    methods: str = arg(
        "all", "methods, or all (the seven built-in ones), or installed (every plugin); default: all", "A,B"
    )
    ranks: str = arg("32", "LoRA ranks (default: 32)", "N,M")
    targets: str = arg("all", "tasks to learn (default: all of the suite)", "A,B")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Options that change the recipe, or add rows to the leaderboard."""

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
    baselines: bool = flag("add trivial baselines, and mark methods that are not shown to beat them")
    rewind: str | None = arg(
        None, "draw every row's trade-off curve: scale its change by each of these strengths, 0 to 1", "S,T"
    )


@dataclass(frozen=True, kw_only=True)
class Cells(Plugins, Material, Rows, Scored, Trained):
    """Options that choose the cells of a leaderboard. A run folder stores those of its last run."""

    def selection(self) -> dict[str, object]:
        """Return the options as a JSON object, with absolute paths."""
        chosen: dict[str, object] = {item.name: getattr(self, item.name) for item in fields(Cells)}
        chosen["set"] = list(self.set)
        chosen["plugin"] = [str(path.resolve()) for path in self.plugin]
        chosen["data"] = None if self.data is None else str(self.data.resolve())
        if self.model is not None and Path(self.model).is_dir():
            chosen["model"] = str(Path(self.model).resolve())
        return chosen

    @classmethod
    def selected(cls, selection: Mapping[str, Any]) -> Cells:
        """Return the options that were stored; an option that an old version did not have gets its default."""
        known = {item.name: selection[item.name] for item in fields(Cells) if item.name in selection}
        known["set"] = tuple(selection.get("set", ()))
        known["plugin"] = tuple(Path(path) for path in selection.get("plugin", ()))
        known["data"] = None if known.get("data") is None else Path(known["data"])
        return Cells(**known)


@dataclass(frozen=True, kw_only=True)
class HowTrialsRun:
    """Options that choose how trials run. They change results only by rounding."""

    gpus_per_trial: int = arg(
        _RUNS.workers, "GPUs per trial, or CPU cores if there is no GPU (default: 1)", "N", group=_HOW
    )
    address: str | None = arg(
        None,
        "use a running Ray cluster, with one lane per free GPU, or per CPU without GPUs (default: start Ray here)",
        "auto|HOST:PORT",
        group=_HOW,
    )
    micro_batch: int | None = arg(
        None,
        "largest number of examples that a worker trains on at once (default: the recipe's)",
        "N",
        type=int,
        group=_HOW,
    )
    gradient_checkpointing: bool = flag("use less memory for training, and more time", group=_HOW)
    eval_batch: int = arg(
        _RUNS.eval_batch_size,
        f"number of answers generated at once (default: {_RUNS.eval_batch_size})",
        "N",
        group=_HOW,
    )
    feature_cache: float = arg(
        _RUNS.feature_cache_bytes / GIB,
        f"memory for the vision features that a lane keeps (default: {_RUNS.feature_cache_bytes / GIB:g})",
        "GIB",
        group=_HOW,
    )

    def launch(self, lanes: int | None = None) -> Launch:
        """Return the launch settings for a number of lanes; None uses every free device.

        Raises:
            UsageError: a value is out of range, or two options exclude each other.
        """
        if lanes is not None and lanes < 0:
            raise UsageError(f"--lanes is {lanes}; give 0 or more.")
        check_address(self.address, lanes)
        counts = {"gpus-per-trial": self.gpus_per_trial, "eval-batch": self.eval_batch, "micro-batch": self.micro_batch}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise UsageError(f"--{name} is {count}; give at least 1.")
        if self.gpus_per_trial > 1 and lanes == 0:
            raise UsageError("--lanes 0 runs in this process and cannot start workers. Drop it or --gpus-per-trial.")
        if not 0 <= self.feature_cache < math.inf:
            raise UsageError(f"--feature-cache is {self.feature_cache:g}; give 0 or more GiB.")
        execution = Execution(
            workers=self.gpus_per_trial,
            micro_batch_size=self.micro_batch,
            gradient_checkpointing=self.gradient_checkpointing,
            eval_batch_size=self.eval_batch,
            feature_cache_bytes=int(self.feature_cache * GIB),
        )
        return Launch(lanes, self.address, execution)


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """The option that chooses the number of lanes."""

    lanes: int | None = arg(
        None, "number of lanes (default: one per GPU or CPU core; 0: run in this process)", "N", type=int
    )


@dataclass(frozen=True, kw_only=True)
class Starts(HowTrialsRun, Lanes):
    """Options of a command that runs a plan, or only prints it."""

    dry_run: bool = flag("print the plan and stop")


@dataclass(frozen=True, kw_only=True)
class Mix:
    """The option that compares rows of different environments."""

    mix: bool = flag("compare rows even if their environments differ, and say so (default: mark them, with no verdict)")


@dataclass(frozen=True, kw_only=True)
class OneTrial:
    """The argument that names a trial."""

    trial: str = word("label or id of a trial, or the start of either", "TRIAL")


@dataclass(frozen=True, kw_only=True)
class Sure:
    """The option that skips the question."""

    yes: bool = flag("do not ask for confirmation")
