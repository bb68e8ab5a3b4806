"""Find the examples whose score changed against the untouched base model, for the page's browser of forgetting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.leaderboard.from_store import LENIENT
from bench.page.rows import PageRows
from bench.plan.plan import Plan
from bench.spec import Record, ScoreSpec
from bench.store.run_folder import Store

CHANGED = 0.5  # of a score from 0 to 1; a caption's CIDEr has no such threshold
CAPTIONS = "cider"
CAPTION_LOSSES = 50  # the largest losses of CIDEr of a trial

Example = Mapping[str, Any]  # a line of a stored score


@dataclass(frozen=True, slots=True)
class Change:
    """How a trial's reply to an example changed: scores are those of the main metric; ``kind`` says what changed."""

    row: str
    seed: int
    target: str
    reply: str
    score: float
    kind: str


@dataclass(slots=True)
class ChangedExample:
    """An example that some trial answers better or worse than the base model, with the changes of all trials."""

    example: Example
    base: float
    changes: list[Change] = field(default_factory=list)

    @property
    def lost_by(self) -> int:
        """How many rows have lost the example."""
        return len({change.row for change in self.changes if change.kind != "gained"})


@dataclass(slots=True)
class ChangedTask:
    """The examples of a task that changed, those that most rows lost first, and how many were compared."""

    task: str
    metric: str
    compared: int
    examples: list[ChangedExample]


def changed_tasks(made: Plan, store: Store, rows: PageRows) -> list[ChangedTask]:
    """Return what changed for each task that the base model and the cells of a plan were scored on."""
    zero_shot = store.read(made.zero_shot)
    if zero_shot is None:
        return []
    found = []
    for item in made.asked[None]:
        score = zero_shot.scores.get(item.key)
        if score is not None:
            before = store.scores_of(made.zero_shot).read(score)
            known = {row["id"]: ChangedExample(row, row["scores"][score.primary]) for row in before}
            _compare(made, store, rows, item, known)
            changed = [example for example in known.values() if example.changes]
            changed.sort(key=lambda example: -example.lost_by)
            found.append(ChangedTask(item.task, score.primary, len(known), changed))
    return found


def _compare(made: Plan, store: Store, rows: PageRows, item: ScoreSpec, known: Mapping[str, ChangedExample]) -> None:
    """Add the changes of every cell to the examples of a task."""
    for cell in made.cells:
        record = store.read(cell.trial)
        if record is None or cell.trial.target is None or item.key not in record.scores:
            continue
        for example, reply, score, kind in _changes(store, record, item, known):
            example.changes.append(Change(rows.id(cell.key), cell.trial.seed, cell.trial.target, reply, score, kind))


def _changes(
    store: Store, record: Record, item: ScoreSpec, known: Mapping[str, ChangedExample]
) -> Iterator[tuple[ChangedExample, str, float, str]]:
    """Yield the examples that a trial answers better or worse, with its reply, its score and the kind of change."""
    score = record.scores[item.key]
    after = [row for row in store.scores_of(record.trial).read(score) if row["id"] in known]
    losses = _largest_losses(after, known, score.primary) if score.primary == CAPTIONS else None
    for row in after:
        example, now = known[row["id"]], row["scores"][score.primary]
        if losses is not None:
            if row["id"] in losses:
                yield example, row["prediction"], now, "lost"
        elif now - example.base >= CHANGED:
            yield example, row["prediction"], now, "gained"
        elif example.base - now >= CHANGED:
            yield example, row["prediction"], now, _kind(row)


def _largest_losses(after: Sequence[Example], known: Mapping[str, ChangedExample], metric: str) -> frozenset[str]:
    losses = {row["id"]: known[row["id"]].base - row["scores"][metric] for row in after}
    worst = sorted((name for name, loss in losses.items() if loss > 0), key=lambda name: -losses[name])
    return frozenset(worst[:CAPTION_LOSSES])


def _kind(row: Example) -> str:
    """Return what a trial lost: the form, if the reply still contains an accepted answer, or else the knowledge."""
    if LENIENT not in row["scores"]:
        return "lost"
    return "form" if row["scores"][LENIENT] >= CHANGED else "knowledge"


def as_json(task: ChangedTask, pictures: Mapping[str, str]) -> dict[str, Any]:
    """Return a task's changes as JSON; replies are stored once. ``pictures`` has a file by the id of an example."""
    replies: dict[str, int] = {}
    examples = []
    for item in task.examples:
        row = item.example
        examples.append(
            {
                "id": row["id"],
                "question": row["question"],
                "answers": list(dict.fromkeys(row["answers"])),
                "before": row["prediction"],
                "base": round(item.base, 4),
                "picture": pictures.get(row["id"], ""),
                "lost": item.lost_by,
                "changes": [
                    [
                        each.row,
                        each.seed,
                        each.target,
                        replies.setdefault(each.reply, len(replies)),
                        round(each.score, 4),
                        each.kind,
                    ]
                    for each in item.changes
                ],
            }
        )
    return {
        "task": task.task,
        "metric": task.metric,
        "compared": task.compared,
        "replies": list(replies),
        "examples": examples,
    }
