"""What ``--methods all`` adds to a run of the paper's methods, and what that costs here."""

from __future__ import annotations

from functools import partial

from bench.lanes.setup import Launch
from bench.plan.plan import Plan
from bench.prepare.price.measured import measured
from bench.prepare.price.rates import here
from bench.prepare.price.work import declared, lane_count, todo, wall_seconds
from bench.sizes import readable_time
from bench.store.run_folder import Store


def addition(paper: Plan, every: Plan, store: Store, launch: Launch) -> str:
    """Return a sentence on the cells that ``every`` has and ``paper`` lacks, priced with the store's own seconds."""
    known = {job.trial.id for job in paper.jobs}
    cells = [cell for cell in every.cells if cell.trial.id not in known]
    missing = [item for item in todo(every) if item.trial.id not in known and (item.trains or item.scores)]
    trainings = [job for job in every.trainings if job.trial.id not in known]
    names = sorted({*every.request.methods} - {*paper.request.methods})
    text = f"--methods all adds {', '.join(names)}: {_count(len(cells), 'cell')}, {_count(len(trainings), 'training')}"
    if not missing:
        return f"{text}, all cached."
    left = sum(item.trains for item in missing)
    if left < len(trainings):
        text += f" ({len(trainings) - left} cached)"
    reference = every.records.get(every.zero_shot.id)
    if reference is None:
        return f"{text}."
    slowdown = partial(declared, every.request)
    rates = measured(store.records(), every.zero_shot.model, reference.environment, slowdown)
    if rates is None:
        return f"{text}."
    lanes = _lanes(launch)
    seconds = wall_seconds(missing, rates, launch.resources.workers, lanes)
    return f"{text}, about {readable_time(seconds)} with {_count(lanes, 'lane')}."


def _lanes(launch: Launch) -> int:
    """Return how many lanes a command uses; those of a cluster count as one, unless their number is given."""
    if launch.address is not None:
        return max(1, launch.lanes or 1)
    return lane_count(here(), launch.resources.workers, launch.lanes)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"
