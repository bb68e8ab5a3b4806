"""Draw Figure 5: the density of BA in every trained layer, compared with Theorems 3.1 and 3.2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench.leaderboard import plots
from bench.model.families import block_of
from bench.model.family import ROLES, role_of
from bench.papers import points
from bench.papers.lorasculpt.theory import Case, deviation_at, exact_deviation_at, expected_density
from bench.papers.study import Drawing, Study, StudyResult, wrapped
from bench.plan.plan import Cell
from bench.store.run_folder import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame
    from torch import Tensor

    from bench.model.change import Change

_PROBABILITY = 0.05
_NAMED = 10  # layers that the terminal names; the CSV names all
_LOOK = plots.MARKS[1]
_ROOMY = 60  # layers; if there are more, the marks are smaller
_BANDS = (
    ("deviation", "#dbe7f0", "band of Theorem 3.2"),
    ("deviation_exact", "#a9c6dc", "band for exactly k entries"),
)


@dataclass(frozen=True, slots=True)
class LayerDensity:
    """The share of nonzero entries in one layer's A, B and product B A [rows, columns].

    ``kept`` is the density in the method's settings.
    """

    layer: str
    block: int
    role: str
    rows: int
    columns: int
    rank: int
    kept: float
    density_a: float
    density_b: float
    density: float

    @property
    def expected(self) -> float:
        """The density 1 - (1 - s_A s_B)^r of Theorem 3.1, with the measured shares."""
        return expected_density(self.density_a, self.density_b, self.rank)

    @property
    def deviation(self) -> float:
        """The distance from ``expected`` that the density exceeds with probability 0.05 at most.

        The distance is that of Theorem 3.2.
        """
        return deviation_at(_PROBABILITY, self.rows, self.columns, self.rank)

    @property
    def deviation_exact(self) -> float:
        """The same distance for masks of exactly k entries, by our bound (bench.papers.lorasculpt.theory)."""
        return exact_deviation_at(_PROBABILITY, Case(self.rows, self.columns, self.rank, self.kept, "top-k"))

    @property
    def line(self) -> dict[str, object]:
        """The layer as a line of the CSV."""
        off = abs(self.density - self.expected)
        bounds = {"deviation": self.deviation, "deviation_exact": self.deviation_exact}
        outside = {"outside": off > self.deviation, "outside_exact": off > self.deviation_exact}
        silent = {"silent": self.expected <= self.deviation and self.expected + self.deviation >= 1}
        return {**asdict(self), "expected": self.expected, **bounds, **outside, **silent}


def of_change(change: Change, kept: float) -> Iterator[LayerDensity]:
    """Yield the density of every adapted layer of the decoder, in the change's order."""
    from bench.model.change import LowRank

    for name, delta in change.items():
        block = block_of(name)
        if not isinstance(delta, LowRank) or block is None:
            continue
        product = delta.b.float() @ delta.a.float()
        yield LayerDensity(
            layer=name.removesuffix(".weight"),
            block=block,
            role=role_of(name),
            rows=len(delta.b),
            columns=delta.a.shape[1],
            rank=len(delta.a),
            kept=kept,
            density_a=_share(delta.a),
            density_b=_share(delta.b),
            density=_share(product),
        )


def _share(tensor: Tensor) -> float:
    """Return the share of entries that are not zero."""
    return int(tensor.count_nonzero()) / tensor.numel()


def frame(cells: Sequence[Cell], store: Store) -> DataFrame:
    """Return a line per layer of every trained trial."""
    import pandas as pd

    lines = []
    for cell in cells:
        trial = cell.trial
        if store.change_of(trial).facts() is not None:
            place = {"task": trial.target, "seed": trial.seed}
            found = of_change(store.change_of(trial).read(), float(trial.hyper["density"] or 0))
            lines += [{**place, **layer.line} for layer in found]
    return pd.DataFrame(lines)


def draw(found: StudyResult) -> Drawing | None:
    """Draw every layer's density and the theorems' predictions, with a panel per target and rank."""
    layers = frame(found.plan.cells, found.store)
    if layers.empty:
        return None
    targets, ranks = found.request.targets, found.request.ranks
    figure = plots.figure(1 + 3.1 * len(ranks), 0.9 + 2.9 * len(targets))
    panels = figure.subplots(len(targets), len(ranks), squeeze=False, sharex=True, sharey=True)
    for row, target in zip(panels, targets, strict=True):
        for axes, rank in zip(row, ranks, strict=True):
            axes.set_title(f"rank {rank}, target {target}")
            part = layers[(layers["task"] == target) & (layers["rank"] == rank)]
            if not part.empty:
                _panel(axes, part)
        row[0].set_ylabel("density of BA")
    for axes in panels[-1]:
        axes.set_xlabel("layer, by role; decoder blocks from left to right")
    handles, labels = max((axes.get_legend_handles_labels() for axes in panels.flat), key=lambda found: len(found[0]))
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    lines = [part for line in (*_lines(layers), *points.troubles(found)) for part in wrapped(line)]
    return Drawing(figure, layers, tuple(lines), _caption(layers))


def _panel(axes: Axes, part: DataFrame) -> None:
    """Draw the layers of a rank and target from left to right, by role and block, with all seeds."""
    order = part.assign(place=part["role"].map(ROLES.index)).sort_values(["place", "block"], kind="stable")
    one = order[order["seed"] == order["seed"].min()].reset_index(drop=True)
    at = {name: place for place, name in enumerate(one["layer"])}
    for name, color, label in _BANDS:
        low, high = (one["expected"] - one[name]).clip(lower=0), (one["expected"] + one[name]).clip(upper=1)
        axes.fill_between(one.index, low, high, step="mid", color=color, linewidth=0, label=label)
    axes.step(one.index, one["expected"], where="mid", color=plots.INK, linewidth=1, label="expected (Theorem 3.1)")
    look = _LOOK.scatter if len(one) <= _ROOMY else {**_LOOK.scatter, "s": 9, "linewidths": 0.2}
    axes.scatter(part["layer"].map(at), part["density"], label="a layer", zorder=3, **look)
    roles = list(dict.fromkeys(one["role"]))
    ends = [int((one["role"] == role).sum()) for role in roles]
    starts = [sum(ends[:place]) for place in range(len(ends))]
    axes.set_xticks(
        [start + (end - 1) / 2 for start, end in zip(starts, ends, strict=True)],
        [role.removesuffix("_proj") for role in roles],
    )
    axes.grid(visible=False, axis="x")
    axes.vlines([start - 0.5 for start in starts[1:]], 0, 1, color="white", linewidth=1)
    axes.set_xlim(-1, len(one))
    axes.set_ylim(0, 1)


def _lines(layers: DataFrame) -> Iterator[str]:
    """Yield a line per trial, and a line for each layer that is outside a band."""
    for (task, rank, seed), part in layers.groupby(["task", "rank", "seed"], sort=False):
        density, expected = part["density"], part["expected"]
        yield (
            f"{task} rank {rank} seed {seed}: {len(part)} layers. The mean density of BA is {density.mean():.3f} "
            f"({density.min():.3f} to {density.max():.3f}); Theorem 3.1 expects {expected.mean():.3f}. Layers outside "
            f"the band of Theorem 3.2: {part['outside'].sum()}. Layers outside the band for exactly k entries: "
            f"{part['outside_exact'].sum()}."
        )
        if part["silent"].any():
            yield f"- for {part['silent'].sum()} of these layers, Theorem 3.2 rules out no density at all"
        outside = part[part["outside"] | part["outside_exact"]]
        for _, line in outside.head(_NAMED).iterrows():
            band = "of Theorem 3.2" if line["outside"] else "for exactly k entries"
            yield f"- outside the band {band}: {line['layer']}, {line['density']:.3f}, expected {line['expected']:.3f}"
        if len(outside) > _NAMED:
            yield f"- {len(outside) - _NAMED} more are in the CSV"


def _caption(layers: DataFrame) -> str:
    return (
        "Points: the share of nonzero entries of B A in every adapted decoder layer of a trained LoRASculpt. Line: "
        "1 - (1 - s_A s_B)^r with the shares s_A, s_B that A and B keep (Theorem 3.1). Bands: the density leaves a "
        f"band with a probability of at most {_PROBABILITY:g}, by Theorem 3.2 and by our bound for masks of exactly k "
        "entries, which is not the paper's. The theorems assume that entries are kept at random. "
        "LoRASculpt keeps the largest trained entries, so a layer outside a band does not contradict the theorems. Of "
        f"{len(layers)} layers, {layers['outside'].sum()} are outside the band of Theorem 3.2 and "
        f"{layers['outside_exact'].sum()} are outside the band for exactly k entries."
    )


FIGURE = Study(
    name="fig5",
    title="Figure 5: density of BA in every layer, against the bounds of Theorems 3.1 and 3.2",
    methods=("lorasculpt",),
    ranks="16,32,64",
    targets="first",
    cells_at=lambda point: [point.cell("lorasculpt")],
    draw=draw,
)
