"""``bench search``: tune every method with the same budget on validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from bench.cli.arguments import arg, flag, split_list
from bench.cli.chained import Chained
from bench.cli.launch_options import Starts
from bench.cli.options import Cells, Output
from bench.cli.pages import tell_files
from bench.cli.reports import tell_older, tell_unknown_words
from bench.cli.request import NO_SOURCE, read_request, start_request
from bench.cli.run import check_output
from bench.cli.search_page import write_search_page
from bench.cli.which_run import keep_run, new_run
from bench.console import say, tell
from bench.errors import UsageError
from bench.lanes.setup import Launch
from bench.plan.baselines import make
from bench.plan.chains import ChainRequest
from bench.plan.plan import base_trial
from bench.plan.request import Request
from bench.plugins.registry import ZERO_SHOT, Registry
from bench.search.optuna_study import Sampler
from bench.search.pareto import Objective
from bench.search.quest import Quest
from bench.search.report import lines
from bench.search.run import requested, run
from bench.search.settings import SearchSettings
from bench.store.places import is_remote
from bench.store.run_folder import Store
from bench.store.runs import FOLDER as REPORTS
from bench.store.runs import Run, save_run
from bench.store.search_results import CHOICES, FOLDER, SearchResult


@dataclass(frozen=True, kw_only=True)
class SearchOptions(Starts, Output, Chained):
    """The options of ``bench search``. If they name tasks, it tunes the chains of ``bench sequence``.

    The command refuses the hidden ones.
    """

    hidden = ("tuned", "baselines", "rewind")

    dry_run: bool = flag("print which configurations and trainings are left, and stop")
    lanes: int | None = arg(None, "number of lanes (default: one per GPU or CPU core)", "N", type=int, least=0)
    trials: int = arg(20, "configurations per method, rank and target (default: 20)", "N", least=1)
    fields: str | None = arg(None, "search only these hyperparameters (default: all that have a search range)", "A,B")
    objective: Objective = arg(
        "avg", "score by which the best configuration is chosen (default: avg)", choices=get_args(Objective)
    )
    margin: str = arg(
        "5",
        "stop a training that a finished one beats by this many points in Source and Target at the same step"
        " (default: 5; none: never stop)",
        "POINTS",
    )
    sampler: Sampler = arg(
        "tpe", "how configurations are drawn; random is the control (default: tpe)", choices=get_args(Sampler)
    )
    storage: str | None = arg(
        None,
        "Optuna storage that several drivers share, each with its own --output (default: a file in --output)",
        "URL",
    )
    search_seed: int = arg(0, "random seed of the search (default: 0)", "N", least=0)

    def setting(self) -> SearchSettings:
        """Return the settings of the search.

        Raises:
            UsageError: a value is out of range, or two options exclude each other.
        """
        if is_remote(self.output) and self.storage is None:
            raise UsageError(
                f"A search keeps its studies in a database, which cannot be in {self.output}. Name one with "
                "--storage, such as postgresql://HOST/NAME."
            )
        if self.tuned is not None:
            raise UsageError("--tuned is an option of bench run, which uses what bench search has found. Drop --tuned.")
        if self.lanes == 0:
            raise UsageError("--lanes is 0; a search runs on Ray Tune and needs at least one lane.")
        if self.baselines or self.rewind is not None:
            raise UsageError(
                "--baselines and --rewind are options of bench run, because they add rows to a leaderboard. Drop them."
            )
        return SearchSettings(
            seed=self.search_seed,
            sampler=self.sampler,
            margin=_points(self.margin),
            storage=self.storage,
            trials=self.trials,
            objective=self.objective,
            fields=split_list("--fields", self.fields, str, "names separated by commas") if self.fields else None,
        )


def search(options: SearchOptions) -> int:
    """Tune every method with the same budget on validation."""
    launch = options.launch()
    check_output(options.output, options.lanes)
    setting, registry = options.setting(), Registry(options.plugin)
    cells = options.chain_cells(registry) if options.is_sequence else options
    _check_sources(cells, "AP" if options.is_sequence else "Target")
    read = read_request if options.dry_run else start_request
    request = replace(read(cells, options.output, registry), split="validation")
    wanted: Request | ChainRequest = request
    if options.is_sequence:
        wanted, setting = _chains(options, registry, request), replace(setting, margin=None)
    request, store = requested(wanted), options.store()
    tell_older(store)
    tell_unknown_words(request)
    if options.dry_run:
        from bench.cli.search_plan import plan_lines  # imported here because it loads torch

        tell(plan_lines(wanted, setting, store, launch))
        return 0
    launch = options.fitted(
        launch, lambda: wanted.plan(store) if isinstance(wanted, ChainRequest) else make(request, store)
    )
    return _carry_out(options, wanted, setting, launch, noted(options, cells, wanted, setting))


def _check_sources(cells: Cells, learnt: str) -> None:
    """Refuse a search without a source; ``learnt`` names its other objective.

    Raises:
        UsageError: there is no source.
    """
    if cells.sources == NO_SOURCE:
        raise UsageError(f"A search is judged by {learnt} and Source, and there is no source. Add --sources A,B.")


def noted(options: SearchOptions, cells: Cells, wanted: Request | ChainRequest, setting: SearchSettings) -> Run:
    """Return the note of a search that starts now, without its trials."""
    varied = {name: value for name, value in asdict(setting).items() if name != "storage"}
    more = {"chains": options.methods, "orders": options.orders()} if options.is_sequence else {}
    run = new_run("search", options.line, cells, FOLDER, **varied, **more)
    chained: dict[str, Any] = {}
    if isinstance(wanted, ChainRequest):
        chained = {"chains": [method.name for method in wanted.methods], "orders": [list(o) for o in wanted.orders]}
    return replace(run, methods=requested(wanted).methods, chained=chained)


def _chains(options: SearchOptions, registry: Registry, request: Request) -> ChainRequest:
    """Return the chains to tune.

    Raises:
        UsageError: a margin is given.
    """
    if "margin" in options.typed:
        raise UsageError("--margin stops single trainings, and a stage alone says little about its chain. Drop it.")
    return options.chain_request(registry, request)


def _carry_out(
    options: SearchOptions, wanted: Request | ChainRequest, setting: SearchSettings, launch: Launch, note: Run
) -> int:
    """Search, print the choices, write the page, and return the exit code."""
    store, written = options.store(), list[Path]()

    def keep(asked: Sequence[Quest], results: Sequence[SearchResult]) -> None:
        _keep(note, store, options.output, asked, results)
        if results:
            written.extend(write_search_page(note, results, store, options.output))

    _, results = run(wanted, setting, store, launch, options.line, keep)
    tell(lines(results, f"bench sequence --tasks {options.tasks}" if options.is_sequence else "bench run"))
    say(f"wrote {options.output / CHOICES}")
    labels = ", ".join(result.label for result in results)
    say(f"wrote front, slices, parallel and history (.png, .svg, .csv) in {options.output / FOLDER}: {labels}")
    tell_files(written, store.root, Path(REPORTS) / note.name, options.output)
    return 1 if any(result.count("failed") for result in results) else 0


def _keep(note: Run, store: Store, output: Path, asked: Sequence[Quest], results: Sequence[SearchResult]) -> None:
    """Keep the note of a search: first with the labels of its trials, and at its end with their ids."""
    if results:
        tried = (trial for result in results for item in result.configurations for trial in item.trials)
        bases = (base_trial(quest.request).id for quest in asked)
        save_run(store, replace(note, finished=True, trials=tuple(dict.fromkeys((*bases, *tried)))))
    else:
        labels = dict.fromkeys(label for quest in asked for label in (ZERO_SHOT, *quest.trial_labels))
        keep_run(store, replace(note, labels=tuple(labels)), output)


def _points(text: str) -> float | None:
    """Return a margin in points, or None if no training is stopped."""
    try:
        margin = None if text == "none" else float(text)
    except ValueError:
        margin = -1.0
    if margin is not None and not 0 <= margin <= 100:
        raise UsageError(f"--margin is {text}; give 0 to 100 points, or none.")
    return margin
