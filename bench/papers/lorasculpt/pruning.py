"""Draw Figure 1: plain LoRA pruned after the training, at several densities."""

from __future__ import annotations

from collections.abc import Iterator

from bench.leaderboard import plots
from bench.papers import points
from bench.papers.study import Drawing, GridPoint, Study, StudyResult
from bench.plan.plan import Cell, edited

_DENSITIES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
_LOOKS = {"Source": plots.MARKS[0], "Target": plots.MARKS[1]}


def cells(point: GridPoint) -> Iterator[Cell]:
    """Yield plain LoRA, and edits of the same training that prune it to every density."""
    registry, whole = point.request.registry, point.cell("lora")
    yield whole
    for density in _DENSITIES[1:]:
        pruned = edited(registry, whole.trial, "magnitude", density=density)
        yield Cell.of(registry, pruned, _variant(density), method="lora")


def _variant(density: float) -> str:
    return "" if density == 1 else f"density={points.short(density)}"


def draw(found: StudyResult) -> Drawing | None:
    """Draw Source and Target over the density, with a panel per target."""
    targets = found.request.targets
    spots = [points.Spot("lora", _variant(density), {"density": density}) for density in _DENSITIES]
    frame = points.frame(found, dict.fromkeys(targets, spots))
    if points.empty(frame):
        return None
    figure = plots.figure(1 + 3.6 * len(targets), 3.6)
    panels = figure.subplots(1, len(targets), squeeze=False)[0]
    for axes, target in zip(panels, targets, strict=True):
        part = frame[(frame["task"] == target) & frame["density"].notna()]
        for label, look in _LOOKS.items():
            points.zero_shot(axes, frame, target, label.lower(), look.color)
            points.draw(axes, part, "density", label.lower(), look, label)
        points.log_axis(axes, _DENSITIES)
        axes.set_xlabel("density of the LoRA change (share kept)")
        axes.set_title(points.title(found, target))
    panels[0].set_ylabel(points.SCORE_AXIS)
    points.legend(figure, _LOOKS, frame)
    lines = [*points.lines(frame, ["density"]), *points.troubles(found)]
    return Drawing(figure, frame, tuple(lines), _caption(found))


def _caption(found: StudyResult) -> str:
    (rank,) = found.request.ranks
    left = {"full": "The connector is tuned in full and keeps its change", "lora": "The connector's LoRA is pruned too"}
    connector = left.get(found.request.recipe.connector, "The connector is frozen")
    return (
        f"Plain LoRA of rank {rank}, trained once and pruned afterwards. Of each product scale * B A, the share "
        f"`density` of the entries is kept, namely those largest in magnitude. Nothing is trained again. "
        "(The paper does not say whether it pruned the factors or their product.) "
        f"{connector}. "
        f"Dashed: the base model. {found.board.covered}"
    )


FIGURE = Study(
    name="fig1",
    title="Figure 1: plain LoRA pruned by magnitude after the training, over densities",
    methods=("lora", "magnitude"),
    ranks="32",
    one_rank=True,
    cells_at=cells,
    draw=draw,
)
