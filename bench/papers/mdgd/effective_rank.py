"""Draw the effective rank of the image tokens' states in every decoder block: the diagnostic of the MDGD paper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.leaderboard import plots
from bench.papers import points
from bench.papers.study import Drawing, Study, StudyResult, wrapped
from bench.plugins.registry import ZERO_SHOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame
    from torch import Tensor

    from bench.trial.corpus import Corpus
    from bench.trial.runner import TrialRunner
    from bench.values.trial import Trial

_METHODS = ("lora", "mdgd")
_LOOKS = dict(zip((ZERO_SHOT, *_METHODS), (plots.Mark(plots.FAINT, "o"), *plots.MARKS[:2]), strict=True))
_EXAMPLES = 32  # of each task's validation split
_TASKS = {"target": "images of the target", "source": "images of the sources"}
_Z = 1.96


def effective_rank(states: Tensor) -> float:
    """Return exp(-sum p_i ln p_i) with p = the singular values of ``states`` [tokens, width] over their sum.

    It is 1 if all tokens lie on one line through 0, and at most the smaller side (Roy & Vetterli, EUSIPCO 2007).

    >>> import torch
    >>> round(effective_rank(torch.diag(torch.tensor([3.0, 1.0]))), 4)
    1.7548
    """
    from torch.linalg import svdvals

    values = svdvals(states.float().cpu()).double()
    shares = values[values > 0] / values.sum()
    return math.exp(-float((shares * shares.log()).sum()))


def of_corpus(corpus: Corpus, trial: Trial | None, runner: TrialRunner) -> list[list[float]]:
    """Return the effective rank of each block [blocks] for each of a split's first examples.

    ``trial`` is the trial whose change the model has, or None for the base model.
    """
    import torch

    from bench.model.change import Change
    from bench.model.states import decoder_blocks, image_positions, recorded

    change = Change({}) if trial is None else runner.store.change_of(trial).read()
    found = []
    with corpus.base.holding(change) as model, torch.no_grad(), recorded(decoder_blocks(model)) as states:
        for index in range(min(_EXAMPLES, len(corpus.examples))):
            batch = corpus.prompt_batch([index])
            model(**batch, logits_to_keep=1, use_cache=False)
            found.append([effective_rank(part) for part in states.at(image_positions(model, batch["input_ids"]))])
    return found


def frame(found: StudyResult) -> DataFrame:
    """Return a line per target, rank, seed, method, task and block: mean and standard error over the images."""
    import pandas as pd
    import torch

    from bench.model.resident import Form
    from bench.trial.runner import TrialRunner

    request, lines = found.request, list[Mapping[str, object]]()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    runner = TrialRunner(found.store, request.suite.folder, request.tasks, device)
    form = Form.evaluation(request.recipe)
    for target, rank, seed in ((t, r, s) for t in request.targets for r in request.ranks for s in request.seeds):
        cells = [cell for cell in found.plan.cells if cell.slot == (rank, target, seed)]
        trials = {cell.key.method: cell.trial for cell in cells if found.store.change_of(cell.trial).facts()}
        if not trials:
            continue
        for task in (target, *request.sources):
            corpus = runner.warm.corpus(form, task, "validation", request.recipe.template)
            for method, trial in {ZERO_SHOT: None, **trials}.items():
                ranks = of_corpus(corpus, trial, runner)
                place = {"target": target, "rank": rank, "seed": seed, "method": method, "task": task}
                lines += [
                    {**place, "block": at, **_summary(values)} for at, values in enumerate(zip(*ranks, strict=True))
                ]
    return pd.DataFrame(lines)


def draw(found: StudyResult) -> Drawing | None:
    """Draw the effective rank over the blocks: a row of panels per target, a panel per kind of image."""
    ranks = frame(found)
    if ranks.empty:
        return None
    targets = list(dict.fromkeys(ranks["target"]))
    figure = plots.figure(8, 0.9 + 2.9 * len(targets))
    panels = figure.subplots(len(targets), len(_TASKS), squeeze=False, sharex=True)
    for row, target in zip(panels, targets, strict=True):
        for axes, (kind, title) in zip(row, _TASKS.items(), strict=True):
            part = ranks[(ranks["target"] == target) & ((ranks["task"] == target) == (kind == "target"))]
            _panel(axes, part)
            axes.set_title(f"learnt {target}, {title}")
        row[0].set_ylabel("effective rank")
    for axes in panels[-1]:
        axes.set_xlabel("decoder block")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    lines = [part for line in (*_lines(ranks), *points.troubles(found)) for part in wrapped(line)]
    return Drawing(figure, ranks, tuple(lines), _caption(found))


def _summary(values: Sequence[float]) -> dict[str, float]:
    mean = sum(values) / len(values)
    spread = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    return {"effective_rank": mean, "standard_error": math.sqrt(spread / len(values)), "images": len(values)}


def _panel(axes: Axes, part: DataFrame) -> None:
    for method, look in _LOOKS.items():
        own = part[part["method"] == method].groupby("block")
        if not len(own):
            continue
        mean = own["effective_rank"].mean()
        error = own["standard_error"].apply(lambda errors: math.sqrt((errors**2).sum()) / len(errors))
        axes.fill_between(mean.index, mean - _Z * error, mean + _Z * error, color=look.color, alpha=0.15, linewidth=0)
        axes.plot(mean.index, mean, label=method, **look.line)
    axes.set_xticks(sorted(part["block"].unique())[:: max(1, part["block"].nunique() // 8)])


def _lines(ranks: DataFrame) -> Iterator[str]:
    """Yield a line per target, rank and method: the last block's effective rank on both kinds of images."""
    last = ranks[ranks["block"] == ranks["block"].max()]
    for (target, rank, method), part in last.groupby(["target", "rank", "method"], sort=False):
        own, others = part[part["task"] == target], part[part["task"] != target]
        yield (
            f"{target} rank {rank}, {method}: in the last block {own['effective_rank'].mean():.2f} on the target's "
            f"images, {others['effective_rank'].mean():.2f} on the sources'."
        )


def _caption(found: StudyResult) -> str:
    return (
        "The effective rank exp(-sum p ln p) of the image tokens' states after each decoder block, with p = singular "
        f"values over their sum, as the mean over {_EXAMPLES} images of each task's validation split. Bands: 95 % over "
        f"the images. The trained models have their change merged. The paper says that fine-tuning lowers this "
        "rank and that MDGD keeps it. It is a diagnostic, not a score. "
        f"{found.board.covered}"
    )


FIGURE = Study(
    name="effective_rank",
    title="MDGD's diagnostic: effective rank of the image tokens' states in every block, of base, LoRA and MDGD",
    methods=_METHODS,
    ranks="32",
    one_rank=True,
    cells_at=lambda point: [point.cell(method) for method in _METHODS],
    draw=draw,
)
