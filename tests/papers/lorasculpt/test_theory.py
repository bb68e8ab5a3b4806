import csv
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.cli.main import main
from bench.papers.lorasculpt import theory
from bench.papers.lorasculpt.theorems import at_least
from bench.papers.lorasculpt.theory import Case, deviation_at, exact_deviation_at, exact_moments, expected_density

SMALL = ["--shapes", "8x12", "--ranks", "4", "--densities", "0.25", "--draws", "400"]


@pytest.mark.parametrize(("rank", "density"), [(16, 0.1485), (32, 0.2750), (64, 0.4744)])
def test_a_tenth_of_each_factor_makes_the_density_that_theorem_3_1_says(rank: int, density: float) -> None:
    assert expected_density(0.1, 0.1, rank) == pytest.approx(density, abs=5e-5)


def test_the_two_factors_may_keep_different_shares() -> None:
    assert expected_density(0.5, 0.2, 2) == pytest.approx(0.19)  # 1 - 0.9^2


def test_the_delta_of_theorem_3_2_has_the_probability_in_its_bound() -> None:
    assert deviation_at(2 * math.exp(-1), 4, 4, 1) == pytest.approx(0.5)  # 2 * 0.25 * 16 / 8 = 1
    assert deviation_at(0.05, 128, 512, 4) == pytest.approx(0.26842, abs=5e-6)  # ln 40 = 3.68888; x 2560 / 131072


def test_the_bound_of_top_k_masks_has_s_r_in_place_of_r() -> None:
    case = Case(100, 100, 10, 0.1, "top-k")

    assert exact_deviation_at(0.05, case) == pytest.approx(deviation_at(0.05, 100, 100, 1))


def test_one_kept_entry_of_two_in_each_factor_meets_the_other_half_of_the_time() -> None:
    case = Case(1, 1, 2, 0.5, "top-k")

    assert exact_moments(case).mean == pytest.approx(0.5)
    assert exact_moments(case).variance == pytest.approx(0.25)
    assert expected_density(case.density_a, case.density_b, 2) == pytest.approx(0.4375)  # 1 - 0.75^2


@pytest.mark.parametrize("mask", ["bernoulli", "top-k"])
@pytest.mark.parametrize("density", [0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(2, 3, 2), (1, 3, 2), (3, 1, 2), (2, 2, 1), (1, 1, 3)])
def test_mean_and_variance_are_those_over_all_masks(
    shape: tuple[int, int, int], density: float, mask: theory.Mask
) -> None:
    case = Case(*shape, density, mask)

    chances, found = zip(*every_pair(case), strict=True)
    mean = np.average(found, weights=chances)

    assert exact_moments(case).mean == pytest.approx(mean, abs=1e-12)
    assert exact_moments(case).variance == pytest.approx(np.average((found - mean) ** 2, weights=chances), abs=1e-12)


def every_pair(case: Case) -> Iterator[tuple[float, float]]:
    """Yield the chance of each pair of masks, and its density by the definition."""
    for b, a in itertools.product(every(case, case.rows, case.kept_b), every(case, case.columns, case.kept_a)):
        reached = [
            any(b[1][i * case.rank + k] and a[1][k * case.columns + j] for k in range(case.rank))
            for i, j in itertools.product(range(case.rows), range(case.columns))
        ]
        yield b[0] * a[0], sum(reached) / len(reached)


def every(case: Case, side: int, kept: int) -> list[tuple[float, tuple[int, ...]]]:
    total = side * case.rank
    masks = list(itertools.product((0, 1), repeat=total))
    if case.mask == "top-k":
        return [(1.0, mask) for mask in masks if sum(mask) == kept]
    return [(case.density ** sum(mask) * (1 - case.density) ** (total - sum(mask)), mask) for mask in masks]


def test_the_density_of_a_product_counts_what_any_kept_pair_reaches() -> None:
    b = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32)
    a = np.array([[1, 1, 0, 0], [0, 1, 0, 1]], dtype=np.float32)

    assert theory.product_density(b, a) == 5 / 12  # rows reach 2, 3 and 0 of 4


def test_top_k_masks_keep_the_same_count_in_every_draw_and_bernoulli_masks_do_not() -> None:
    kept_one_of_two = Case(2, 1, 1, 0.5, "top-k")

    assert set(theory.simulate(kept_one_of_two, 50, seed=0)) == {0.5}
    assert set(theory.simulate(Case(2, 1, 1, 0.5, "bernoulli"), 50, seed=0)) == {0.0, 0.5, 1.0}


def test_a_share_that_rounds_to_nothing_keeps_one_entry() -> None:
    case = Case(2, 3, 2, 0.01, "top-k")

    assert (case.kept_b, case.kept_a) == (1, 1)
    assert (case.density_b, case.density_a) == (1 / 4, 1 / 6)


def test_the_binomial_tail() -> None:
    assert at_least(3, 3, 0.5) == pytest.approx(0.125)
    assert at_least(2, 4, 0.25) == pytest.approx(0.26171875)  # 1 - 0.75^4 - 4 * 0.25 * 0.75^3
    assert at_least(0, 4, 0.25) == 1


def test_the_theorems_hold_and_every_line_is_printed_with_its_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["theory", "--ranks", "4,16", "--shapes", "64x64", "--densities", "0.1", "--draws", "40"])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line.split()[:6] for line in lines[1:5]] == [
        ["64", "64", "4", "0.1", "bernoulli", "0.03940"],
        ["64", "64", "4", "0.1", "top-k", "0.03760"],  # 25 of 256: 0.0977 each
        ["64", "64", "16", "0.1", "bernoulli", "0.14854"],
        ["64", "64", "16", "0.1", "top-k", "0.14747"],  # 102 of 1024
    ]
    assert len({len(line) for line in lines[:5]}) == 1
    assert [line.split(",")[0] for line in lines[-3:]] == [
        "Theorem 3.1",
        "Theorem 3.2",
        "Theorem D.1 (our reading; the paper's text of D.1 was not available)",
    ]
    assert "0 of 160 draws beyond delta" in lines[-2]


def test_the_same_seed_draws_the_same_whatever_else_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    main(["theory", *SMALL])
    alone = capsys.readouterr().out.splitlines()[1]
    main(["theory", *SMALL, "--ranks", "2,4"])
    beside_others = capsys.readouterr().out
    main(["theory", *SMALL, "--seed", "1"])

    assert alone in beside_others
    assert alone not in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong", [lambda a, b, r: r * a * b, lambda a, b, r: 1 - (1 - a) ** r, lambda a, b, r: 1 - (1 - a * b) ** (r - 1)]
)
def test_a_wrong_expectation_is_contradicted(
    wrong: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.papers.lorasculpt.theory.expected_density", wrong)

    assert main(["theory", *SMALL]) == 1

    first, second, third = capsys.readouterr().out.splitlines()[-3:]
    assert "CONTRADICTED. It holds only in 0 of 1 lines" in first
    assert "CONTRADICTED" not in second + third


def test_a_bound_that_too_many_draws_pass_is_contradicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.papers.lorasculpt.theory.deviation_at", lambda probability, *_: 0.06)

    assert main(["theory", *SMALL]) == 1

    first, second, third = capsys.readouterr().out.splitlines()[-3:]
    assert "CONTRADICTED" in second
    assert "CONTRADICTED" not in first + third


def test_top_k_masks_with_the_moments_of_independent_ones_are_contradicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.papers.lorasculpt.theory._both_zero", theory._both_zero_independent)

    assert main(["theory", *SMALL, "--densities", "0.5", "--draws", "2000"]) == 1

    first, second, third = capsys.readouterr().out.splitlines()[-3:]
    assert "CONTRADICTED" in third
    assert "CONTRADICTED" not in first + second


@pytest.mark.parametrize(
    "words", ["--shapes 2x2,1x1 --densities 0.01,0.9,1 --draws 50", "--shapes 3x1 --densities 0.3 --draws 2"]
)
def test_tiny_shapes_and_few_draws_contradict_nothing(words: str) -> None:
    assert all(main(["theory", "--ranks", "1,3", "--seed", seed, *words.split()]) == 0 for seed in "0123456789")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--shapes 64", "--shapes has '64'; give ROWSxCOLUMNS, whole numbers from 1"),
        ("--shapes 64x", "--shapes has '64x'; give"),
        ("--shapes 64x0", "--shapes has '64x0'; give"),
        ("--shapes 2x3x4", "--shapes has '2x3x4'; give"),
        ("--ranks 0", "--ranks has '0'; give whole numbers from 1, separated by commas."),
        ("--ranks 1.5", "--ranks has '1.5'; give"),
        ("--ranks ,", "--ranks is empty; give whole numbers from 1, separated by commas."),
        ("--densities 0", "--densities has '0'; give numbers above 0 and at most 1, separated by commas."),
        ("--densities 0.1,1.5", "--densities has '1.5'; give"),
        ("--densities nan", "--densities has 'nan'; give"),
        ("--draws 0", "--draws is 0; give at least 2."),
        ("--seed -1", "--seed is -1; give 0 or more."),
        ("--ranks 10000000", "64x64 of rank 10000000 is too large to draw; give a smaller shape or rank."),
    ],
)
def test_bad_input_is_one_line_and_starts_nothing(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["theory", *words.split(), "--output", str(tmp_path / "out")]) == 2

    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused_before_anything_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert main(["theory", "--output", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().out == ""


def test_the_csv_has_a_row_a_line_at_full_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", *SMALL, "--output", str(tmp_path / "out")]) == 0

    with (tmp_path / "out" / "theory.csv").open() as file:
        bernoulli, top_k = csv.DictReader(file)
    assert "wrote" in capsys.readouterr().err
    assert float(bernoulli["predicted"]) == 1 - (1 - 0.25**2) ** 4
    assert (bernoulli["mask"], bernoulli["exact_k_delta"], top_k["mask"]) == ("bernoulli", "", "top-k")
    assert float(top_k["exact_k_delta"]) == pytest.approx(float(top_k["delta"]) / 2)  # the square root of 0.25
    assert float(top_k["mean"]) == theory.simulate(Case(8, 12, 4, 0.25, "top-k"), 400, 0).mean()
