import csv
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.papers.lorasculpt import theory
from bench.papers.lorasculpt.theory import Case

SMALL = ["--shapes", "8x12", "--ranks", "4", "--densities", "0.25", "--draws", "400"]


def test_the_theorems_hold_and_every_line_is_printed_with_its_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["theory", "--ranks", "4,16", "--shapes", "64x64", "--densities", "0.1", "--draws", "40"])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line.split()[:7] for line in lines[1:7]] == [
        ["64", "64", "4", "0.1", "bernoulli", "0.03940", "0.03940"],
        ["64", "64", "4", "0.1", "top-k", "0.03760", "0.03764"],  # 25 of 256: 0.0977 each
        ["64", "64", "4", "0.1", "uneven", "0.03940", "0.03895"],  # the bound, and Eq. 34
        ["64", "64", "16", "0.1", "bernoulli", "0.14854", "0.14854"],
        ["64", "64", "16", "0.1", "top-k", "0.14747", "0.14765"],  # 102 of 1024
        ["64", "64", "16", "0.1", "uneven", "0.14854", "0.14073"],
    ]
    assert len({len(line) for line in lines[:7]}) == 1
    assert verdicts(lines) == [
        "Theorem 3.1 holds in 2 of 2 lines of bernoulli masks.",
        "Theorem 3.2 holds in 6 of 6 lines of all masks.",
        "Theorem D.1 holds in 2 of 2 lines of uneven masks.",
        "Our statement for exactly k entries (not the paper's) holds in 2 of 2 lines of top-k masks.",
    ]
    assert any("0 of 240 draws are beyond delta" in line for line in lines)
    assert any("Eq. 34 is 0.00045 to 0.00781 below the bound" in line for line in lines)


def verdicts(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("Theorem", "Our statement"))]


def contradicted(out: str) -> list[str]:
    """Return the first two words of each verdict that contradicts a theorem."""
    return [" ".join(line.split()[:2]) for line in verdicts(out.splitlines()) if "is CONTRADICTED" in line]


def test_what_is_printed_fits_a_terminal_of_120_columns(capsys: pytest.CaptureFixture[str]) -> None:
    main(["theory", "--draws", "2"])

    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120


def test_equal_shares_are_printed_at_no_distance_from_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    main(["theory", "--shapes", "1x1,3x1", "--ranks", "1", "--densities", "0.3,0.7,1", "--draws", "20"])

    assert "Eq. 34 is 0.00000 to 0.00000 below the bound." in capsys.readouterr().out


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

    out = capsys.readouterr().out
    assert "Theorem 3.1 is CONTRADICTED, because it holds only in 0 of 1 lines of bernoulli masks." in out
    assert set(contradicted(out)) <= {"Theorem 3.1", "Theorem D.1"}  # the formula is the bound of D.1


def test_a_bound_that_too_many_draws_pass_is_contradicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.papers.lorasculpt.theory.deviation_at", lambda probability, *_: 0.06)

    assert main(["theory", *SMALL]) == 1

    assert contradicted(capsys.readouterr().out) == ["Theorem 3.2"]


def test_top_k_masks_with_the_moments_of_independent_ones_are_contradicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.papers.lorasculpt.theory._both_zero", theory._both_zero_independent)

    assert main(["theory", *SMALL, "--densities", "0.5", "--draws", "2000"]) == 1

    assert contradicted(capsys.readouterr().out) == ["Our statement"]


def test_uneven_masks_with_the_mean_of_even_ones_are_contradicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def even(shares_b: theory.FloatArray, shares_a: theory.FloatArray, rank: int) -> float:
        return theory.expected_density(float(shares_a.mean()), float(shares_b.mean()), rank)

    monkeypatch.setattr("bench.papers.lorasculpt.theory.uneven_density", even)

    assert main(["theory", *SMALL, "--densities", "0.5", "--draws", "2000"]) == 1
    assert contradicted(capsys.readouterr().out) == ["Theorem D.1"]


def test_a_bound_below_eq_34_is_contradicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = theory.expected_density
    monkeypatch.setattr("bench.papers.lorasculpt.theory.expected_density", lambda a, b, rank: right(a, b, rank) * 0.9)

    main(["theory", *SMALL])

    assert "Theorem D.1" in contradicted(capsys.readouterr().out)


@pytest.mark.slow
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

    with (tmp_path / "out" / "theory.csv").open(encoding="utf-8") as file:
        bernoulli, top_k, uneven = csv.DictReader(file)
    assert "wrote" in capsys.readouterr().err
    assert float(bernoulli["predicted"]) == 1 - (1 - 0.25**2) ** 4
    assert (bernoulli["mask"], bernoulli["exact_k_delta"], top_k["mask"]) == ("bernoulli", "", "top-k")
    assert (uneven["mask"], uneven["exact_k_delta"], top_k["eq_34"], bernoulli["bound"]) == ("uneven", "", "", "")
    assert uneven["bound"] == uneven["predicted"] == bernoulli["predicted"]
    assert uneven["eq_34"] == uneven["exact"]
    assert float(uneven["eq_34"]) == theory.exact_moments(Case(8, 12, 4, 0.25, "uneven")).mean
    assert float(top_k["exact_k_delta"]) == pytest.approx(float(top_k["delta"]) / 2)  # the square root of 0.25
    assert float(top_k["mean"]) == theory.simulate(Case(8, 12, 4, 0.25, "top-k"), 400, 0).mean()


def test_the_columns_of_earlier_csv_files_come_first(tmp_path: Path) -> None:
    main(["theory", *SMALL, "--output", str(tmp_path)])

    head = (tmp_path / "theory.csv").read_text(encoding="utf-8").splitlines()[0]
    assert head == (
        "rows,columns,rank,density,mask,density_b,density_a,draws,predicted,exact,mean,standard_error,"
        "largest_deviation,delta,beyond,allowed,exact_k_delta,exact_k_beyond,eq_34,bound"
    )
