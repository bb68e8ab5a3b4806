"""The command that repeats a trial: the shortest that asks for it, or else the whole command that needed it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.cli.arguments import words_of
from bench.cli.options import Cells
from bench.cli.request import NO_SOURCE
from bench.cli.which_run import run_of
from bench.errors import UsageError
from bench.plan.baselines import stops
from bench.plan.suite import SUITES, Suite, by_revision
from bench.plugins.hyperparameters import values
from bench.plugins.registry import BASELINE, REWIND, Registry
from bench.store.run_folder import Store
from bench.values.recipe import EVALUATED
from bench.values.record import Record
from bench.values.trial import Trial

_SCORED = ("data", "skip_bad", "limit", "set")  # options that say how tasks are read and how much of them is scored


def asked_in(store: Store, trial: Trial) -> tuple[Cells, str]:
    """Return the cells of the latest run that needs a trial, and its command; without one, the latest run's and "".

    A limit that is not the trial's own, or that limits the validation of a search, is left out.
    """
    ran = run_of(store, trial)
    if ran is None:
        return Cells(), ""
    needed, cells = trial.id in ran.trials, Cells.selected(ran.selection)
    if not needed or ran.kind == "search":
        cells = replace(cells, limit=None)
    return cells, ran.command if needed else ""


@dataclass(frozen=True, slots=True)
class Repeats:
    """The commands that repeat the trials of a run folder.

    ``output`` is the run folder as the commands name it, and ``models`` has its base models. ``scored`` are the options
    that say how tasks are read and how many examples are scored. ``whole`` is the command of the run that needed the
    trials; it repeats those that no shorter command asks for, such as the edits of a snapshot that a study makes.
    """

    output: Path
    registry: Registry
    models: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    scored: Sequence[str] = ()
    whole: str = ""

    @classmethod
    def of(cls, cells: Cells, output: Path, registry: Registry, store: Store, whole: str) -> Repeats:
        """Return the commands for trials of some cells, with the cells' options on reading and scoring tasks."""
        tasks = registry.names("task")
        own = replace(cells, set=tuple(item for item in cells.set if item.partition(".")[0].strip() in tasks))
        scored = words_of(own, (name for name in _SCORED if getattr(own, name)))
        return cls(output, registry, store.models(), scored, whole)

    def __call__(self, record: Record) -> str:
        """Return the command that repeats a trial.

        Raises:
            UsageError: no suite in this version has the trial's base model, or no command is known that asks for it.
        """
        trial = record.trial
        chained = len(trial.tasks) > 1
        found = (trial, list[str]()) if chained else _row_of(trial)
        if found is None:
            if not self.whole:
                raise UsageError(
                    f"No command asks for {trial.label} alone, and no run of {self.output} says that it needs it. "
                    "Repeat the command that started it."
                )
            return self.whole
        row, added = found
        suite = by_revision(trial.model, self.models)
        words = ["bench", "sequence" if chained else "run", *self._cells(row, suite, chained=chained), *added]
        return shlex.join([*words, *self.scored, "--output", str(self.output)])

    def _cells(self, trial: Trial, suite: Suite, *, chained: bool) -> list[str]:
        """Return the options that ask for a trial as a row of its own, or as a stage of a sequence."""
        words = ["--suite", suite.name]
        if suite.model != SUITES[suite.name].model:
            words += ["--model", suite.model]
        words += [word for path in self.registry.files for word in ("--plugin", str(path))]
        words += ["--methods", *(_chain_of(trial) if chained else [trial.method])]
        words += _sources_of(trial, suite)
        if trial.rank is not None and trial.target is not None:
            learnt = ["--tasks", ",".join(trial.tasks)] if chained else ["--targets", trial.target]
            words += ["--ranks", str(trial.rank), *learnt, "--seeds", str(trial.seed)]
            parts = reversed((trial, *trial.ancestors()))
            for name, part in {part.method: part for part in parts}.items():
                method = self.registry.method(name)
                defaults = values(method(**suite.settings.get(name, {})))
                kept = {name: value for name, value in part.hyper.items() if name not in method.dropped}
                words += _settings(part.method, kept, defaults)
        recipe = asdict(trial.recipe) | {"updates": trial.recipe.updates // max(len(trial.together), 1)}
        if trial.rank is None:  # the recipe of the base model's row says only how it answers
            recipe = {name: recipe[name] for name in EVALUATED}
        return words + _settings("recipe", recipe, asdict(suite.recipe))


def _row_of(trial: Trial) -> tuple[Trial, list[str]] | None:
    """Return the trial of the row whose run makes a trial too, and the option that adds it; None if there is none.

    --rewind scales the change of a row, and --baselines stops plain LoRA early. Rewind is a row of its own if it
    edits what it edits by itself, plain LoRA.
    """
    parent = trial.parent
    if trial.snapshot is None and (trial.method != REWIND or parent is None or parent.method == BASELINE):
        return trial, []
    if trial.method != REWIND or parent is None or parent.snapshot is not None or parent.method == REWIND:
        return None
    strength = trial.hyper["strength"]
    if trial.snapshot is None:
        return parent, ["--rewind", f"{strength:.15g}"]
    if parent.method == BASELINE and strength == 1 and trial.snapshot in stops(trial.recipe.updates):
        return parent, ["--baselines"]
    return None


def _sources_of(trial: Trial, suite: Suite) -> list[str]:
    """Return the option that names the sources, or nothing if the command takes them from the suite.

    A sequence leaves its tasks out of the suite's sources by itself. What it replays are earlier tasks.
    """
    learnt = {name.partition("@")[0] for name in trial.tasks}
    usual = [name for name in suite.sources if name.partition("@")[0] not in learnt]
    wanted = usual if _replays_tasks(trial) or not trial.sources else list(trial.sources)
    given = usual if len(trial.tasks) > 1 else suite.sources
    if trial.target is None or sorted(wanted) == sorted(given):
        return []
    return ["--sources", ",".join(wanted) or NO_SOURCE]


def _replays_tasks(trial: Trial) -> bool:
    """Whether a stage sees examples of earlier tasks, as the control of a sequence does."""
    return bool(trial.sources) and set(trial.sources) < set(trial.tasks)


def _chain_of(trial: Trial) -> list[str]:
    """Return the words with which bench sequence names the method of a stage, and the edit that follows each stage."""
    if _replays_tasks(trial) or (trial.together and trial.method == BASELINE):
        return [BASELINE, "--baselines"]
    train, before = trial.trained, trial.trained.parent
    edit = trial if trial.is_edit else before
    return [f"{train.method}+{edit.method}" if edit is not None and edit.is_edit else train.method]


def _settings(name: str, now: Mapping[str, Any], default: Mapping[str, Any]) -> list[str]:
    """Return the --set options for the values that differ from the defaults."""
    changed = {field: value for field, value in now.items() if value != default.get(field)}
    return [word for field, value in changed.items() for word in ("--set", f"{name}.{field}={value}")]
