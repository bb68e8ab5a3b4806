"""The Optuna studies of a search: what was asked and what came out, in a database that survives every kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Literal

import optuna
from optuna.trial import TrialState

from bench.errors import UsageError, without_password
from bench.plugins.hyperparameters import Range
from bench.search.pareto import Point
from bench.spec import Scalar, digest

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


_ENOUGH = 4  # measured configurations before anything is said of what mattered
_OWNER = "owner"
_STARTUP = 6  # configurations drawn at random before the sampler models anything


Sampler = Literal["tpe", "random"]
State = Literal["done", "failed", "stopped", "running"]

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "done",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "stopped",
    TrialState.RUNNING: "running",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A configuration to try: its number in the study and the hyperparameters that the search chose."""

    number: int
    hyper: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Tried:
    """A configuration that was handed out, and what it gave: no point unless it is done."""

    number: int
    hyper: Mapping[str, Scalar]
    point: Point | None
    state: State = "done"


class Study:
    """One method at one rank on one target. ``space`` is what is searched, ``first`` the point to begin with.

    ``sampler`` is tpe, which learns from what was told, or random, which does not: the control of a search. ``owner``
    names who hands out here: several may share a storage, and each takes up only what it left running itself.

    What is asked next depends on ``seed``, the study's name, and what was told and is running, not on the process that
    asks.
    """

    def __init__(  # noqa: PLR0913  what a study is, and who asks it
        self,
        name: str,
        storage: str,
        space: Mapping[str, Range],
        first: Mapping[str, Scalar],
        seed: int,
        sampler: Sampler = "tpe",
        owner: str = "",
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name = name
        self.space = dict(space)
        self._seed = seed
        self._sampler = sampler
        self._owner = owner
        self._distributions = {name: _distribution(span) for name, span in space.items()}
        self._study: OptunaStudy = optuna.create_study(
            study_name=name, storage=storage, directions=["maximize", "maximize"], load_if_exists=True
        )
        self.first = {key: first[key] for key, span in space.items() if key in first and _contains(span, first[key])}
        mine = [trial for trial in self._study.trials if trial.user_attrs.get(_OWNER, "") == self._owner]
        running = [trial for trial in mine if trial.state is TrialState.RUNNING]
        self._orphans = [trial for trial in running if self._whole(trial)]
        for trial in running:
            if not self._whole(trial):  # its process died while it was being asked: nobody has seen it
                self._study.tell(trial.number, state=TrialState.FAIL)
        if not any(self._whole(trial) or trial.state is TrialState.WAITING for trial in self._study.trials):
            self._study.enqueue_trial(self.first)

    @property
    def searched(self) -> set[str]:
        """The names of what is searched."""
        return set(self._distributions)

    def ask(self, budget: int) -> Asked | None:
        """Return the next configuration, or None when ``budget`` configurations have been handed out.

        What an earlier process left running comes first, as it was, so that nothing is lost and nothing is repeated.
        """
        if self._orphans:
            orphan = self._orphans.pop(0)
            return Asked(orphan.number, orphan.params)
        number = sum(map(self._whole, self._study.trials))
        if number >= budget:
            return None
        drawn: list[object] = [self._seed, self.name, number]
        drawn += [self._owner] if self._owner else []  # two drivers that count alike must not draw alike
        seed = int(digest(drawn)[:8], 16)
        self._study.sampler = (
            optuna.samplers.RandomSampler(seed)
            if self._sampler == "random"
            else optuna.samplers.TPESampler(multivariate=True, constant_liar=True, n_startup_trials=_STARTUP, seed=seed)
        )
        trial = self._study.ask(self._distributions)
        trial.set_user_attr(_OWNER, self._owner)
        if sum(self._whole(item) for item in self._study.trials if item.number < trial.number) >= budget:
            self._study.tell(trial.number, state=TrialState.FAIL)  # another driver was quicker: beyond the budget
            return None
        return Asked(trial.number, trial.params)

    def _whole(self, trial: FrozenTrial) -> bool:
        """Whether a configuration has all its hyperparameters: it has been handed out."""
        return trial.state is not TrialState.WAITING and set(self._distributions) <= set(trial.params)

    def tell(self, number: int, source: float, target: float) -> None:
        """Note what a configuration gave. Told twice, the first stays."""
        self._study.tell(number, [source, target], skip_if_finished=True)

    def fail(self, number: int) -> None:
        """Note that a configuration gave nothing; it counts towards the budget."""
        self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def prune(self, number: int) -> None:
        """Note that a configuration was stopped early; it counts towards the budget, and enters no front."""
        self._study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def done(self, budget: int) -> bool:
        """Whether ``budget`` configurations have come to an end, good or bad, and none is under way."""
        tried = [trial for trial in self._study.trials if self._whole(trial)]
        return len(tried) >= budget and all(trial.state.is_finished() for trial in tried)

    def tried(self) -> tuple[Tried, ...]:
        """Return every configuration that was handed out, in order."""
        return tuple(
            Tried(
                trial.number,
                trial.params,
                Point(trial.number, *trial.values) if trial.values else None,
                _STATES[trial.state],
            )
            for trial in self._study.trials
            if self._whole(trial)
        )

    def importances(self, budget: int | None = None) -> dict[str, dict[str, float]]:
        """Return each hyperparameter's share, 0 to 1, of the variance of ``source``, ``target`` and ``avg``.

        fANOVA (Hutter et al., ICML 2014) over the first ``budget`` configurations, largest share first. An objective
        that did not vary is left out; nothing is said of fewer than 4 measured configurations.
        """
        tried = [trial for trial in self._study.trials if self._whole(trial)][:budget]
        done = [trial for trial in tried if trial.state is TrialState.COMPLETE]
        if len(done) < _ENOUGH:
            return {}
        weights = {"source": (1.0, 0.0), "target": (0.0, 1.0), "avg": (0.5, 0.5)}
        shares = {
            name: _shares(done, [source * trial.values[0] + target * trial.values[1] for trial in done])
            for name, (source, target) in weights.items()
        }
        return {name: found for name, found in shares.items() if found}


def _shares(trials: Sequence[FrozenTrial], values: Sequence[float]) -> dict[str, float]:
    """Return the share of every hyperparameter in the variance of ``values``, one value a trial."""
    varied = [name for name in trials[0].params if len({trial.params[name] for trial in trials}) > 1]
    if not varied or len(set(values)) == 1:
        return {}
    if len(varied) == 1:
        return {varied[0]: 1.0}
    study = optuna.create_study(direction="maximize")
    for trial, value in zip(trials, values, strict=True):
        study.add_trial(_on_a_line(trial, value))
    try:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)
    except RuntimeError:  # no tree of its forest saw any variance
        return {}
    return {name: float(share) for name, share in found.items()}


def _on_a_line(trial: FrozenTrial, value: float) -> FrozenTrial:
    """Return a trial whose log-scaled hyperparameters are their logarithms: Optuna's fANOVA weighs raw values."""
    params, spans = dict(trial.params), dict(trial.distributions)
    for name, span in trial.distributions.items():
        if isinstance(span, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution) and span.log:
            params[name] = log(params[name])
            spans[name] = optuna.distributions.FloatDistribution(log(span.low), log(span.high))
    return optuna.trial.create_trial(params=params, distributions=spans, value=value)


def check_storage(storage: str) -> None:
    """Refuse an Optuna storage that cannot be opened.

    Raises:
        UsageError: its address makes no sense, or it does not answer.
    """
    try:
        optuna.storages.get_storage(storage)
    except Exception as error:  # a database's driver may raise anything
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"--storage {without_password(storage)} cannot be opened ({reason}).") from error


def _distribution(span: Range) -> BaseDistribution:
    if span.choices:
        return optuna.distributions.CategoricalDistribution(span.choices)
    assert span.low is not None
    assert span.high is not None
    if span.whole:
        return optuna.distributions.IntDistribution(int(span.low), int(span.high), log=span.log)
    return optuna.distributions.FloatDistribution(span.low, span.high, log=span.log)


def _contains(span: Range, value: Scalar) -> bool:
    if span.choices:
        return value in span.choices
    if not isinstance(value, int | float) or span.low is None or span.high is None:
        return False
    return span.low <= value <= span.high
