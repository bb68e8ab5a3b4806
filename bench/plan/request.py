"""The command line's words -> a Request; every name and range is checked here, before anything starts."""

from __future__ import annotations

import dataclasses
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from bench.errors import UsageError
from bench.model import checkpoints, supported
from bench.plan import recipes, tuned
from bench.plan.plan import Request
from bench.plan.recipes import BASES
from bench.plan.suite import LORASCULPT, SUITES, Suite
from bench.plugins import registry
from bench.plugins.hyperparameters import field_name, parse
from bench.plugins.method import Reading
from bench.spec import CONNECTORS, Recipe, Scalar
from bench.store.places import place

_RECIPE = "recipe"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options that say which cells are meant."""
    add = parser.add_argument
    add(
        "--suite",
        default="micro",
        metavar="NAME",
        help="the suite: base model, tasks and recipe (default: micro)",
    )
    add(
        "--methods",
        default="all",
        metavar="A,B",
        help="methods; all = the built-in seven, installed = every plugin",
    )
    add("--ranks", default="32", metavar="N,M", help="LoRA ranks (default: 32)")
    add("--targets", default="all", metavar="A,B", help="tasks to learn (default: all of the suite)")
    add(
        "--sources",
        default="all",
        metavar="A,B",
        help="tasks that may be forgotten (default: all of the suite)",
    )
    add("--seeds", default="0", metavar="N,M", help="training seeds (default: 0)")
    add("--limit", metavar="N", help="score only the first N examples of each task")
    add("--connector", choices=CONNECTORS, help="what training does to the connector (default: the suite's)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="METHOD.FIELD=VALUE",
        help="a hyperparameter, or recipe.FIELD=VALUE; may be given several times",
    )
    add(
        "--tuned",
        nargs="?",
        const="",
        metavar="PATH",
        help="add rows with what bench search chose (default: the search in --output, else the suite's own table)",
    )
    add("--baselines", action="store_true", help="add trivial baselines, and mark the methods not shown to beat them")
    add("--rewind", metavar="S,T", help="draw every row's curve: its change scaled by each of these strengths, 0 to 1")
    add_material_arguments(parser)
    add_plugin_argument(parser)
    add_output_argument(parser)


def add_material_arguments(parser: ArgumentParser) -> None:
    """Add the options that say where base model and data lie."""
    add = parser.add_argument
    add("--model", metavar="DIR|ID", help="another LLaVA checkpoint, a folder or a hub id (default: the suite's)")
    add("--base", choices=BASES, help="the base's weights while it is trained on: full, or 4bit (QLoRA; default: full)")
    add("--data", type=Path, metavar="DIR", help="folder of the tasks' files (default: $BENCH_DATA, else data)")
    add("--skip-bad", type=int, default=0, metavar="N", help="leave out up to N broken records of a split (default: 0)")


def add_plugin_argument(parser: ArgumentParser) -> None:
    """Add the option that takes in a plugin's file."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        type=Path,
        metavar="FILE.py",
        help="take in the methods and tasks of a file; may be given several times",
    )


def add_output_argument(parser: ArgumentParser) -> None:
    """Add the option that names the run folder."""
    text = "run folder, on a disk or at a URL such as s3://bucket/runs (default: runs)"
    parser.add_argument("--output", type=place, default=Path("runs"), metavar="DIR|URL", help=text)


def read(arguments: Namespace) -> Request:
    """Return the request that parsed arguments make.

    Raises:
        UsageError: a name is unknown, or a value out of range.
        PluginError: a plugin cannot be imported, or breaks the contract.
    """
    for path in arguments.plugin:
        registry.add_file(path)
    suite = read_suite(arguments.suite)
    if arguments.model is not None:
        suite = replace(suite, model=arguments.model, tuned=None)
    methods = _methods(arguments.methods)
    if arguments.baselines and registry.BASELINE not in methods:
        methods = (registry.BASELINE, *methods)  # what the baselines are made of, and held against
    settings = _settings(arguments.set)
    tasks = _task_settings(settings)
    registry.read_tasks(reading := _reading(arguments), tasks)
    recipe = recipes.read(suite, settings.pop(_RECIPE, {}), arguments.connector, arguments.base)
    targets = _tasks(arguments.targets, suite.targets)
    sources = _tasks(arguments.sources, suite.sources)
    learnt = {name.partition("@")[0] for name in targets}
    if both := [name for name in sources if name.partition("@")[0] in learnt]:
        raise UsageError(f"{both[0]} is both a target and a source; it cannot be learnt and forgotten at once.")
    ranks = _numbers("--ranks", arguments.ranks, least=1)
    if _base_model(suite, arguments):
        _check_ranks(ranks, suite)
    return Request(
        suite=suite,
        methods=methods,
        ranks=ranks,
        targets=targets,
        sources=sources,
        recipe=recipe,
        seeds=_numbers("--seeds", arguments.seeds, least=0),
        limit=None if arguments.limit is None else _limit(arguments.limit),
        settings=(chosen := _method_settings(settings, methods)),
        tuned={}
        if arguments.tuned is None
        else _tuned(arguments, (suite, recipe, chosen), (methods, ranks, targets), sources),
        controls=arguments.baselines,
        strengths=() if arguments.rewind is None else _strengths(arguments.rewind),
        reading=reading,
        tasks=tasks,
    )


def read_tasks(arguments: Namespace, skip_bad: int | None = None) -> tuple[str, ...]:
    """Take in where tasks' files lie and what their options are, and return the tasks that arguments name.

    ``skip_bad``, where given, stands for what the arguments say of broken records.

    Raises:
        UsageError: a name is unknown, or a value out of range.
        PluginError: a plugin cannot be imported, or breaks the contract.
    """
    for path in arguments.plugin:
        registry.add_file(path)
    read_data(arguments, skip_bad)
    return _tasks(arguments.tasks, (*LORASCULPT.targets, *LORASCULPT.sources), "TASK,…")


def read_data(arguments: Namespace, skip_bad: int | None = None) -> None:
    """Take in where tasks' files lie and what their options are, for a command that names no cells.

    Raises:
        UsageError: a setting is of no task, or out of range.
    """
    settings = _settings(arguments.set)
    reading = _reading(arguments)
    reading = reading if skip_bad is None else replace(reading, skip_bad=skip_bad)
    registry.read_tasks(reading, _task_settings(settings))
    for name in settings:
        raise registry.suggest("task", name, registry.names("task"))


def _reading(arguments: Namespace) -> Reading:
    skip_bad: int = getattr(arguments, "skip_bad", 0)
    if skip_bad < 0:
        raise UsageError(f"--skip-bad is {skip_bad}; the least is 0.")
    root = arguments.data or Path(os.environ.get("BENCH_DATA", "data"))
    return Reading(root.resolve(), skip_bad)


def _task_settings(settings: dict[str, dict[str, str]]) -> registry.TaskSettings:
    """Take the options of tasks out of what ``--set`` says."""
    read: dict[str, dict[str, Scalar]] = {}
    for name in settings:
        plain, variant, _ = name.partition("@")
        if variant and plain in registry.names("task"):
            raise UsageError(f"--set {name}.…: options are those of all variants; write --set {plain}.…")
    for name in [name for name in settings if name in registry.names("task")]:
        task = registry.load_task_class(name)
        if not dataclasses.is_dataclass(task):
            raise UsageError(f"--set {name}.…: the task {name} has no options.")
        read[name] = {field: parse(task, field, text) for field, text in settings.pop(name).items()}
    return read


def _strengths(text: str) -> tuple[float, ...]:
    """Return the strengths in order, 1 among them: the row itself is on its curve."""
    try:
        found = {round(float(word), 6) for word in text.split(",") if word.strip()}
    except ValueError:
        raise UsageError(f"--rewind has {text!r}; give numbers from 0 to 1 with commas between them.") from None
    if not found or not all(0 <= strength <= 1 for strength in found):
        raise UsageError(f"--rewind is {text!r}; give numbers from 0 to 1 with commas between them.")
    return tuple(sorted(found | {1.0}))


def _tuned(
    arguments: Namespace,
    setting: tuple[Suite, Recipe, tuned.Settings],
    places: tuple[Sequence[str], Sequence[int], Sequence[str]],
    sources: Sequence[str],
) -> tuned.Tuned:
    own, shipped = arguments.output / tuned.FILE, setting[0].tuned
    path = place(arguments.tuned) if arguments.tuned else own if own.is_file() or shipped is None else shipped
    return tuned.read(path, *setting, product(*places), sources)


def read_suite(name: str) -> Suite:
    """Return a suite by name."""
    if name not in SUITES:
        raise registry.suggest("suite", name, SUITES)
    return SUITES[name]


def _methods(text: str) -> tuple[str, ...]:
    if text == "installed":
        return tuple(name for name in registry.names("method") if registry.load_method(name).ranked)
    chosen = _words("--methods", text, registry.BUILT_IN_METHODS)
    for name in chosen:
        registry.load_method(name)
    return tuple(name for name in chosen if name != registry.ZERO_SHOT)  # it is on every leaderboard anyway


def _tasks(text: str, default: Sequence[str], option: str = "--targets or --sources") -> tuple[str, ...]:
    chosen = _words(option, text, default)
    for name in chosen:
        registry.load_task(name)
    return chosen


def _words(option: str, text: str, everything: Sequence[str]) -> tuple[str, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    chosen = [name for word in words for name in (everything if word == "all" else (word,))]
    if not chosen:
        raise UsageError(f"{option} is empty; give names with commas between them, or all.")
    return tuple(dict.fromkeys(chosen))


def _base_model(suite: Suite, arguments: Namespace) -> bool:
    """Whether the base model is here; a command that starts work gets it, and refuses one that is not supported."""
    starts = getattr(arguments, "starts", False) and not getattr(arguments, "dry_run", False)
    if starts:
        checkpoints.fetch(suite.model)
    here = starts or suite.here()
    if starts or (here and arguments.model is not None):
        supported.check(suite.folder)
    return here


def _check_ranks(ranks: Sequence[int], suite: Suite) -> None:
    largest = suite.largest_rank()
    for rank in ranks:
        if rank > largest:
            raise UsageError(
                f"Rank {rank} is too large for the model of suite {suite.name}: "
                f"its smallest adapted layer has {largest} rows or columns."
            )


def _limit(text: str) -> int:
    numbers = _numbers("--limit", text, least=1)
    if len(numbers) > 1:
        raise UsageError(f"--limit is {text}; give one number.")
    return numbers[0]


def _numbers(option: str, text: str, *, least: int) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"{option} is empty; give whole numbers with commas between them.")
    numbers = []
    for word in words:
        try:
            number = int(word)
        except ValueError:
            raise UsageError(f"{option} has {word!r}; give whole numbers with commas between them.") from None
        if number < least:
            raise UsageError(f"{option} has {number}; the least is {least}.")
        numbers.append(number)
    return tuple(dict.fromkeys(numbers))


def _settings(items: Sequence[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    for item in items:
        name, mark, value = item.partition("=")
        method, dot, field = name.strip().partition(".")
        if not (mark and dot and field):
            raise UsageError(f"--set {item!r} is not of the form METHOD.FIELD=VALUE.")
        settings.setdefault(method, {})[field] = value.strip()
    return settings


def _method_settings(settings: dict[str, dict[str, str]], methods: Sequence[str]) -> dict[str, dict[str, Scalar]]:
    read: dict[str, dict[str, Scalar]] = {}
    used = {*methods, *(getattr(registry.load_method(name), "parent", name) for name in methods)}
    for name, fields in settings.items():
        method = registry.load_method(name)
        if name not in used:
            raise UsageError(f"--set {name}.… has no effect: {name} is not among --methods {','.join(methods)}.")
        read[name] = {field_name(method, field): parse(method, field, text) for field, text in fields.items()}
    return read
