"""Draw Figure 4: LoRASculpt over omega, alpha and density, each around its default."""

from __future__ import annotations

from collections.abc import Iterator

from bench.leaderboard import plots
from bench.papers import points
from bench.papers.study import Drawing, GridPoint, Study, StudyResult
from bench.plan.plan import Cell
from bench.plugins.hyperparameters import values
from bench.plugins.registry import Registry

_SWEEPS = {
    "omega": (0.25, 0.5, 1.0, 2.0, 4.0),
    "alpha": (1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    "density": (0.02, 0.05, 0.1, 0.2, 0.5),
}
_LOOKS = {"Source": plots.MARKS[0], "Target": plots.MARKS[1], "Avg": plots.MARKS[2]}


def _default(field: str, registry: Registry) -> object:
    return values(registry.method("lorasculpt")())[field]


def _variant(field: str, value: float, registry: Registry) -> str:
    return "" if value == _default(field, registry) else f"{field}={points.short(value)}"


def cells(point: GridPoint) -> Iterator[Cell]:
    """Yield LoRASculpt at its defaults, and with every other value of one field at a time."""
    yield point.cell("lorasculpt")
    for field, swept in _SWEEPS.items():
        for value in swept:
            if variant := _variant(field, value, point.request.registry):
                yield point.cell("lorasculpt", variant, **{field: value})


def draw(found: StudyResult) -> Drawing | None:
    """Draw Source, Target and Avg over each field, with a row of panels per target."""
    targets, registry = found.request.targets, found.request.registry
    spots = [
        points.Spot("lorasculpt", _variant(field, value, registry), {"field": field, "value": value})
        for field, swept in _SWEEPS.items()
        for value in swept
    ]
    frame = points.frame(found, dict.fromkeys(targets, spots))
    if points.empty(frame):
        return None
    figure = plots.figure(9.6, 0.8 + 2.6 * len(targets))
    panels = figure.subplots(len(targets), len(_SWEEPS), squeeze=False, sharey="row", sharex="col")
    for row, target in zip(panels, targets, strict=True):
        for axes, (field, swept) in zip(row, _SWEEPS.items(), strict=True):
            axes.axvline(_default(field, registry), color=plots.FAINT, linewidth=5, alpha=0.25, zorder=0)
            part = frame[(frame["task"] == target) & (frame["field"] == field)]
            for label, look in _LOOKS.items():
                points.zero_shot(axes, frame, target, label.lower(), look.color)
                points.draw(axes, part, "value", label.lower(), look, label)
            points.log_axis(axes, swept)
            axes.set_title(points.title(found, target) if axes is row[0] else "")
        row[0].set_ylabel(points.SCORE_AXIS)
    for axes, field in zip(panels[-1], _SWEEPS, strict=True):
        axes.set_xlabel(field)
    points.legend(figure, _LOOKS, frame)
    lines = [*points.lines(frame, ["field", "value"]), *points.troubles(found)]
    return Drawing(figure, frame, tuple(lines), _caption(found))


def _caption(found: StudyResult) -> str:
    (rank,) = found.request.ranks
    return (
        f"LoRASculpt of rank {rank}. Each panel varies omega (Eq. 7), alpha (Eq. 9) or density (the paper's s), and "
        f"keeps the other two at their defaults. The grey bars mark the defaults. Dashed: the base model. "
        f"{found.board.covered}"
    )


FIGURE = Study(
    name="fig4",
    title="Figure 4: LoRASculpt over omega, alpha and density, each around its default",
    methods=("lorasculpt",),
    ranks="32",
    targets="first",
    one_rank=True,
    cells_at=cells,
    draw=draw,
)
