"""The figures that a page takes from losses and from trade-off curves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.leaderboard import scatter, tradeoff
from bench.page import losses
from bench.page.build import run_page
from bench.page.page import Page
from bench.plan.baselines import make
from tests.page.conftest import MadeRun, made_row, write_records

pytestmark = pytest.mark.slow  # matplotlib draws


def figures(page: Page, anchor: str) -> list[Any]:
    """Return the figures of a section, of which there is none if there is nothing to draw."""
    found = [section for section in page.sections if section.anchor == anchor]
    return list(found[0].values["figures"]) if found else []


def rows_in(svg: str) -> list[str]:
    return re.findall(r'data-row="(r\d+)"', svg)


def learn(run: MadeRun, method: str, values: Sequence[float]) -> None:
    """Write the losses of every training of a method."""
    text = "step,loss\n" + "".join(f"{step},{value!r}\n" for step, value in enumerate(values, 1))
    for job in run.plan.trainings:
        if job.trial.method == method:
            (run.store.folder(job.trial) / "losses.csv").write_text(text, encoding="utf-8")


def test_the_losses_of_a_page_have_a_line_for_each_training_and_none_for_an_edit(made_run: MadeRun) -> None:
    learn(made_run, "lora", [3.0, 2.0, 1.0])
    learn(made_run, "l2", [2.0, float("nan"), 1.0])

    page = made_run.page()

    (figure,) = figures(page, "losses")
    trained = [row for row, of in page.rows.items() if of["name"] in ("lora", "l2")]
    assert sorted(rows_in(figure.svg)) == sorted(trained)
    assert len(trained) == 4
    assert "new_squares, rank 2" in figure.svg
    assert "new_squares, rank 4" in figure.svg
    assert "nan" not in figure.svg
    assert figure.title == "Training loss for new_squares"


def test_a_line_is_the_mean_over_seeds_of_the_losses(made_run: MadeRun) -> None:
    learn(made_run, "lora", [3.0, 2.0, 1.0])

    found = losses.draw(made_run.plan, made_run.store, "new_squares", scatter.looks(made_run.board))

    assert found is not None
    for axes in found.axes:
        (line,) = axes.get_lines()
        assert np.array(line.get_data()).tolist() == [[1, 2, 3], [3.0, 2.0, 1.0]]


def test_many_updates_are_means_of_neighbours(made_run: MadeRun) -> None:
    learn(made_run, "lora", [float(number) for number in range(600)])

    found = losses.draw(made_run.plan, made_run.store, "new_squares", scatter.looks(made_run.board))

    assert found is not None
    steps, values = np.array(found.axes[0].get_lines()[0].get_data()).tolist()
    assert (len(steps), steps[0], values[0], values[-1]) == (60, 5.5, 4.5, 594.5)


def test_a_training_that_failed_has_no_line(made_run: MadeRun) -> None:
    learn(made_run, "lora", [3.0, 2.0])
    for job in made_run.plan.trainings:
        record = made_run.store.read(job.trial)
        assert record is not None
        made_run.store.write(replace(record, status="failed", error="broke"))

    assert figures(made_run.page(), "losses") == []


def test_the_curves_of_rewind_are_on_the_page_with_a_line_and_a_band_for_each_row(
    made_run: MadeRun, tmp_path: Path
) -> None:
    plan = make(replace(made_run.plan.request, strengths=(0.5, 1.0)), made_run.store)
    write_records(plan, made_run.store, made_row)
    run = MadeRun(plan, made_run.store)
    paths = tradeoff.write(tradeoff.read(plan, run.store), tmp_path / "curves", scatter.looks(run.board))

    page = run_page(run.board, plan, run.store, paths, lambda record: "bench run")

    found = figures(page, "curves")
    assert [figure.title for figure in found] == [f"Trade-off curves of new_squares, rank {rank}" for rank in (2, 4)]
    for figure, rank in zip(found, (2, 4), strict=True):
        here = [row for row, of in page.rows.items() if of["rank"] == rank]
        assert sorted(rows_in(figure.svg)) == sorted([*here, *here])  # a line and a band each
        assert len(here) == 3
        assert "Bands are 95 % intervals of Source." in figure.says
        assert "new_squares, rank 2: every change scaled by 0, 0.5, 1".replace("2", str(rank)) in figure.svg
