"""Find the examples whose score changed, for a page's browser: against the base model, or since they were learnt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.leaderboard.from_store import LENIENT
from bench.page.rows import PageRows
from bench.plan.plan import Plan
from bench.store.run_folder import Store
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial

CHANGED = 0.5  # of a score from 0 to 1; a caption's CIDEr has no such threshold
CAPTIONS = "cider"
CAPTION_LOSSES = 50  # the largest losses of CIDEr of a trial
LISTED = 20_000  # changes that a task's list has at most, shared equally by its trials
LEAST = 50  # changes of each trial that a list has, however many trials there are
_NAMED = 3  # trials that a remark names

Example = Mapping[str, Any]  # a line of a stored score


@dataclass(frozen=True, slots=True)
class Compared:
    """The replies of a trial to a task, and those to the same examples ``before``, with the task's main metric.

    ``row`` is the row's id on the page, and ``method`` its method. ``place`` is the target, or the order of a sequence.
    """

    metric: str
    row: str
    method: str
    seed: int
    place: str
    before: Sequence[Example]
    after: Sequence[Example]

    @property
    def trial(self) -> tuple[str, int, str]:
        """What distinguishes the trial from the others of a task."""
        return (self.row, self.seed, self.place)


@dataclass(frozen=True, slots=True)
class Change:
    """How a trial's reply to an example changed: scores are those of the main metric; ``kind`` says what changed."""

    row: str
    seed: int
    place: str
    before: Example
    base: float
    reply: str
    score: float
    kind: str

    @property
    def trial(self) -> tuple[str, int, str]:
        """The trial, as ``Compared`` names it."""
        return (self.row, self.seed, self.place)


@dataclass(slots=True)
class ChangedExample:
    """An example that some trial answers better or worse than before, with the changes that the list has.

    ``lost_by`` is the number of methods that have lost the example in any row, also in rows whose change is not in the
    list. A control counts as the method that it is made from.
    """

    example: Example
    changes: list[Change] = field(default_factory=list)
    lost_by: int = 0


@dataclass(slots=True)
class ChangedTask:
    """The examples of a task that changed, those that most methods lost first, and how many changed and were compared.

    ``same_before`` says that all trials are compared with the same replies. Of each trial the list has the ``limit``
    largest changes; ``cut`` has the number of all changes of each trial that has more. So ``examples`` may be fewer
    than ``changed``.
    """

    task: str
    metric: str
    compared: int
    changed: int
    examples: list[ChangedExample]
    same_before: bool = True
    limit: int = LISTED
    cut: Mapping[tuple[str, int, str], int] = field(default_factory=dict)

    @property
    def counts(self) -> str:
        """How many examples changed, in words, and how many of them are in the list if it has a limit."""
        if self.cut:
            return f"{len(self.examples)} listed of {self.changed} changed, of {self.compared}"
        return f"{self.changed} of {self.compared} changed"

    @property
    def longest(self) -> int:
        """The most changes that the list has of one trial."""
        return max(Counter(change.trial for item in self.examples for change in item.changes).values(), default=0)

    def shortened(self, limit: int) -> ChangedTask:
        """Return the task with at most ``limit`` changes of each trial in its list."""
        examples = [replace(item) for item in self.examples]
        cut = {**_cut(examples, limit), **self.cut}
        return replace(self, examples=[item for item in examples if item.changes], limit=limit, cut=cut)

    def remark(self, rows: PageRows) -> str:
        """Return the sentence on what the list leaves out, or nothing."""
        if not self.cut:
            return ""
        if not self.examples:
            return f"The changes of {self.task} are not listed, to keep the page small. All are in scores.parquet."
        names = {row.id: f"{row.name} r{row.rank}" for row in rows.by_key.values()}
        worst = sorted(self.cut.items(), key=lambda item: -item[1])
        named = [f"{names[row]} seed {seed}, {place}: {count}" for (row, seed, place), count in worst[:_NAMED]]
        more = f"; and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
        return (
            f"Of {self.task} this list shows the {self.limit} largest changes of each trial, and "
            f"{len(worst)} {'trial has' if len(worst) == 1 else 'trials have'} more ({'; '.join(named)}{more}). "
            "All are in scores.parquet."
        )


def changed_tasks(made: Plan, store: Store, rows: PageRows) -> list[ChangedTask]:
    """Return what changed for each task that the base model and the cells of a plan were scored on."""
    found = []
    for item in made.asked[None]:
        before = replies(store, made.zero_shot, item)
        if before is not None:
            found.append(changed_task(item.task, _cells(made, store, rows, item, before[1])))
    return [task for task in found if task.compared]


def _cells(made: Plan, store: Store, rows: PageRows, item: ScoreSpec, before: Sequence[Example]) -> Iterator[Compared]:
    """Yield the replies of every cell to a task next to those of the base model."""
    for cell in made.cells:
        target = cell.trial.target
        if target is not None and (after := replies(store, cell.trial, item)) is not None:
            yield Compared(after[0], rows.id(cell.key), cell.key.method, cell.trial.seed, target, before, after[1])


def replies(store: Store, trial: Trial, item: ScoreSpec) -> tuple[str, Sequence[Example]] | None:
    """Return the task's main metric and a trial's stored replies, or None if it was not scored."""
    record = store.read(trial)
    score = None if record is None else record.scores.get(item.key)
    return None if score is None else (score.primary, store.scores_of(trial).read(score))


def changed_task(task: str, pairs: Iterable[Compared], *, same_before: bool = True) -> ChangedTask:
    """Return what changed for a task in all trials that were compared."""
    known: dict[str, ChangedExample] = {}
    trials, metric, methods = 0, "", dict[str, str]()
    for each in pairs:
        trials, metric = trials + 1, each.metric
        methods[each.row] = each.method
        before = {row["id"]: row for row in each.before}
        for row in each.before:
            known.setdefault(row["id"], ChangedExample(row))
        for old, row, kind in _changes(before, [row for row in each.after if row["id"] in before], metric):
            scores = (old["scores"][metric], row["scores"][metric])
            change = Change(*each.trial, old, scores[0], row["prediction"], scores[1], kind)
            known[row["id"]].changes.append(change)
    limit = max(LEAST, LISTED // max(trials, 1))
    changed = [example for example in known.values() if example.changes]
    for example in changed:  # counted before the limit takes changes away
        example.lost_by = len({methods[change.row] for change in example.changes if change.kind != "gained"})
    cut = _cut(changed, limit)
    listed = sorted((example for example in changed if example.changes), key=lambda example: -example.lost_by)
    return ChangedTask(task, metric, len(known), len(changed), listed, same_before, limit, cut)


def _changes(
    before: Mapping[str, Example], after: Sequence[Example], metric: str
) -> Iterator[tuple[Example, Example, str]]:
    """Yield the earlier and the later line of each example that changed, and the kind of the change."""
    losses = _largest_losses(before, after, metric) if metric == CAPTIONS else None
    for row in after:
        old = before[row["id"]]
        gain = row["scores"][metric] - old["scores"][metric]
        if losses is not None:
            if row["id"] in losses:
                yield old, row, "lost"
        elif gain >= CHANGED:
            yield old, row, "gained"
        elif -gain >= CHANGED:
            yield old, row, _kind(row)


def _largest_losses(before: Mapping[str, Example], after: Sequence[Example], metric: str) -> frozenset[str]:
    losses = {row["id"]: before[row["id"]]["scores"][metric] - row["scores"][metric] for row in after}
    worst = sorted((name for name, loss in losses.items() if loss > 0), key=lambda name: -losses[name])
    return frozenset(worst[:CAPTION_LOSSES])


def _kind(row: Example) -> str:
    """Return what a trial lost: the form, if the reply still contains an accepted answer, or else the knowledge."""
    if LENIENT not in row["scores"]:
        return "lost"
    return "form" if row["scores"][LENIENT] >= CHANGED else "knowledge"


def _cut(examples: Sequence[ChangedExample], limit: int) -> dict[tuple[str, int, str], int]:
    """Keep the ``limit`` largest changes of each trial, and return how many the others had.

    Of equal changes, those of examples that most methods lost are kept, so that the rows of a list share examples.
    """
    by_trial: dict[tuple[str, int, str], list[tuple[float, int, Change]]] = {}
    for example in examples:
        for change in example.changes:
            by_trial.setdefault(change.trial, []).append((-abs(change.score - change.base), -example.lost_by, change))
    over = {trial: found for trial, found in by_trial.items() if len(found) > limit}
    if over:
        cut = {id(item[2]) for found in over.values() for item in sorted(found, key=lambda item: item[:2])[limit:]}
        for example in examples:
            example.changes = [change for change in example.changes if id(change) not in cut]
    return {trial: len(found) for trial, found in over.items()}


def as_json(task: ChangedTask, pictures: Mapping[str, str]) -> dict[str, Any]:
    """Return a task's changes as JSON; replies are stored once. ``pictures`` has a file by the id of an example.

    If the trials are compared with different replies, each change also has the number and the score of its own.
    """
    found: dict[str, int] = {}
    examples = [_example_json(item, task.same_before, pictures, found) for item in task.examples]
    return {
        "task": task.task,
        "metric": task.metric,
        "compared": task.compared,
        "limited": bool(task.cut),
        "replies": list(found),
        "examples": examples,
    }


def _example_json(
    item: ChangedExample, same_before: bool, pictures: Mapping[str, str], found: dict[str, int]
) -> dict[str, Any]:
    """Return an example as JSON, and add its replies to those ``found``."""

    def number(reply: str) -> int:
        return found.setdefault(reply, len(found))

    row, changes = item.example, []
    for each in item.changes:
        line = [each.row, each.seed, each.place, number(each.reply), round(each.score, 4), each.kind]
        changes.append(line if same_before else [*line, number(each.before["prediction"]), round(each.base, 4)])
    first = item.changes[0]
    before = {"before": row["prediction"], "base": round(first.base, 4)} if same_before else {}
    return {
        "id": row["id"],
        "question": row["question"],
        "answers": list(dict.fromkeys(row["answers"])),
        **before,
        "picture": pictures.get(row["id"], ""),
        "lost": item.lost_by,
        "changes": changes,
    }
