"""The Optuna studies of a search: configurations and results in a database that survives a kill."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Literal

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError

from bench.errors import UsageError, without_password
from bench.plugins.hyperparameters import Range
from bench.store.databases import database_file
from bench.store.search_results import Configuration
from bench.values.canonical import digest
from bench.values.trial import Scalar

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


_ENOUGH = 4  # measured configurations below which no importance is computed
_ATTEMPTS, _PAUSE_SECONDS = 6, 0.1  # to create a storage's tables; the pause doubles, to 6.3 s in all
_OWNER = "owner"
_STARTUP = 6  # configurations drawn at random before the sampler fits its model


Sampler = Literal["tpe", "random"]

_STATES = {
    TrialState.COMPLETE: "done",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "stopped",
    TrialState.RUNNING: "running",
}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A configuration to try: its number in the study and the hyperparameters that the search chose."""

    number: int
    hyper: Mapping[str, Scalar]


class SearchStudy:
    """The study of one method at one rank on one target.

    ``space`` is what is searched, and ``first`` is the configuration that is tried first. ``sampler`` is tpe, which
    learns from results, or random, which does not and is the control of a search. ``owner`` names the driver that asks:
    several drivers may share a storage, and each resumes only the configurations that it left running itself.

    The next configuration depends on ``seed``, the study's name, the known results and the running configurations, not
    on the process that asks.
    """

    def __init__(  # noqa: PLR0913  all that defines a study, and its owner
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
            study_name=name, storage=_opened(storage), directions=["maximize", "maximize"], load_if_exists=True
        )
        self.first = {key: first[key] for key, span in space.items() if key in first and _contains(span, first[key])}
        mine = [trial for trial in self._study.trials if trial.user_attrs.get(_OWNER, "") == self._owner]
        running = [trial for trial in mine if trial.state is TrialState.RUNNING]
        self._orphans = [trial for trial in running if self._whole(trial)]
        for trial in running:
            if not self._whole(trial):  # its process died during `ask`, so the configuration was never handed out
                self._study.tell(trial.number, state=TrialState.FAIL)
        if not any(self._whole(trial) or trial.state is TrialState.WAITING for trial in self._study.trials):
            self._study.enqueue_trial(self.first)

    def ask(self, budget: int) -> Suggestion | None:
        """Return the next configuration, or None if ``budget`` configurations have been handed out.

        Configurations that an earlier process left running come first, unaltered, so that none is lost or repeated.
        """
        if self._orphans:
            orphan = self._orphans.pop(0)
            return Suggestion(orphan.number, orphan.params)
        number = sum(map(self._whole, self._study.trials))
        if number >= budget:
            return None
        drawn: list[object] = [self._seed, self.name, number]
        drawn += [self._owner] if self._owner else []  # drivers at the same number must draw different configurations
        seed = int(digest(drawn)[:8], 16)
        self._study.sampler = (
            optuna.samplers.RandomSampler(seed)
            if self._sampler == "random"
            else optuna.samplers.TPESampler(multivariate=True, constant_liar=True, n_startup_trials=_STARTUP, seed=seed)
        )
        trial = self._study.ask(self._distributions)
        trial.set_user_attr(_OWNER, self._owner)
        if sum(self._whole(item) for item in self._study.trials if item.number < trial.number) >= budget:
            self._study.tell(trial.number, state=TrialState.FAIL)  # over the budget, because another driver was faster
            return None
        return Suggestion(trial.number, trial.params)

    def _whole(self, trial: FrozenTrial) -> bool:
        return _is_whole(trial, self._distributions)

    def tell(self, number: int, source: float, target: float) -> None:
        """Store a configuration's result; a second result for the same configuration is ignored."""
        self._study.tell(number, [source, target], skip_if_finished=True)

    def fail(self, number: int) -> None:
        """Mark a configuration as failed; it counts towards the budget."""
        self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def prune(self, number: int) -> None:
        """Mark a configuration as stopped early; it counts towards the budget, but never joins the front."""
        self._study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def done(self, budget: int) -> bool:
        """Whether ``budget`` configurations have ended, with or without a result, and none is running."""
        tried = [trial for trial in self._study.trials if self._whole(trial)]
        return len(tried) >= budget and all(trial.state.is_finished() for trial in tried)

    def tried(self) -> tuple[Configuration, ...]:
        """Return every configuration that was handed out, in order; it has scores only if it is done."""
        return tuple(
            Configuration(trial.number, trial.params, _STATES[trial.state], *(trial.values or (None, None)))
            for trial in self._study.trials
            if self._whole(trial)
        )

    def importances(self, budget: int | None = None) -> dict[str, dict[str, float]]:
        """Return each hyperparameter's share, 0 to 1, of the variance of ``source``, ``target`` and ``avg``.

        fANOVA (Hutter et al., ICML 2014) over the first ``budget`` configurations, largest share first. An objective
        that did not vary is left out; with fewer than 4 measured configurations the result is empty.
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
    """Return each hyperparameter's share of the variance of ``values``, which has one value per trial."""
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
    except RuntimeError:  # no tree of the forest saw any variance
        return {}
    return {name: float(share) for name, share in found.items()}


def _on_a_line(trial: FrozenTrial, value: float) -> FrozenTrial:
    """Return a trial with the logarithms of log-scaled values, because Optuna's fANOVA uses raw values."""
    params, spans = dict(trial.params), dict(trial.distributions)
    for name, span in trial.distributions.items():
        if isinstance(span, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution) and span.log:
            params[name] = log(params[name])
            spans[name] = optuna.distributions.FloatDistribution(log(span.low), log(span.high))
    return optuna.trial.create_trial(params=params, distributions=spans, value=value)


def count_tried(name: str, storage: str, space: Mapping[str, Range]) -> int:
    """Return how many configurations of a study were handed out; 0 if there is no such study, or no such file."""
    file = database_file(storage)
    if file is not None and not file.is_file():
        return 0
    try:
        study = optuna.load_study(study_name=name, storage=_opened(storage))
    except KeyError:
        return 0
    return sum(_is_whole(trial, space) for trial in study.trials)


def _is_whole(trial: FrozenTrial, names: Iterable[str]) -> bool:
    """Whether a configuration has all its hyperparameters, and so has been handed out."""
    return trial.state is not TrialState.WAITING and set(names) <= set(trial.params)


def _opened(storage: str) -> optuna.storages.BaseStorage:
    """Open a storage and create its tables.

    If another process creates the tables at the same moment, a statement of one of the two fails, and is retried. An
    error without a statement comes from the connection, and is not retried.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return optuna.storages.get_storage(storage)
        except (DBAPIError, StorageInternalError) as error:
            reason = error.__cause__ if isinstance(error, StorageInternalError) else error
            if getattr(reason, "statement", None) is None:
                raise
            time.sleep(_PAUSE_SECONDS * 2**attempt)
    return optuna.storages.get_storage(storage)


def check_storage(storage: str) -> None:
    """Check that an Optuna storage can be opened.

    Raises:
        UsageError: the address is not valid, or the storage does not answer.
    """
    try:
        _opened(storage)
    except Exception as error:  # a database's driver may raise anything
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"--storage {without_password(storage)} cannot be opened ({reason}). Start its server, or give another."
        ) from error


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
