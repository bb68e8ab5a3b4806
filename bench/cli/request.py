"""Turn the options of a command into a Request, and check every name and range before work starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from bench.cli.arguments import split_list
from bench.cli.options import BASES, Cells, TaskData
from bench.cli.set_option import SetOption
from bench.console import warn
from bench.errors import UsageError
from bench.model import checkpoints
from bench.model.families import check_checkpoint, shapes_in
from bench.plan import tuned
from bench.plan.chains import ChainMethod, ChainRequest, order_name
from bench.plan.recipes import changed_recipe
from bench.plan.request import Request
from bench.plan.suite import named_suite
from bench.plugins.groups import GROUPS, SEQUENCE_GROUPS
from bench.plugins.registry import BASELINE, ZERO_SHOT, Registry, suggest
from bench.plugins.task import Reading
from bench.plugins.tasks import Tasks
from bench.store.places import place
from bench.store.search_results import CHOICES, choices_file, without_choice

NO_SOURCE = "none"


def start_request(cells: Cells, output: Path, registry: Registry | None = None) -> Request:
    """Return the request for cells after downloading its base model, for a command that starts work.

    The registry has the plugin files of the cells; without one, they are run.

    Raises:
        UsageError: a name is unknown, a value is out of range, or the base model is not supported.
        PluginError: a plugin cannot be imported, or breaks the contract.
    """
    request = _untuned(cells, registry)
    checkpoints.fetch(request.suite.model)
    check_checkpoint(request.suite.folder)
    started = _checked(request, cells, output)
    tuned.check_ranges(started.tuned, started.registry)
    return started


def read_request(cells: Cells, output: Path, registry: Registry | None = None, *, quiet: bool = False) -> Request:
    """Return the request for cells. Nothing is downloaded, and nothing outside the request changes.

    A ``quiet`` one does not say which methods run untuned.

    Raises:
        UsageError: a name is unknown, or a value is out of range.
        PluginError: a plugin cannot be imported, or breaks the contract.
    """
    return _checked(_untuned(cells, registry), cells, output, quiet=quiet)


def check_curves(cells: Cells) -> None:
    """Refuse trade-off curves of Source against Target if there is no source.

    Raises:
        UsageError: the cells have curves, but no source.
    """
    if cells.rewind is not None and cells.sources == NO_SOURCE:
        raise UsageError(
            f"--rewind draws Source against Target, and there is no source (--sources {NO_SOURCE}). Drop --rewind, or "
            "name sources."
        )


def split_known(cells: Cells) -> tuple[Cells, list[str]]:
    """Return cells that an earlier version stored, without the settings of --set that this version refuses, and why."""
    registry, known, reasons = Registry(cells.plugin), list[str](), list[str]()
    for item in cells.set:
        try:
            given = SetOption.read((item,), registry)
            given.of_tasks(registry)
            given.of_recipe()
            given.of_methods(tuple(given.methods), registry)
        except UsageError as error:
            reasons.append(f"--set {item}, because {error}")
        else:
            known.append(item)
    return replace(cells, set=tuple(known)), reasons


def _untuned(cells: Cells, registry: Registry | None) -> Request:
    """Return the request for cells without what a search chose, which depends on the base model."""
    registry = registry or Registry(cells.plugin)
    suite = named_suite(cells.suite)
    if cells.model is not None:
        suite = replace(suite, model=cells.model, tuned=None)
    methods = _methods(cells.methods, registry)
    if cells.baselines and BASELINE not in methods:
        methods = (BASELINE, *methods)  # the baselines are made from plain LoRA and compared with it
    given = SetOption.read(cells.set, registry)
    request = Request(
        suite=suite,
        methods=methods,
        recipe=changed_recipe(suite.recipe, _recipe_fields(given, cells)),
        ranks=_numbers("--ranks", cells.ranks, least=1),
        targets=task_names(cells.targets, suite.targets, registry),
        sources=() if cells.sources == NO_SOURCE else task_names(cells.sources, suite.sources, registry),
        seeds=_numbers("--seeds", cells.seeds, least=0),
        limit=None if cells.limit is None else _limit(cells.limit),
        settings=given.of_methods(methods, registry),
        controls=cells.baselines,
        strengths=() if cells.rewind is None else _strengths(cells.rewind),
        tasks=Tasks(registry, _reading(cells.data, cells.skip_bad), given.of_tasks(registry)),
        every_source=cells.every_source,
    )
    learnt = {name.partition("@")[0] for name in request.targets}
    if both := [name for name in request.sources if name.partition("@")[0] in learnt]:
        raise UsageError(f"{both[0]} is both a target and a source. Drop it from --targets or --sources.")
    for name in (*request.targets, *request.sources):
        request.tasks.load(name)  # a task refuses options that exclude each other
    return request


def _checked(request: Request, cells: Cells, output: Path, *, quiet: bool = False) -> Request:
    """Return the request with what a search chose, after checking it against the base model if that is here."""
    if request.suite.here():
        if cells.model is not None:
            check_checkpoint(request.suite.folder)
        shapes, adapt = shapes_in(request.suite.folder), request.recipe.adapt
        if missing := shapes.missing(adapt):
            raise UsageError(
                f"recipe.adapt is {adapt!r}, but the decoder of the model of suite {request.suite.name} has no "
                f"{' and no '.join(missing)}. Give all, or one or more of {', '.join(shapes.decoder)}, joined by +."
            )
        if reason := shapes.refusal(request.recipe, rank := max(request.ranks)):
            raise UsageError(f"Rank {rank} is too large for the model of suite {request.suite.name}: {reason}")
    if cells.tuned is None:
        return request
    return replace(request, tuned=_tuned(cells.tuned, request, output, quiet=quiet))


def read_data(options: TaskData, skip_bad: int = 0, plugins: Sequence[Path] = ()) -> Tasks:
    """Return the tasks and their options, for a command that names no cells.

    Raises:
        UsageError: a setting belongs to no task, or is out of range.
        PluginError: a plugin cannot be imported, or breaks the contract.
    """
    registry = Registry(plugins)
    own = SetOption.read(options.set, registry).of_tasks_alone(registry)
    return Tasks(registry, _reading(options.data, skip_bad), own)


def _reading(data: Path | None, skip_bad: int) -> Reading:
    return Reading((data or Path(os.environ.get("BENCH_DATA", "data"))).resolve(), skip_bad)


def _recipe_fields(given: SetOption, cells: Cells) -> dict[str, object]:
    """Return the fields of the recipe that ``--set``, ``--connector`` and ``--base`` set, with their values."""
    fields = given.of_recipe()
    if cells.connector is not None:
        fields["connector"] = cells.connector
    if cells.base is not None:
        fields["quantization"] = BASES[cells.base]
    return fields


def _strengths(text: str) -> tuple[float, ...]:
    """Return the strengths in ascending order, with 1, because the row itself is on its curve."""
    wanted = "numbers from 0 to 1, separated by commas"
    found = split_list("--rewind", text, float, wanted)
    if not all(0 <= strength <= 1 for strength in found):
        raise UsageError(f"--rewind is {text!r}; give {wanted}.")
    return tuple(sorted({1.0, *(round(strength, 6) for strength in found)}))


def _tuned(chosen: str, request: Request, output: Path, *, quiet: bool) -> tuned.Tuned:
    """Return what a search chose, from the named file, else the run folder, else the suite's table."""
    own, shipped = output / CHOICES, request.suite.tuned
    path = place(chosen) if chosen else own if own.is_file() or shipped is None else shipped
    without = without_choice(choices_file(path))
    for name in (name for name in request.methods if name in without and not quiet):
        warn(f"--tuned: {name} runs untuned, because {without[name]}.")
    names = [name for name in request.methods if name not in without]
    places = [(key, request.registry.method(key[0])) for key in product(names, request.ranks, request.targets)]
    return tuned.read(path, request.suite, request.recipe, request.settings, places, request.sources)


def tuned_chains(chosen: str, chains: ChainRequest, output: Path) -> tuned.Tuned:
    """Return what a search of sequences chose, from the named file or folder, or else the run folder.

    Raises:
        UsageError: there is no such search, or it searched something else.
    """
    request, path = chains.request, place(chosen) if chosen else output
    places = [
        ((method.name, rank, order_name(order)), request.registry.method(method.parts[-1]))
        for order, rank, method in product(chains.orders, request.ranks, chains.methods)
    ]
    return tuned.read(path, request.suite, request.recipe, request.settings, places, request.sources, "--tasks")


def chain_methods(text: str, registry: Registry) -> tuple[ChainMethod, ...]:
    """Return the methods of a sequence that an option lists, such as slao,lora+lines.

    Raises:
        UsageError: a name is unknown, or methods cannot form a chain.
    """
    groups = {word: partial(find, registry) for word, find in SEQUENCE_GROUPS.items()}
    return tuple(ChainMethod.read(name, registry) for name in _words("--methods", text, groups))


def _methods(text: str, registry: Registry) -> tuple[str, ...]:
    chosen = _words("--methods", text, {word: partial(find, registry) for word, find in GROUPS.items()})
    known = registry.names("method")
    for name in chosen:
        if name not in known:
            raise suggest("method", name, (*known, *GROUPS))
        registry.method(name)
    return tuple(name for name in chosen if name != ZERO_SHOT)  # zero-shot is on every leaderboard anyway


def task_names(
    text: str, default: Sequence[str], registry: Registry, option: str = "--targets or --sources"
) -> tuple[str, ...]:
    """Return the names of tasks that an option lists; ``all`` means the default."""
    chosen = _words(option, text, {"all": lambda: default})
    for name in chosen:
        registry.task_class(name)
    return chosen


def _words(option: str, text: str, groups: Mapping[str, Callable[[], Sequence[str]]]) -> tuple[str, ...]:
    """Return the names that an option lists; ``groups`` has the words that mean several names."""
    wanted = f"names separated by commas, or {' or '.join(groups)}"
    words = split_list(option, text, str, wanted)
    chosen = [name for word in words for name in (groups[word]() if word in groups else (word,))]
    if not chosen:
        raise UsageError(f"{option} is empty; give {wanted}.")
    return tuple(dict.fromkeys(chosen))


def _limit(text: str) -> int:
    numbers = _numbers("--limit", text, least=1)
    if len(numbers) > 1:
        raise UsageError(f"--limit is {text}; give one number.")
    return numbers[0]


def _numbers(option: str, text: str, *, least: int) -> tuple[int, ...]:
    numbers = split_list(option, text, int, "whole numbers separated by commas, or a range such as 0-4")
    if (lowest := min(numbers)) < least:
        raise UsageError(f"{option} has {lowest}; the smallest allowed value is {least}.")
    return numbers
