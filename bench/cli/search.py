"""``bench search``: every method is tuned with the same budget, on validation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

from bench.cli.options import Cells, Command, HowTrialsRun, Lanes, Output, arg
from bench.cli.request import start_request
from bench.cli.work import check_output
from bench.console import say, tell
from bench.errors import UsageError
from bench.plan.tuned import FILE
from bench.search.optuna_study import Sampler
from bench.search.outcome import lines
from bench.search.pareto import Objective
from bench.search.run import SearchSettings, run
from bench.store.places import is_remote
from bench.store.run_folder import Store


@dataclass(frozen=True, kw_only=True)
class SearchOptions(HowTrialsRun, Lanes, Output, Cells, Command):
    """The options of ``bench search``."""

    lanes: int | None = arg(None, "warm workers (default: one per GPU or CPU core)", "N", type=int)
    trials: int = arg(20, "configurations per method, rank and target (default: 20)", "N")
    fields: str | None = arg(None, "search these hyperparameters alone (default: all that may be)", "A,B")
    objective: Objective = arg("avg", "what the chosen one is best at (default: avg)", choices=get_args(Objective))
    margin: str = arg(
        "5",
        "stop a training that a finished one beats by this much in Source and Target at the same step (default: 5;"
        " none: stop nothing)",
        "POINTS",
    )
    sampler: Sampler = arg("tpe", "random: the control (default: tpe)", choices=get_args(Sampler))
    storage: str | None = arg(
        None,
        "Optuna storage shared by several drivers, each with an --output of its own (default: a file in --output)",
        "URL",
    )
    search_seed: int = arg(0, "seed of the search itself (default: 0)", "N")

    def setting(self) -> SearchSettings:
        """Return how the search goes.

        Raises:
            UsageError: a value is out of range, or does not go with another.
        """
        if is_remote(self.output) and self.storage is None:
            raise UsageError(
                f"A search keeps its studies in a database, which cannot lie in {self.output}. Name one with "
                "--storage, for instance postgresql://HOST/NAME."
            )
        if self.tuned is not None:
            raise UsageError("--tuned is for bench run: it takes what bench search has found.")
        if self.lanes == 0:
            raise UsageError("--lanes is 0; a search runs on Ray Tune and needs at least one lane.")
        if self.trials < 1:
            raise UsageError(f"--trials is {self.trials}; give at least 1.")
        if self.search_seed < 0:
            raise UsageError(f"--search-seed is {self.search_seed}; give 0 or more.")
        if self.baselines or self.rewind is not None:
            raise UsageError("--baselines and --rewind are for bench run: they are rows of a leaderboard.")
        return SearchSettings(
            seed=self.search_seed,
            sampler=self.sampler,
            margin=_points(self.margin),
            storage=self.storage,
            trials=self.trials,
            objective=self.objective,
            fields=None if not self.fields else tuple(word.strip() for word in self.fields.split(",") if word.strip()),
        )


def search(options: SearchOptions) -> int:
    """Tune every method with the same budget, on validation."""
    launch = options.launch(options.lanes)
    check_output(options.output, options.lanes)
    setting = options.setting()
    asked = replace(start_request(options, options.output), split="validation")
    outcomes = run(asked, setting, Store(options.output.resolve()), launch, options.line)
    tell(lines(outcomes))
    say(f"wrote {options.output / FILE}")
    return 1 if any(outcome.failed for outcome in outcomes) else 0


def _points(text: str) -> float | None:
    """Return a margin in points, or None where nothing is to be stopped."""
    try:
        margin = None if text == "none" else float(text)
    except ValueError:
        margin = -1.0
    if margin is not None and not 0 <= margin <= 100:
        raise UsageError(f"--margin is {text}; give 0 to 100 points, or none.")
    return margin
