"""Write the report page of a search, and the figure of all its fronts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.arguments import words_of
from bench.cli.options import Cells
from bench.cli.pages import put_page, written_if_possible
from bench.cli.repeat import Repeats
from bench.cli.request import read_request
from bench.cli.which_run import cells_of
from bench.errors import UsageError
from bench.plan.chains import order_name
from bench.plan.tuned import QuestKey, quest_label
from bench.plugins.registry import Registry
from bench.store.drafts import staged
from bench.store.run_folder import Store
from bench.store.runs import FOLDER, Run
from bench.store.search_results import SearchResult, search_results

if TYPE_CHECKING:
    from bench.page.page import Page

_SHARED = ("suite", "model", "base", "seeds", "connector", "set", "plugin", "data", "skip_bad", "every_source")


def write_search_page(run: Run, results: Sequence[SearchResult], store: Store, output: Path) -> list[Path]:
    """Write the figure of all fronts and the page of a finished search, and return the files.

    What cannot be written is told, because the search itself is complete.
    """
    fronts: list[Path] = []

    def draw() -> Path:
        fronts.extend(draw_fronts(run, results, store))
        return store.root

    written_if_possible({"The figure of all fronts": draw})
    page = written_if_possible(
        {"The report page": lambda: put_search_page(run, cells_of(run), results, fronts, store, output)}
    )
    return [*fronts, *page]


def draw_fronts(run: Run, results: Sequence[SearchResult], store: Store) -> list[Path]:
    """Write the figure of all fronts of a search, and return its files; none if no configuration has scores."""
    from bench.search.fronts import save  # imported here because the help needs no figures

    folder = store.root / FOLDER / run.name
    with staged(folder) as here:
        names = [path.name for path in save(results, here)]
    return [folder / name for name in names]


def put_search_page(
    run: Run, cells: Cells, results: Sequence[SearchResult], fronts: Sequence[Path], store: Store, output: Path
) -> Path:
    """Write the page of a finished search, and return its path."""
    registry = Registry(cells.plugin)

    def page() -> Page:
        from bench.page.search import Searched, search_page  # imported here because the help needs no templates

        repeat = Repeats.of(replace(cells, limit=None), output, registry, store, run.command)
        return search_page(Searched(run.command, results, fronts, following(cells, results, output), repeat), store)

    return put_page(page, store, run)


def results_of(run: Run, cells: Cells, store: Store, output: Path) -> list[SearchResult]:
    """Return the result of every quest of a search, in the order in which the search ran them.

    Raises:
        UsageError: the search is not finished, a later search has replaced some of its results, or its note does not
            say which quests it had.
    """
    if not run.finished:
        raise UsageError(f"The search {run.name} is not finished. Run its command again: {run.command}")
    again = f"Run its command again; it tries nothing again: {run.command}"
    found = {result.label: result for result, _ in search_results(store.root) if result.command == run.command}
    if not found:
        raise UsageError(f"The results of the search {run.name} were replaced by a later search. {again}")
    wanted = [quest_label(key) for key in _quests(run, cells, output)]
    if not found.keys() <= set(wanted):  # the note of a sequence's search without its chains, by an earlier version
        raise UsageError(f"The note of the search {run.name} does not say which chains it searched. {again}")
    if missing := [label for label in wanted if label not in found]:
        raise UsageError(f"The results of {', '.join(missing)} were replaced by a later search. {again}")
    return [found[label] for label in wanted]


def _quests(run: Run, cells: Cells, output: Path) -> Iterator[QuestKey]:
    """Yield the key of every quest that the note of a search names."""
    asked = read_request(cells, output)
    places = [order_name(order) for order in run.chained["orders"]] if run.chained else asked.targets
    methods = run.chained["chains"] if run.chained else asked.methods
    for place, rank, method in product(places, asked.ranks, methods):
        yield (method, rank, place)


def following(cells: Cells, results: Sequence[SearchResult], output: Path) -> str:
    """Return the command that runs what a search chose next to the defaults, on the test splits."""
    facts = [result.facts for result in results]
    orders = [",".join(order) for order in dict.fromkeys(result.order for result in results) if order]
    words = ["bench", "sequence" if orders else "run"]
    words += [
        "--methods",
        _listed(each["method"] for each in facts),
        "--ranks",
        _listed(each["rank"] for each in facts),
    ]
    if orders:
        words += ["--tasks", orders[0], *(word for order in orders[1:] for word in ("--order", order))]
    else:
        words += ["--targets", _listed(each["target"] for each in facts)]
    if cells.sources != "all":
        words += ["--sources", cells.sources]
    defaults = {item.name: item.default for item in fields(Cells)}
    words += words_of(cells, (name for name in _SHARED if getattr(cells, name) != defaults[name]))
    return shlex.join([*words, "--tuned", "--output", str(output)])


def _listed(values: Iterable[object]) -> str:
    return ",".join(dict.fromkeys(map(str, values)))
