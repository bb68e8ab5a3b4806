"""Find the rows that differ between our run and a published one in more than chance.

These are rows of other environments, recipes, hyperparameters, code or training examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.environment import AND
from bench.leaderboard.environments import TRAINING, Facts, against, described, facts, merged
from bench.leaderboard.from_store import environments_of
from bench.leaderboard.tables import Leaderboard, Row
from bench.papers.comparable import FREE
from bench.papers.other_run import OtherRun
from bench.plan.plan import Plan
from bench.plan.row_key import RowKey
from bench.values.recipe import OMITTED
from bench.values.trial import Trial

_THEIRS = "theirs"
_OTHER_IDS = "its trials have other hyperparameters, code or training examples"


def differences(other: OtherRun, ours: Leaderboard, plan: Plan) -> dict[tuple[str, RowKey], str]:
    """Return in what rows differ from those of the other run, by target and row, if they do.

    A pack has all environments of its run together, so all of them count for each of its rows. If the recipe is the
    same, the ids of trials tell whether anything else that decides what is learnt differs.
    """
    theirs, recipe = _facts(other), _recipe(other, plan)
    # a micro-batch is in ids, and changes an update only by rounding and by the masks of dropout
    alike = other.manifest["recipe"].get("micro_batch_size") == plan.request.recipe.micro_batch_size
    found: dict[tuple[str, RowKey], str] = {}
    for table in ours.tables:
        stages = {TRAINING, *ours.sources, table.target}
        for row in table.rows:
            trials = _trials(plan, table.target, row)
            mismatches = against({0: _known(plan, trials)}, [(_THEIRS, {0: theirs})], stages)
            learnt = recipe if row.rank is not None else ""
            named = _OTHER_IDS if (alike or row.rank is None) and not learnt and _renamed(other, trials) else ""
            if text := "; ".join(filter(None, (described(mismatches), learnt, named))):
                found[table.target, row.key] = text
    return found


def _facts(other: OtherRun) -> Facts:
    """Return the environment fields of the other run that matter for comparisons."""
    scored = {task: _joined(found.get("environment", {})) for task, found in other.manifest["scored"].items()}
    return facts([_joined(other.manifest["environment"])], scored)


def _joined(environment: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: AND.join(values) for name, values in environment.items()}


def _known(plan: Plan, trials: Sequence[Trial]) -> Facts:
    """Return the environment fields of some trials of ours."""
    read = plan.records.get
    return merged(environments_of(each, lambda trial: read(trial.id), plan.asked[each.target]) for each in trials)


def _recipe(other: OtherRun, plan: Plan) -> str:
    """Return the fields in which the recipes differ, with both values. The connector is a part of a row's key."""
    known = other.manifest["recipe"]
    mine, theirs = {**OMITTED, **plan.request.recipe.to_json()}, {**OMITTED, **known} if known else {}
    differ = [name for name in theirs if name in mine and name not in FREE and mine[name] != theirs[name]]
    return ", ".join(f"recipe.{name} {mine[name]} ({_THEIRS}: {theirs[name]})" for name in differ)


def _trials(plan: Plan, target: str, row: Row) -> list[Trial]:
    """Return the trials of a row, or those of the method's own row if nothing was run for the row, as for a gate."""
    if row.rank is None:
        return [plan.zero_shot]
    here = [cell for cell in plan.cells if cell.trial.target == target]
    own = [cell.trial for cell in here if cell.key == row.key]
    return own or [cell.trial for cell in here if cell.key == row.key.sibling(row.method)]


def _renamed(other: OtherRun, trials: Sequence[Trial]) -> bool:
    """Return whether a trial has another id in the other run than here."""
    theirs = other.manifest["trials"]
    return any(each.id not in theirs and each.label in theirs.values() for each in trials)
