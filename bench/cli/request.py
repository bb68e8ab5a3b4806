"""Turn the options of a command into a Request, and check every name and range before work starts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from bench.cli.options import Cells
from bench.errors import UsageError
from bench.model.families import check_checkpoint
from bench.plan import recipes, tuned
from bench.plan.request import Request, check_ranks, check_tasks, prepare
from bench.plan.suite import LORASCULPT, named_suite
from bench.plugins.hyperparameters import field_name, parse
from bench.plugins.registry import BASELINE, BUILT_IN_METHODS, ZERO_SHOT, Registry, suggest
from bench.plugins.task import Reading
from bench.plugins.tasks import Tasks, TaskSettings
from bench.spec import Scalar
from bench.store.places import place

_RECIPE = "recipe"


def start_request(cells: Cells, output: Path) -> Request:
    """Return the request for cells after downloading its base model, for a command that starts work.

    Raises:
        UsageError: a name is unknown, a value is out of range, or the base model is not supported.
        PluginError: a plugin cannot be imported, or breaks the contract.
    """
    registry = Registry(cells.plugin)  # one registry for both requests, because a plugin file runs only once
    prepare(_request(replace(cells, tuned=None), output, registry))
    # Read again, because what a search chose is checked against the base model, which is here only now.
    return _request(cells, output, registry)


def read_request(cells: Cells, output: Path) -> Request:
    """Return the request for cells. Nothing is downloaded, and nothing outside the request changes.

    Raises:
        UsageError: a name is unknown, or a value is out of range.
        PluginError: a plugin cannot be imported, or breaks the contract.
    """
    return _request(cells, output, Registry(cells.plugin))


def _request(cells: Cells, output: Path, registry: Registry) -> Request:
    suite = named_suite(cells.suite)
    if cells.model is not None:
        suite = replace(suite, model=cells.model, tuned=None)
    methods = _methods(cells.methods, registry)
    if cells.baselines and BASELINE not in methods:
        methods = (BASELINE, *methods)  # the baselines are made from plain LoRA and compared with it
    settings = _settings(cells.set)
    options = _task_settings(settings, registry)
    request = Request(
        suite=suite,
        methods=methods,
        recipe=recipes.read(suite, settings.pop(_RECIPE, {}), cells.connector, cells.base),
        ranks=_numbers("--ranks", cells.ranks, least=1),
        targets=_tasks(cells.targets, suite.targets, registry),
        sources=_tasks(cells.sources, suite.sources, registry),
        seeds=_numbers("--seeds", cells.seeds, least=0),
        limit=None if cells.limit is None else _limit(cells.limit),
        settings=_method_settings(settings, methods, registry),
        controls=cells.baselines,
        strengths=() if cells.rewind is None else _strengths(cells.rewind),
        tasks=Tasks(registry, _reading(cells.data, cells.skip_bad), options),
    )
    _check_request(request, named=cells.model is not None)
    return request if cells.tuned is None else replace(request, tuned=_tuned(cells.tuned, request, output))


def _check_request(request: Request, *, named: bool) -> None:
    """Refuse values that exclude each other; ``named`` says whether the command names the base model."""
    check_tasks(request.targets, request.sources)
    if request.suite.here():
        if named:
            check_checkpoint(request.suite.folder)
        check_ranks(request.ranks, request.suite)
    _load(request.tasks, (*request.targets, *request.sources))


def read_tasks(
    tasks: str, plugins: Sequence[Path], data: Path | None, settings: Sequence[str], skip_bad: int = 0
) -> tuple[Tasks, tuple[str, ...]]:
    """Return the tasks and their options, and the names that ``tasks`` lists.

    Raises:
        UsageError: a name is unknown, or a value is out of range.
        PluginError: a plugin cannot be imported, or breaks the contract.
    """
    found = read_data(data, settings, skip_bad, Registry(plugins))
    names = _tasks(tasks, (*LORASCULPT.targets, *LORASCULPT.sources), found.registry, "TASK,…")
    _load(found, names)
    return found, names


def read_data(data: Path | None, settings: Sequence[str], skip_bad: int = 0, registry: Registry | None = None) -> Tasks:
    """Return the tasks and their options, for a command that names no cells.

    Without a registry, only installed tasks are known.

    Raises:
        UsageError: a setting belongs to no task, or is out of range.
    """
    registry, read = registry or Registry(), _settings(settings)
    options = _task_settings(read, registry)
    for name in read:
        raise suggest("task", name, registry.names("task"))
    return Tasks(registry, _reading(data, skip_bad), options)


def _load(tasks: Tasks, names: Sequence[str]) -> None:
    """Make every task once, because a task refuses options that exclude each other."""
    for name in names:
        tasks.load(name)


def _reading(data: Path | None, skip_bad: int) -> Reading:
    if skip_bad < 0:
        raise UsageError(f"--skip-bad is {skip_bad}; give 0 or more.")
    return Reading((data or Path(os.environ.get("BENCH_DATA", "data"))).resolve(), skip_bad)


def _task_settings(settings: dict[str, dict[str, str]], registry: Registry) -> TaskSettings:
    """Remove the options of tasks from the settings of ``--set``, and return these options."""
    read: dict[str, dict[str, Scalar]] = {}
    for name in settings:
        plain, variant, _ = name.partition("@")
        if variant and plain in registry.names("task"):
            raise UsageError(
                f"--set {name}.… names a variant, but all variants share their options. Write --set {plain}.…"
            )
    for name in [name for name in settings if name in registry.names("task")]:
        task = registry.task_class(name)
        if not dataclasses.is_dataclass(task):
            raise UsageError(f"The task {name} has no options. Drop --set {name}.…")
        read[name] = {field: parse(task, field, text) for field, text in settings.pop(name).items()}
    return read


def _strengths(text: str) -> tuple[float, ...]:
    """Return the strengths in ascending order, with 1, because the row itself is on its curve."""
    try:
        found = {round(float(word), 6) for word in text.split(",") if word.strip()}
    except ValueError:
        raise UsageError(f"--rewind has {text!r}; give numbers from 0 to 1, separated by commas.") from None
    if not found or not all(0 <= strength <= 1 for strength in found):
        raise UsageError(f"--rewind is {text!r}; give numbers from 0 to 1, separated by commas.")
    return tuple(sorted(found | {1.0}))


def _tuned(chosen: str, request: Request, output: Path) -> tuned.Tuned:
    """Return what a search chose, from the named file, else the run folder, else the suite's table."""
    own, shipped = output / tuned.FILE, request.suite.tuned
    path = place(chosen) if chosen else own if own.is_file() or shipped is None else shipped
    methods = [request.registry.method(name) for name in request.methods]
    places = product(methods, request.ranks, request.targets)
    return tuned.read(path, request.suite, request.recipe, request.settings, places, request.sources)


def _methods(text: str, registry: Registry) -> tuple[str, ...]:
    if text == "installed":
        return tuple(name for name in registry.names("method") if registry.method(name).ranked)
    chosen = _words("--methods", text, BUILT_IN_METHODS)
    for name in chosen:
        registry.method(name)
    return tuple(name for name in chosen if name != ZERO_SHOT)  # zero-shot is on every leaderboard anyway


def _tasks(
    text: str, default: Sequence[str], registry: Registry, option: str = "--targets or --sources"
) -> tuple[str, ...]:
    chosen = _words(option, text, default)
    for name in chosen:
        registry.task_class(name)
    return chosen


def _words(option: str, text: str, everything: Sequence[str]) -> tuple[str, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    chosen = [name for word in words for name in (everything if word == "all" else (word,))]
    if not chosen:
        raise UsageError(f"{option} is empty; give names separated by commas, or all.")
    return tuple(dict.fromkeys(chosen))


def _limit(text: str) -> int:
    numbers = _numbers("--limit", text, least=1)
    if len(numbers) > 1:
        raise UsageError(f"--limit is {text}; give one number.")
    return numbers[0]


def _numbers(option: str, text: str, *, least: int) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"{option} is empty; give whole numbers separated by commas.")
    numbers = []
    for word in words:
        try:
            number = int(word)
        except ValueError:
            raise UsageError(f"{option} has {word!r}; give whole numbers separated by commas.") from None
        if number < least:
            raise UsageError(f"{option} has {number}; the smallest allowed value is {least}.")
        numbers.append(number)
    return tuple(dict.fromkeys(numbers))


def _settings(items: Sequence[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    for item in items:
        name, mark, value = item.partition("=")
        method, dot, field = name.strip().partition(".")
        if not (mark and dot and field):
            raise UsageError(f"--set {item!r} is wrong; write METHOD.FIELD=VALUE.")
        settings.setdefault(method, {})[field] = value.strip()
    return settings


def _method_settings(
    settings: dict[str, dict[str, str]], methods: Sequence[str], registry: Registry
) -> dict[str, dict[str, Scalar]]:
    read: dict[str, dict[str, Scalar]] = {}
    used = {*methods, *(getattr(registry.method(name), "parent", name) for name in methods)}
    for name, fields in settings.items():
        method = registry.method(name)
        if name not in used:
            raise UsageError(
                f"--set {name}.… has no effect because {name} is not among --methods {','.join(methods)}. "
                f"Drop it, or add {name} to --methods."
            )
        read[name] = {field_name(method, field): parse(method, field, text) for field, text in fields.items()}
    return read
