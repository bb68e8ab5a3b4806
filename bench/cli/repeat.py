"""The command that repeats a trial: the shortest that asks for it, or else the whole command that needed it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.cli.arguments import words_of
from bench.cli.options import Cells
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
    """Return the cells of the latest run that needs a trial, and its command; without one, the latest run's and ""."""
    ran = run_of(store, trial)
    if ran is None:
        return Cells(), ""
    return Cells.selected(ran.selection), ran.command if trial.id in ran.trials else ""


@dataclass(frozen=True, slots=True)
class Repeats:
    """The commands that repeat the trials of a run folder.

    ``scored`` are the options that say how tasks are read and how many examples are scored. ``whole`` is the command
    of the run that needed the trials; it repeats those that no shorter command asks for, such as the edits of a
    snapshot that a study makes.
    """

    output: Path
    registry: Registry
    scored: Sequence[str] = ()
    whole: str = ""

    @classmethod
    def of(cls, cells: Cells, output: Path, registry: Registry, whole: str) -> Repeats:
        """Return the commands for trials of some cells, with the cells' options on reading and scoring tasks."""
        tasks = registry.names("task")
        own = replace(cells, set=tuple(item for item in cells.set if item.partition(".")[0].strip() in tasks))
        return cls(output, registry, words_of(own, (name for name in _SCORED if getattr(own, name))), whole)

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
        suite = by_revision(trial.model, Store(self.output).models())
        words = ["bench", "sequence" if chained else "run", *self._cells(row, suite, chained=chained), *added]
        return shlex.join([*words, *self.scored, "--output", str(self.output)])

    def _cells(self, trial: Trial, suite: Suite, *, chained: bool) -> list[str]:
        """Return the options that ask for a trial as a row of its own, or as a stage of a sequence."""
        words = ["--suite", suite.name]
        if suite.model != SUITES[suite.name].model:
            words += ["--model", suite.model]
        words += [word for path in self.registry.files for word in ("--plugin", str(path))]
        words += ["--methods", *(_chain_of(trial) if chained else [trial.method])]
        if trial.sources and not chained and set(trial.sources) != set(suite.sources):
            words += ["--sources", ",".join(trial.sources)]
        if trial.rank is not None and trial.target is not None:
            learnt = ["--tasks", ",".join(trial.tasks)] if chained else ["--targets", trial.target]
            words += ["--ranks", str(trial.rank), *learnt, "--seeds", str(trial.seed)]
            for name, part in {part.method: part for part in (trial.parent, trial) if part}.items():
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

    --rewind scales the change of a row, and --baselines stops plain LoRA early.
    """
    parent = trial.parent
    if trial.snapshot is None and (trial.method != REWIND or parent is None):
        return trial, []
    if trial.method != REWIND or parent is None or parent.snapshot is not None or parent.method == REWIND:
        return None
    strength = trial.hyper["strength"]
    if trial.snapshot is None:
        return parent, ["--rewind", f"{strength:.15g}"]
    if parent.method == BASELINE and strength == 1 and trial.snapshot in stops(trial.recipe.updates):
        return parent, ["--baselines"]
    return None


def _chain_of(trial: Trial) -> list[str]:
    """Return the words with which bench sequence names the method of a stage, and the edit that follows each stage."""
    if trial.sources or (trial.together and trial.method == BASELINE):
        return [BASELINE, "--baselines"]
    train, before = trial.trained, trial.trained.parent
    edit = trial if trial.is_edit else before
    return [f"{train.method}+{edit.method}" if edit is not None and edit.is_edit else train.method]


def _settings(name: str, now: Mapping[str, Any], default: Mapping[str, Any]) -> list[str]:
    """Return the --set options for the values that differ from the defaults."""
    changed = {field: value for field, value in now.items() if value != default.get(field)}
    return [word for field, value in changed.items() for word in ("--set", f"{name}.{field}={value}")]
