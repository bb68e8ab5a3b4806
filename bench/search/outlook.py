"""What a search would still do, from what the run folder and the studies hold; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.plan.chains import ChainRequest
from bench.plan.chance import counted
from bench.plan.plan import Plan, base_trial
from bench.plan.plan import asked as specs_of
from bench.plan.request import Request
from bench.search.optuna_study import count_tried
from bench.search.run import defaults, requested, restricted, storage_of, study_name, subjects
from bench.search.settings import SearchSettings
from bench.search.space import Space
from bench.search.subject import Subject
from bench.store.run_folder import Store
from bench.values.trial import Scalar


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is left of the search of one subject: ``tried`` of ``trials`` configurations have ended or begun."""

    subject: Subject
    space: Space
    trials: int
    tried: int

    @property
    def left(self) -> int:
        """How many configurations are still to be tried."""
        return max(0, self.trials - self.tried)

    @property
    def trainings(self) -> int:
        """How many trainings are left at most, without those of parents."""
        return self.left * self.subject.trains * len(self.subject.request.seeds)

    @property
    def first(self) -> Plan:
        """The plan of the first configuration, which is the default."""
        return self.subject.plan({})

    @property
    def another(self) -> Plan:
        """The plan of a configuration that differs from the first one in every hyperparameter; nothing of it is known.

        What both plans have, such as the parent of an edit, is done once for all configurations.
        """
        first = defaults(self.subject.request, self.subject.varied)
        spans = self.space.searched.items()
        other = {name: _differing(span.choices or (span.low, span.high), first.get(name)) for name, span in spans}
        plan = self.subject.plan(other)
        return replace(plan, records={}, kept=frozenset(), learnt=frozenset())


def _differing(values: tuple[Scalar | None, ...], first: Scalar | None) -> Scalar:
    """Return one of the values that differs from the first configuration's."""
    found = next((value for value in values if value != first), values[0])
    assert found is not None
    return found


def outlooks(
    wanted: Request | ChainRequest, found: Mapping[str, Space], setting: SearchSettings, store: Store
) -> tuple[Outlook, ...]:
    """Return what is left of each search. If zero-shot is not scored yet, every source counts."""
    request = requested(wanted)
    asked = specs_of(request, ())
    names = counted(request, store.read(base_trial(request)), asked).names
    result = []
    for subject in subjects(restricted(wanted, names), store):
        space = found[subject.varied]
        tried = count_tried(study_name(subject, space, setting), storage_of(setting, store), space.searched)
        result.append(Outlook(subject, space, setting.trials, tried))
    return tuple(result)
