import csv
import io
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import Paper, PluginError, PublishedRow, Reading, UsageError, published_rows
from bench.cli.main import main
from bench.leaderboard.build import build
from bench.leaderboard.tables import CellScores, Heading, Leaderboard
from bench.model import checkpoints
from bench.papers import comparison_text
from bench.papers.comparable import reasons
from bench.papers.comparison import Comparison, compare, verdict
from bench.plan import request
from bench.plan.plan import Request
from bench.plan.suite import LORASCULPT, MICRO, Suite
from bench.plan.tuned import Choice
from bench.plugins import registry
from bench.plugins.paper import compared_rows
from bench.store import last_run
from bench.store.run_folder import Store
from tests.layouts import checkpoint, write_files
from tests.making import boards

SOURCES = ("okvqa", "ocrvqa", "gqa", "textvqa")
SUITE = Suite("lorasculpt", LORASCULPT.model, SOURCES, ("iconqa", "coco_caption"), MICRO.recipe)


@pytest.fixture(scope="module")
def paper() -> Paper:
    return registry.load_paper("lorasculpt")


def published(paper: Paper, method: str, rank: int | None, target: str, connector: str | None) -> PublishedRow:
    rows = [row for row in compared_rows(paper) if (*row.place, row.connector) == (method, rank, target, connector)]
    assert len(rows) == 1
    return rows[0]


def test_the_published_rows_are_fractions_by_column_with_the_recipes_words(paper: Paper) -> None:
    rows = published_rows(paper)

    assert len(rows) == 60
    scores = {"okvqa": 0.4506, "ocrvqa": 0.484, "gqa": 0.4922, "textvqa": 0.3647}
    scores |= {"source": 0.4479, "target": 0.8252, "avg": 0.6365}
    lora = next(row for row in rows if row.place == ("lora", 32, "iconqa"))
    assert (lora.table, lora.connector, lora.variant) == ("1", "full", "")
    assert lora.scores == pytest.approx(scores)
    assert (rows[0].method, rows[0].rank, rows[0].connector) == ("zero_shot", None, None)
    ablation = next(row for row in rows if row.variant == "srr")
    assert set(ablation.scores) == {"source", "target", "avg"}


def test_the_published_source_and_avg_are_the_means_that_ours_are(paper: Paper) -> None:
    for row in compared_rows(paper):
        source = sum(row.scores[task] for task in paper.sources) / 4
        assert row.scores["source"] == pytest.approx(source, abs=1e-4), row.place
        assert row.scores["avg"] == pytest.approx((row.scores["source"] + row.scores["target"]) / 2, abs=1e-4)


def test_each_cell_is_compared_once_and_table_2_adds_the_connectors(paper: Paper) -> None:
    rows = compared_rows(paper)

    assert len(rows) == 2 + 7 * 3 * 2 + 3
    assert {(*row.place, row.connector) for row in rows if row.table == "2"} == {
        ("lora", 64, "iconqa", "lora"),
        ("lora", 64, "iconqa", "frozen"),
        ("lorasculpt", 64, "iconqa", "lora"),
    }
    assert published(paper, "lorasculpt", 64, "iconqa", "lora").scores["avg"] == pytest.approx(0.7245)


def test_variants_and_tables_that_are_not_named_are_read_but_not_compared(paper: Paper, tmp_path: Path) -> None:
    file = tmp_path / "small.csv"
    lines = ("1,lora,32,iconqa,full,,50", "1,lora,16,iconqa,full,half,60", "9,dora,32,iconqa,full,,70")
    file.write_text("\n".join(("table,method,rank,target_task,connector,variant,avg", *lines)))
    small = replace(paper, file=file)

    assert [row.scores["avg"] for row in published_rows(small)] == [0.5, 0.6, 0.7]
    assert [row.scores["avg"] for row in compared_rows(small)] == [0.5]


@pytest.mark.parametrize(
    "text", ["table,method\n1,lora\n", "table,method,rank,target_task,connector,variant,avg\n1,a,2,t,odd,,1\n"]
)
def test_a_file_of_another_shape_is_named(paper: Paper, text: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    file.write_text(text)

    with pytest.raises(PluginError, match=r"odd\.csv is not a table of published numbers: KeyError"):
        published_rows(replace(paper, file=file))


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-2.0, 2.0, "reproduced"),
        (0.5, 1.9, "reproduced"),
        (2.1, 9.0, "above"),
        (2.0, 9.0, "cannot tell"),
        (-9.0, -2.1, "below"),
        (-9.0, -2.0, "cannot tell"),
        (1.0, 2.1, "cannot tell"),
        (-5.0, 5.0, "cannot tell"),
    ],
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, said: str) -> None:
    assert verdict(low, high, 2.0) == said


def test_without_tolerance_only_the_same_number_is_reproduced() -> None:
    assert [verdict(low, low, 0.0) for low in (0.0, 0.1, -0.1)] == ["reproduced", "above", "below"]


def scores(row: PublishedRow, shift: float) -> dict[str, np.ndarray]:
    """Per-example scores that are all the published number plus ``shift`` points: their interval has no width."""
    return {
        task: np.full(8, row.scores[column] + shift / 100)
        for task, column in (*((name, name) for name in SOURCES), (row.target, "target"))
    }


def cell(
    paper: Paper, method: str, target: str = "iconqa", *, shift: float = 0.0, rank: int = 32, connector: str = "full"
) -> CellScores:
    row = published(paper, method, rank, target, connector)
    return CellScores(boards.key(method, rank, connector), target, 0, primary=scores(row, shift))


def zero_shot(paper: Paper) -> CellScores:
    on = [scores(published(paper, "zero_shot", None, target, None), 0.0) for target in paper.targets]
    return boards.zero_shot(on[0] | on[1])


def board(paper: Paper, *cells: CellScores, targets: tuple[str, ...] = ("iconqa",)) -> Leaderboard:
    return build(cells, zero_shot(paper), sources=SOURCES, targets=targets, heading=Heading("lorasculpt"))


def said(found: Comparison, method: str) -> dict[str, tuple[float, str]]:
    """The difference in points and the verdict by column."""
    return {
        number.column: (round(100 * number.difference.value, 2), number.verdict)
        for number in found.numbers
        if number.row.method == method
    }


def test_every_column_is_compared_with_the_difference_in_points(paper: Paper) -> None:
    made = board(paper, cell(paper, "lora", shift=1.5), cell(paper, "dora", shift=-3.0))

    found = compare(paper, made, 2.0)

    assert said(found, "lora")["okvqa"] == (1.5, "reproduced")
    assert set(said(found, "lora")) == {*SOURCES, "source", "target", "avg"}
    assert {column for column, (_, word) in said(found, "dora").items() if word == "below"} == set(made.columns)
    assert (
        found.summary == "Of 21 compared numbers: 14 reproduced, 0 above, 7 below, 0 cannot tell (tolerance 2 points)."
    )


def test_a_difference_of_exactly_the_tolerance_is_reproduced(paper: Paper) -> None:
    found = compare(paper, board(paper, cell(paper, "lora", shift=2.0)), 2.0)

    assert said(found, "lora")["target"] == (2.0, "reproduced")


def test_the_interval_of_the_difference_is_ours_moved_by_the_published_number(paper: Paper) -> None:
    lora = cell(paper, "lora")
    noisy = replace(lora, primary={**lora.primary, "iconqa": (np.arange(40) < 33).astype(float)})

    found = compare(paper, board_of(paper, noisy), 2.0)

    number = next(n for n in found.numbers if n.row.method == "lora" and n.column == "target")
    assert number.difference.value == pytest.approx(33 / 40 - 0.8252)
    assert number.difference.low == pytest.approx(number.ours.low - 0.8252)
    assert number.difference.half_width == pytest.approx(number.ours.half_width)
    assert number.verdict == "cannot tell"  # 40 examples: about 12 points either way


def board_of(paper: Paper, only: CellScores) -> Leaderboard:
    """A board without the zero-shot row, whose eight examples would not fit."""
    return build([only], None, sources=SOURCES, targets=("iconqa",), heading=Heading("lorasculpt"))


def test_a_source_of_the_zero_shot_row_counts_once_however_many_targets(paper: Paper) -> None:
    cells = [cell(paper, "lora"), cell(paper, "lora", "coco_caption")]

    found = compare(paper, board(paper, *cells, targets=paper.targets), 2.0)

    assert len(found.numbers) == 4 * 7
    assert found.summary.startswith("Of 23 compared numbers: 23 reproduced")  # 2 x 7, and 5 + 2 x 2


def test_table_2s_connectors_are_compared_where_they_fit(paper: Paper) -> None:
    made = board(paper, *(cell(paper, name, rank=64, connector="lora") for name in ("lora", "lorasculpt")))

    found = compare(paper, made, 2.0)

    tables = {number.row.method: number.table for number in found.numbers}
    assert tables == {"zero_shot": "1", "lora": "2", "lorasculpt": "2"}
    assert said(found, "lorasculpt")["avg"] == (0.0, "reproduced")
    assert found.remarks == ("In the paper's tables only: zero_shot on coco_caption",)


def test_rows_that_only_one_side_has_are_named_by_rank(paper: Paper) -> None:
    mine = replace(cell(paper, "lora"), key=boards.key("mine", 32))
    failed = boards.failed("dora", "iconqa", "out of memory", rank=32)

    found = compare(paper, board(paper, cell(paper, "lora"), mine, failed), 2.0)

    assert "dora r32 on iconqa: seed 0 failed: out of memory" in found.remarks
    assert "Not in the paper's tables: mine on iconqa, rank 32, connector full" in found.remarks
    rest = "l2, orth_reg, model_tailor, dare, lorasculpt"
    assert f"In the paper's tables only: {rest} on iconqa, rank 32, connector full" in found.remarks
    assert len([line for line in found.remarks if line.startswith("In the paper")]) == 7
    assert not said(found, "dora")
    assert not said(found, "mine")


def test_a_hole_is_compared_where_there_are_scores(paper: Paper) -> None:
    whole = cell(paper, "lora")
    holed = replace(whole, primary={task: value for task, value in whole.primary.items() if task != "gqa"})

    found = compare(paper, board(paper, holed), 2.0)

    assert set(said(found, "lora")) == {"okvqa", "ocrvqa", "textvqa", "target"}
    assert "lora r32 on iconqa: seed 0 missing: no scores on gqa" in found.remarks


def test_no_row_in_common_is_an_error_that_says_what_was_published(paper: Paper) -> None:
    mine = replace(cell(paper, "lora"), key=boards.key("mine", 32))

    with pytest.raises(
        UsageError, match=r"no row in common\. Published: methods zero_shot, lora, .*; ranks 16, 32, 64"
    ):
        compare(paper, board_of(paper, mine), 2.0)


def test_the_table_shows_three_columns_in_80_and_says_what_the_interval_covers(paper: Paper) -> None:
    found = compare(paper, board(paper, cell(paper, "lora", shift=1.5)), 2.0)

    text = "\n".join(comparison_text.table(found))

    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "lora Source 46.29 ±0.0 44.79 +1.50 reproduced" in lines
    assert "Target 84.02 ±0.0 82.52 +1.50 reproduced" in lines
    assert "okvqa" not in text
    assert "One seed: they cover test sampling only" in " ".join(lines)
    assert "Of 14 compared numbers: 14 reproduced" in text
    assert max(len(line) for line in text.splitlines() if "±0" in line) <= 80


def test_markdown_and_csv_have_every_number(paper: Paper) -> None:
    found = compare(paper, board(paper, cell(paper, "lora", shift=-3.0)), 2.0)

    markdown = "\n".join(comparison_text.markdown(found))
    lines = list(csv.DictReader(io.StringIO("\n".join(comparison_text.comma_separated(found)))))

    assert "| lora | 32 | full | textvqa | 33.47 | [33.47, 33.47] | 36.47 | -3.00 | below |" in markdown
    assert len(lines) == 14
    line = next(line for line in lines if (line["method"], line["of"]) == ("lora", "textvqa"))
    assert float(line["difference"]) == pytest.approx(-0.03)
    assert (line["published"], line["verdict"], line["table"], line["rank"]) == ("0.3647", "below", "1", "32")


def asked(**changes: object) -> Request:
    recipe = SUITE.recipe
    plain = Request(SUITE, ("lora", "dare", "lorasculpt"), (32,), SUITE.targets, SOURCES, recipe)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sources": SOURCES[::-1], "targets": ("iconqa",), "seeds": (0, 1)},
        {"recipe": replace(SUITE.recipe, connector="lora", micro_batch_size=4)},
        {"settings": {"lora": {"lr": None}}},
        {"methods": ("l2",), "settings": {"lora": {"lr": 1e-3}}},
        {"ranks": (8,), "settings": {"lora": {"lr": 1e-3}}},
        {"tuned": {("lora", 32, "iconqa"): Choice({"lr": 1e-3}, 8)}},  # a row beside the default
    ],
)
def test_what_leaves_the_compared_rows_as_the_papers_is_comparable(paper: Paper, changes: dict[str, object]) -> None:
    assert reasons(paper, asked(**changes)) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"suite": MICRO}, "its suite is micro, the paper's numbers are those of lorasculpt: with another base model"),
        ({"sources": SOURCES[:2]}, "source tasks are missing, so that Source is another mean: gqa, textvqa"),
        ({"sources": (*SOURCES, "vizwiz")}, "source tasks are not the paper's, so that Source is another mean: vizwiz"),
        ({"limit": 100}, "--limit 100 scores a part of the test split"),
        ({"split": "validation"}, "its scores are of the validation split"),
        ({"recipe": replace(SUITE.recipe, updates=7)}, "recipe.updates is 7 (--set), the suite's own is 150"),
        ({"recipe": replace(SUITE.recipe, eval_dtype="float16")}, "recipe.eval_dtype is float16 (--set)"),
        (
            {"recipe": replace(SUITE.recipe, quantization="4bit")},
            "recipe.quantization is 4bit (--base), the suite's own",
        ),
        ({"settings": {"lorasculpt": {"density": 0.2}}}, "lorasculpt.density is 0.2 (--set), the method's own is 0.1"),
        ({"methods": ("dare",), "settings": {"lora": {"lr": 0.01}}}, "lora.lr is 0.01 (--set)"),
    ],
)
def test_what_differs_from_the_paper_is_one_line(paper: Paper, changes: dict[str, object], reason: str) -> None:
    found = reasons(paper, asked(**changes))

    assert len(found) == 1
    assert found[0].startswith(reason)
    assert "\n" not in found[0]


def test_a_base_model_of_another_size_is_named_and_a_copy_is_not(
    paper: Paper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(asked(), suite=replace(SUITE, model=str(checkpoint.write(tmp_path / "model"))))

    (found,) = reasons(paper, other)
    monkeypatch.setattr(checkpoints, "parameters", lambda folder: 7_063_427_072 + 577)

    assert f"its base model {tmp_path}/model (--model) has " in found
    assert found.endswith("llava-hf/llava-1.5-7b-hf has 7,063,427,072")
    assert reasons(paper, other) == ()


def test_data_of_another_size_is_named(paper: Paper, tmp_path: Path) -> None:
    write_files(tmp_path, "iconqa")
    registry.read_tasks(Reading(tmp_path), {"iconqa": {"expect": "any"}})
    try:
        train, test = reasons(paper, asked(targets=("iconqa",)))
        free = reasons(paper, asked(targets=("iconqa",), reading=Reading(tmp_path, skip_bad=10_000)))
    finally:
        registry.read_tasks(Reading(), {})

    assert train.startswith("iconqa has ")
    assert train.endswith(" examples in its train split, the paper's has 10,000")
    assert test.endswith(" examples in its test split, the paper's has 6,316")
    assert free == ()


def test_everything_that_differs_is_named(paper: Paper) -> None:
    found = reasons(paper, asked(limit=3, sources=("okvqa", "ocrvqa", "gqa", "vizwiz")))

    assert len(found) == 3


def ran(output: Path, *words: str) -> Path:
    """A run folder whose last run had these words; nothing was trained."""
    parser = ArgumentParser()
    request.add_arguments(parser)
    options = parser.parse_args([*words, "--output", str(output)])
    options.words = ["run", *words]
    store = Store(output)
    store.prepare()
    last_run.save(store, options)
    return output


def test_a_leaderboard_of_micro_is_refused_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ran(tmp_path / "runs", "--methods", "lora", "--limit", "20")

    code = main(["compare", "--paper", "lorasculpt", "--output", str(output)])

    captured = capsys.readouterr()
    assert code == 2
    assert "cannot be compared with the paper lorasculpt: its suite is micro" in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--paper lorasculpt", "has no run yet. Start one: bench run --output"),
        ("--paper lorasclpt", "No paper named 'lorasclpt'. Did you mean 'lorasculpt'? Known: lorasculpt."),
        ("--paper lorasculpt --tolerance -1", "--tolerance is -1; give points of the x100 scale, 0 or more."),
        ("--paper lorasculpt --tolerance nan", "--tolerance is nan; give points"),
    ],
)
def test_a_comparison_that_cannot_be_is_one_line(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["compare", *words.split(), "--output", str(tmp_path / "none")])

    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_finished_run_is_put_beside_its_paper_and_only_numbers_go_to_stdout(
    tiny_suite: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    file = tmp_path / "made_up.csv"
    file.write_text("table,method,rank,target_task,connector,variant,target,avg\n1,lora,2,new_squares,full,,300,300\n")
    made_up = Paper("made_up", "none", "tiny", ("old_squares",), ("new_squares",), {"full": "full"}, ("1",), 2.0, file)
    monkeypatch.setattr(registry, "load_paper", {"made_up": made_up}.__getitem__)
    output = str(tmp_path / "runs")
    assert (
        main(["run", "--suite", "tiny", "--methods", "lora", "--ranks", "2", "--lanes", "0", "--output", output]) == 0
    )
    capsys.readouterr()

    code = main(["compare", "--paper", "made_up", "--format", "csv", "--output", output])

    captured = capsys.readouterr()
    lines = list(csv.DictReader(io.StringIO(captured.out)))
    assert code == 0
    assert [(line["method"], line["of"], line["published"], line["verdict"]) for line in lines] == [
        ("lora", "target", "3", "below"),
        ("lora", "avg", "3", "below"),
    ]
    assert "Of 2 compared numbers: 0 reproduced, 0 above, 2 below, 0 cannot tell (tolerance 2 points)." in captured.err
    assert "Not in the paper's tables: zero_shot on new_squares" in captured.err
