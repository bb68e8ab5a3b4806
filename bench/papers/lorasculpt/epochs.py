"""Draw Figure 3: Source and Target after each epoch of the training."""

from __future__ import annotations

from collections.abc import Iterator

from bench.leaderboard import plots
from bench.papers import points
from bench.papers.study import Drawing, GridPoint, Study, StudyResult
from bench.plan.plan import Cell, edited
from bench.plan.request import Request
from bench.plugins.registry import REWIND
from bench.values.trial import Trial

_METHODS = ("lora", "model_tailor", "lorasculpt")
_LEAST = 3  # points
_LOOKS = dict(zip(_METHODS, plots.MARKS, strict=False))


def steps(updates: int, examples: int, batch_size: int) -> tuple[int, ...]:
    """Return the updates nearest to the end of each epoch, and the last update.

    A training of fewer than three epochs is divided into thirds instead.

    >>> steps(1875, 10_000, 16), steps(150, 2_400, 32)
    ((625, 1250, 1875), (50, 100, 150))
    """
    epoch = examples / batch_size
    epochs = int((updates + 0.5) / epoch)
    if epochs < _LEAST:
        ends = [round(updates * third / _LEAST) for third in range(1, _LEAST + 1)]
    else:
        ends = [min(updates, round(epoch * number)) for number in range(1, epochs + 1)]
    return tuple(sorted({*ends, updates} - {0}))


def _steps(request: Request, target: str) -> tuple[int, ...]:
    examples = len(request.tasks.load(target).examples("train"))
    return steps(request.recipe.updates, examples, request.recipe.batch_size)


def cells(point: GridPoint) -> Iterator[Cell]:
    """Yield each method's own row, and rows at earlier steps from snapshots of the same training."""
    *early, _ = _steps(point.request, point.target)
    for method in _METHODS:
        for step in early:
            yield Cell.of(point.request.registry, _at(point, method, step), f"update={step}", method=method)
        yield point.cell(method)


def _at(point: GridPoint, method: str, step: int) -> Trial:
    registry = point.request.registry
    if method == "model_tailor":
        return edited(registry, point.trial("lora"), method, snapshot=step)
    return edited(registry, point.trial(method), REWIND, snapshot=step, strength=1.0)  # the unscaled snapshot


def _spots(request: Request, target: str) -> list[points.Spot]:
    ends = _steps(request, target)
    epoch = len(request.tasks.load(target).examples("train")) / request.recipe.batch_size
    return [
        points.Spot(
            method, "" if step == ends[-1] else f"update={step}", {"update": step, "epoch": round(step / epoch, 4)}
        )
        for method in _METHODS
        for step in ends
    ]


def draw(found: StudyResult) -> Drawing | None:
    """Draw Source above Target over the epochs, with a column of panels per target."""
    targets = found.request.targets
    frame = points.frame(found, {target: _spots(found.request, target) for target in targets})
    if points.empty(frame):
        return None
    frame["update"] = frame["update"].astype("Int64")
    figure = plots.figure(1 + 3.4 * len(targets), 5.6)
    panels = figure.subplots(2, len(targets), squeeze=False, sharex="col")
    for axes in panels[0, 1:]:
        axes.sharey(panels[0, 0])  # the sources are the same; the metrics of targets differ
    for column, target in enumerate(targets):
        for axes, score in zip(panels[:, column], ("source", "target"), strict=True):
            points.zero_shot(axes, frame, target, score)
            for method, look in _LOOKS.items():
                part = frame[(frame["task"] == target) & (frame["method"] == method)]
                points.draw(axes, part, "epoch", score, look, method)
        ticks = sorted(set(frame.loc[frame["task"] == target, "epoch"].dropna()))
        panels[1, column].set_xticks(ticks, [f"{tick:.2f}".rstrip("0").rstrip(".") for tick in ticks])
        panels[1, column].set_xlabel("epoch")
        panels[0, column].set_title(points.title(found, target))
    panels[0, 0].set_ylabel("Source x 100")
    panels[1, 0].set_ylabel("Target x 100")
    points.legend(figure, _LOOKS, frame)
    lines = [*points.lines(frame, ["update", "epoch"]), *points.troubles(found)]
    return Drawing(figure, frame, tuple(lines), _caption(found))


def _caption(found: StudyResult) -> str:
    request = found.request
    (rank,) = request.ranks
    ends = {target: _steps(request, target) for target in request.targets}
    listed = "; ".join(f"{target} {', '.join(map(str, at))}" for target, at in ends.items())
    return (
        f"Rank {rank}. Each curve shows snapshots of one training. Its learning rate was scheduled for all "
        f"{request.recipe.updates} updates, so an earlier point is not what a shorter training would give. The points "
        "are the updates nearest to the end of each epoch, and the last update. If a training has fewer than "
        f"{_LEAST} epochs, the points are its thirds (updates: {listed}). model_tailor edits what lora had learnt by "
        f"that update. Dashed: the base model. {found.board.covered}"
    )


FIGURE = Study(
    name="fig3",
    title="Figure 3: Source and Target after each epoch, for LoRA, Model Tailor and LoRASculpt",
    methods=(*_METHODS, REWIND),
    ranks="32",
    one_rank=True,
    cells_at=cells,
    draw=draw,
)
