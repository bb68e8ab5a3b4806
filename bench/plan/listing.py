"""Format a plan as lines of text: its summary, and every trial with its state."""

from __future__ import annotations

from collections.abc import Iterator

from bench.plan.plan import Plan


def summary(made: Plan) -> str:
    """Return a summary of a plan in one line."""
    trainings = made.trainings
    cached = sum(made.done(work) for work in trainings)
    ready = sum(made.done(work) for work in made.works)
    return (
        f"{len(made.cells)} cells, {len(trainings)} trainings; cached: {ready} of {len(made.works)} trials, "
        f"{cached} of {len(trainings)} trainings"
        f"{'; more rows follow from their results' if made.unsettled else ''}"
    )


def listing(made: Plan) -> Iterator[str]:
    """Yield the lines of a plan: its summary, then every trial with its state."""
    yield summary(made)
    names = {
        cell.trial.id: f" ({cell.key.name})" for cell in reversed(made.cells) if cell.key.name != cell.trial.method
    }
    for work in made.works:
        scores = f"{len(work.asked)} scores" if work.asked else "no scores of its own"
        parent = f", edits {work.trial.parent.label}" if work.trial.parent else ""
        state = "cached" if made.done(work) else "to do"
        yield f"  {state}  {work.trial.id}  {work.trial.label}{names.get(work.trial.id, '')}: {scores}{parent}"
