"""What bench plan --budget proposes, against plans that are made in full and numbers worked by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest

from bench.cli.options import Cells
from bench.cli.plan import PlanOptions
from bench.cli.request import read_request
from bench.errors import UsageError
from bench.plan.baselines import make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.prepare.price.budget import Budget, Proposal, command, proposals
from bench.prepare.price.fitting import Fit
from bench.prepare.price.rates import Rates
from bench.prepare.price.work import gpu_hours, todo
from bench.store.run_folder import Store
from tests.making.commands import typed

pytestmark = pytest.mark.slow

RATES = Rates(2.0, 6.0, "by hand", {"dora": 1.0})


def fitting(methods: Sequence[str], rank: int) -> Fit:
    """Fit everything without an option, as on a machine without a GPU."""
    return Fit()


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., Request]:
    """Return ``asked(*words)``: the request of ``bench plan --suite lorasculpt`` with these words."""

    def read(*words: str) -> Request:
        options = typed(PlanOptions, "--suite", "lorasculpt", "--data", str(tmp_path), *words)
        return replace(read_request(options, tmp_path / "runs"), assumed=True)

    return read


@pytest.mark.parametrize(
    "choice",
    [
        Proposal(("lora", "dora", "dare", "model_tailor"), (16, 64), ("iconqa", "coco_caption"), 2, 2500),
        Proposal(("dare", "model_tailor"), (32,), ("iconqa",), 1, None),
        Proposal(("dora",), (16, 32, 64), ("coco_caption",), 3, 100),
    ],
)
def test_a_choices_hours_are_those_of_its_plan(asked: Callable[..., Request], tmp_path: Path, choice: Proposal) -> None:
    whole = asked()
    chosen = replace(
        whole,
        methods=choice.methods,
        ranks=choice.ranks,
        targets=choice.targets,
        seeds=tuple(range(choice.seeds)),
        limit=choice.limit,
    )

    hours = Budget.of(whole, RATES).hours(choice)

    assert hours == pytest.approx(gpu_hours(todo(make(chosen, Store(tmp_path))), RATES))


def test_data_that_is_here_counts_as_it_is(
    tiny_suite: Suite, tiny_tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_request(Cells(suite="tiny", ranks="2", limit="3", plugin=(tiny_tasks,)), Path("runs"))
    for name in (*tiny_suite.sources, *tiny_suite.targets):
        monkeypatch.setattr(found.tasks.load(name), "sizes", {"test": 99_999}, raising=False)

    budget = Budget.of(found, RATES, "core-hours")

    for name, count in budget.sizes.items():
        assert count == len(found.tasks.load(name).examples("test"))
    assert "core-hours" in next(proposals(budget, 40.0, ["--suite", "tiny"], fitting))


def test_what_is_proposed_fits_and_is_the_best_that_does(asked: Callable[..., Request]) -> None:
    budget = Budget.of(asked("--ranks", "16,32,64"), RATES)

    found = budget.fitting(60)

    assert all(budget.hours(choice) <= 60 for choice in found.values())
    rows = found["most rows"]
    assert rows.methods == budget.request.methods
    assert (rows.ranks, rows.targets, rows.seeds) == ((32,), ("iconqa", "coco_caption"), 1)
    bigger = [choice for choice in budget.choices() if choice.methods == rows.methods and choice.most > rows.most]
    assert bigger
    assert all(budget.hours(item) > 60 for item in bigger if (item.ranks, item.targets) == (rows.ranks, rows.targets))
    assert found["most seeds"].seeds == 5
    assert found["whole test sets"].limit is None


def test_the_baseline_is_dropped_last_and_edits_before_it(asked: Callable[..., Request]) -> None:
    choices = [choice.methods for choice in Budget.of(asked(), RATES).choices()]

    assert list(dict.fromkeys(choices))[-3:] == [("lora", "model_tailor", "dare"), ("lora", "model_tailor"), ("lora",)]


def test_half_widths_are_the_bound_of_a_proportion(asked: Callable[..., Request]) -> None:
    budget = Budget.of(asked(), RATES)
    hundred = Proposal(("lora",), (32,), ("iconqa",), 1, 100)
    whole = replace(hundred, limit=None)

    assert budget.half_width(("iconqa",), hundred) == pytest.approx(9.8)
    assert budget.half_width(budget.request.sources, hundred) == pytest.approx(9.8 / sqrt(4))
    assert budget.half_width(("iconqa",), whole) == pytest.approx(98 / sqrt(6316))
    expected = 98 * sqrt(1 / 5046 + 1 / 2000 + 1 / 12578 + 1 / 5000) / 4
    assert budget.half_width(budget.request.sources, whole) == pytest.approx(expected)


def test_a_proposal_is_a_command_that_asks_for_it(asked: Callable[..., Request]) -> None:
    words = ["--suite=lorasculpt", "--data", "/data", "--ranks", "16,32,64", "--budget", "9h", "--probe"]
    words += ["--set", "recipe.lr=1e-4", "--limit=7", "--output", "my runs", "--set", "lora.lr=0.1"]
    budget = Budget.of(asked("--ranks", "16,32,64"), RATES)
    choice = Proposal(("lora", "dare"), (32,), ("iconqa",), 2, 500)

    line = command(budget, choice, typed(PlanOptions, *words).others(fitted=False), Fit())

    assert line == (
        "bench run --suite lorasculpt --data /data --set recipe.lr=1e-4 --set lora.lr=0.1 --output 'my runs' "
        "--methods lora,dare --ranks 32 --targets iconqa --seeds 0,1 --limit 500"
    )


def test_a_proposal_fits_the_memory_too(asked: Callable[..., Request]) -> None:
    words = ["--suite", "lorasculpt", "--micro-batch", "9", "--gradient-checkpointing", "--gpus-per-trial", "2"]
    options = typed(PlanOptions, *words)
    budget = Budget.of(asked(), RATES)
    choice = Proposal(("dare",), (16, 32), ("iconqa", "coco_caption"), 1, None)

    lines = list(
        proposals(
            budget,
            1e6,
            options.others(fitted=True),
            lambda methods, rank: Fit(("--micro-batch", "3"), tuple(sorted(methods))),
        )
    )

    assert "bench run --suite lorasculpt --gpus-per-trial 2 --methods paper --ranks 32 --seeds 0,1,2,3,4" in lines[2]
    assert lines[2].endswith("--micro-batch 3")
    assert lines[3].endswith("orth_reg will not fit into the memory of a GPU")
    line = command(budget, choice, options.others(fitted=False), Fit())
    assert "--micro-batch 9 --gradient-checkpointing --gpus-per-trial 2" in line


def test_without_a_source_there_is_no_interval_of_source(asked: Callable[..., Request]) -> None:
    budget = Budget.of(asked("--sources", "none"), RATES)

    lines = list(proposals(budget, 1e6, ["--suite", "lorasculpt", "--sources", "none"], fitting))

    widths = [line for line in lines if "95 % intervals" in line]
    assert widths
    assert all(line.startswith("    95 % intervals of at most iconqa +-1.2, coco_caption +-") for line in widths)


def test_where_nothing_fits_the_least_is_named(asked: Callable[..., Request]) -> None:
    budget = Budget.of(asked(), RATES)

    lines = list(proposals(budget, 0.5, ["--suite", "lorasculpt"], fitting))

    # 30,000 examples at 2 a second, and 2 models' 500 answers at 6
    assert lines[0].startswith(f"Nothing fits into 0.5 GPU-hours. The least takes {(15000 + 1000 / 6) / 3600:.1f}: ")
    assert lines[1] == ("  bench run --suite lorasculpt --methods lora --ranks 32 --targets iconqa --limit 100")


@pytest.mark.parametrize("words", [("--baselines",), ("--rewind", "0.5")])
def test_rows_that_follow_from_others_are_not_proposed(asked: Callable[..., Request], words: Sequence[str]) -> None:
    with pytest.raises(UsageError, match="--budget proposes plain runs"):
        Budget.of(asked(*words), RATES)
