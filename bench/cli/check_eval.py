"""``bench check eval``: generate the same answers in several ways, and count the differences."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.cli.check import CheckOptions
from bench.cli.options import Cells, Output
from bench.cli.request import start_request
from bench.console import say, tell
from bench.errors import UsageError
from bench.model.change import Change
from bench.plan import plan
from bench.plan.request import Request
from bench.store.run_folder import Store
from bench.trial import parity
from bench.trial.runner import TrialRunner
from bench.trial.ways import compare_ways
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial


def check_eval(options: CheckOptions) -> int:
    """Compare the ways to generate answers, print the differences, and store them if ``--output`` is set."""
    if options.batch < 2:
        raise UsageError(f"--batch is {options.batch}; give at least 2, because it is compared with batch size 1.")
    if options.trial is not None and options.output is None:
        raise UsageError("--trial needs the run folder of the trial. Name it with --output.")
    with TemporaryDirectory() as nowhere:
        asked = start_request(_cells(options), Path(nowhere))
        store = Store(Path(nowhere)) if options.output is None else Output(output=options.output).existing()
        trial, change, scores = _subject(asked, store, options.trial)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        bench = TrialRunner(store, asked.suite.folder, asked.tasks, device)
        found = compare_ways(bench.scorer, trial, change, scores, options.batch)
    tell(parity.lines(found))
    if options.output is not None:
        say(f"wrote {parity.write(store, parity.subject(trial), found)}")
    return 0


def _cells(options: CheckOptions) -> Cells:
    """Return the cells of a run that evaluates the same tasks with the same model."""
    return Cells(
        suite=options.suite,
        model=options.model,
        data=options.data,
        limit=options.limit,
        set=options.set,
        ranks="1",  # every model allows rank 1, and nothing is trained
    )


def _subject(asked: Request, store: Store, name: str | None) -> tuple[Trial, Change, tuple[ScoreSpec, ...]]:
    """Return the base model or a trial of the run folder that was trained on it, its change, and what it is asked."""
    trial = plan.assemble(asked, (), store).zero_shot if name is None else store.find(name).trial
    if trial.model != asked.suite.revision():
        raise UsageError(
            f"{trial.label} was run with another base model, not {asked.suite.model}. "
            "Name its own with --suite or --model."
        )
    if trial.rank is None:
        return trial, Change({}), plan.asked(asked, asked.targets)
    if store.change_of(trial).facts() is None:
        raise UsageError(f"{trial.label} has learnt nothing yet. Repeat the command that started it.")
    return trial, store.change_of(trial).read(), plan.asked(asked, trial.learns)
