"""Every report shows every row with its marks, its holes and their reasons, and nothing typed by others as markup."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.errors import PluginError
from bench.leaderboard.heading import Heading
from bench.leaderboard.tables import Problem
from bench.plugins import registry
from bench.results import latex, markdown, sequence_table
from bench.sequences.as_json import as_json
from bench.sequences.board import SequenceBoard, SequenceRow
from bench.sequences.build import build
from bench.sequences.reports import render, write_reports
from tests.making.sequences import SOURCES, TASK_ID, broken, chain, key, untouched
from tests.sequences.conftest import TASKS

GOLDEN = Path(__file__).parent / "golden"
UGLY = "<b>*a_b*</b>|`$x$ [l](u)\\%#"


def small() -> SequenceBoard:
    """Return a board of two tasks with a tie, a failure, a control, and a row that knows the task."""
    order = TASKS[:2]
    chains = [
        chain(key("lora"), order, [(80, 30), (70, 60)], [(70, 60), (30, 20)]),
        chain(key("slao"), order, [(80, 30), (79, 64)], [(70, 60), (60, 50)]),
        chain(key("c_lora"), order, [(80, 30), (73, 60)], [(70, 60), (30, 20)]),
        chain(key("lilora", given=TASK_ID), order, [(80, 30), (80, 61)], [(70, 60), (30, 20)]),
        broken(chain(key("loda"), order, [(80, 30), (70, 60)]), 2, "out of memory\n(_50%_)"),
        chain(key("lora", "independent", given=TASK_ID), order, [(80, 30), (29, 62)], apart=True),
    ]
    heading = Heading(
        "micro", "bench sequence --tasks icon_choice,scene_caption", {"commit": ["0123abc"], "device": ["cpu"]}
    )
    base = untouched(dict(zip(order, (50, 28), strict=True)))
    return build(chains, base, tasks=order, sources=SOURCES, heading=heading)


def changed(board: SequenceBoard, name: str, **fields: Any) -> SequenceBoard:
    """Return a board in whose first block the row of a method is changed."""
    block = board.blocks[0]
    rows = [replace(row, **fields) if row.key.name == name else row for row in block.rows]
    return replace(board, blocks=(replace(block, rows=tuple(rows)), *board.blocks[1:]))


def ugly() -> SequenceBoard:
    """Return a board on which everything that others type is markup in some format."""
    board = small()
    row = next(row for row in board.blocks[0].rows if row.key.name == "loda")
    named = replace(row.key, method=UGLY, given=UGLY, remark=UGLY)
    board = changed(board, "loda", key=named, problems=(Problem(0, "failed", f"{UGLY}\n# {UGLY}"),))
    return replace(board, heading=replace(board.heading, suite=UGLY, command=f"bench `{UGLY}`", at_chance=(UGLY,)))


def lines_of(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip().startswith(start)]


@pytest.mark.parametrize("file", ["sequence.txt", "sequence.md", "sequence.tex", "sequence.csv"])
def test_the_reports_of_a_fixed_board(file: str, tmp_path: Path) -> None:
    write_reports(small(), tmp_path)

    assert (tmp_path / file).read_text(encoding="utf-8") == (GOLDEN / file).read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_format_is_written_and_named(board: SequenceBoard, tmp_path: Path) -> None:
    files = write_reports(board, tmp_path / "reports")

    ends = ("-matrix.csv", ".csv", ".json", ".md", ".tex", ".txt")
    assert sorted(path.name for path in files) == sorted(f"sequence{end}" for end in ends)
    assert all(path.is_file() for path in files)


@pytest.mark.parametrize("width", [160, 120, 100, 80])
def test_the_text_fits_its_width(board: SequenceBoard, board_of_two_seeds: SequenceBoard, width: int) -> None:
    for each in (board, board_of_two_seeds):
        assert max(len(line) for line in render(each, width).plain.splitlines()) <= width


def test_a_narrow_text_leaves_out_columns_in_the_stated_order(board: SequenceBoard) -> None:
    left_out = []
    for width in (250, 160, 120, 100, 80):
        (line,) = re.findall(r"Left out at this width: ([^.]*)\.", render(board, width).plain) or [""]
        left_out.append([name for name in " ".join(line.split()).split(", ") if name and name != "± of scores"])

    assert left_out[0] == []
    assert left_out[-1] == list(sequence_table.DROPPED[: len(left_out[-1])])
    for wide, narrow in pairwise(left_out):
        assert narrow[: len(wide)] == wide
    page = (Path(__file__).parents[2] / "docs" / "sequences.md").read_text(encoding="utf-8")
    stated = ", ".join(sequence_table.DROPPED)
    assert stated in " ".join(page.split())


def test_a_column_that_no_row_has_is_not_shown() -> None:
    order = TASKS[:2]
    bare = chain(key("lora"), order, [(80, 30), (70, 60)], [None, None])
    board = build([replace(bare, forms={})], None, tasks=order, sources=(), heading=Heading("micro"))

    text = render(board, 200).plain

    head = text.partition("\n lora ")[0]
    assert "MIF" not in head
    assert "Source" not in head
    assert "MAP" in head


def test_the_text_marks_the_best_the_tied_and_what_was_given() -> None:
    text = render(small(), 160).plain

    assert " slao " in text
    assert re.search(r"^ slao +71\.50\*", text, re.MULTILINE)
    assert re.search(r"^ lilora ‡ +70\.50 ", text, re.MULTILINE)
    assert re.search(r"^ \(lora independent\) ‡", text, re.MULTILINE)
    assert "‡ lilora r16, lora independent r16: task id given" in text
    assert re.search(r"^ loda  seed 0 failed: stage 2 \(scene_caption\): out of memory \(_50%_\)$", text, re.MULTILINE)


def test_every_seed_is_shown_if_there_are_few(board: SequenceBoard, board_of_two_seeds: SequenceBoard) -> None:
    assert "seed 1" in render(board_of_two_seeds, 120).plain
    assert "range - lora" in render(board_of_two_seeds, 80).plain
    assert "range - lora" not in render(board, 120).plain


def test_several_orders_have_a_summary(board: SequenceBoard) -> None:
    for text in (render(board, 120).plain, markdown.render_sequences(board), latex.render_sequences(board)):
        assert "ver 2 orders" in text
    assert "ver 2 orders" not in render(small(), 120).plain


def test_markdown_has_no_markup_of_others() -> None:
    text = markdown.render_sequences(ugly())

    rest = "\n".join(line for line in text.splitlines() if not line.startswith("* Command"))
    assert "<b>" not in rest.replace("\\<b", "")
    assert "](u)" not in rest.replace("\\](u)", "")
    assert f"* Command: `` bench `{UGLY}` ``" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in tables]
    assert set(widths[:8]) == {widths[0]}
    assert not lines_of(text, f"# {UGLY}")


def test_latex_has_no_markup_of_others() -> None:
    lines = latex.render_sequences(ugly()).splitlines()
    text = "\n".join(line for line in lines if not line.startswith("% "))  # TeX skips the whole line of a comment

    assert text.count("{") == text.count("}")
    assert re.sub(r"\\\$|\$(\^\{=\}|\^\{\\ddagger\}|\\pm|-)\$", "", text).count("$") == 0
    assert re.findall(r"(?<!\\)[%#&_]", text.replace(" & ", "")) == []
    bodies = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert all(line.startswith(("{", "Method")) for line in bodies)


def test_every_line_of_a_latex_table_fills_its_columns(board: SequenceBoard) -> None:
    for table in latex.render_sequences(board).split(r"\begin{tabular}")[1:]:
        (found,) = re.findall(r"^\{([lc]+)\}", table)
        columns = len(found)
        for line in table.splitlines():
            if line.endswith("\\\\"):
                spanned = sum(int(part.split("}")[0]) - 1 for part in line.split(r"\multicolumn{")[1:])
                assert line.replace("\\&", "").count("&") + 1 + spanned == columns


def test_the_csv_has_a_line_per_row_and_the_matrix_a_line_per_score(board: SequenceBoard, tmp_path: Path) -> None:
    write_reports(board, tmp_path)

    rows = pd.read_csv(tmp_path / "sequence.csv")
    matrix = pd.read_csv(tmp_path / "sequence-matrix.csv")
    assert len(rows) == sum(len(block.rows) for block in board.blocks)
    assert set(rows["order"]) == {" ".join(order) for order in board.orders}
    failed = rows[rows["method"] == "c_lora"]
    assert failed["ap"].isna().all()
    assert failed["problems"].str.contains("out of memory").all()
    of = matrix[(matrix["method"] == "slao") & (matrix["order"] == " ".join(TASKS)) & matrix["seed"].isna()]
    slao = next(row for row in board.blocks[0].rows if row.key.name == "slao")
    for stage in slao.stages:
        for task, found in stage.scores.items():
            (line,) = of[(of["stage"] == stage.number) & (of["of"] == task)].to_dict("records")
            assert (line["value"], line["low"], line["high"]) == pytest.approx((found.value, found.low, found.high))
    assert set(of["of"]) == {*TASKS, *SOURCES, "AP", "Source"}


def test_the_csv_quotes_what_others_type(tmp_path: Path) -> None:
    board = ugly()
    write_reports(changed(board, UGLY, key=replace(board.blocks[0].rows[5].key, method='a,"b"\n')), tmp_path)

    assert 'a,"b"\n' in set(pd.read_csv(tmp_path / "sequence.csv")["method"])


def test_json_has_every_number_and_no_nan(board: SequenceBoard, tmp_path: Path) -> None:
    write_reports(board, tmp_path)

    read = json.loads((tmp_path / "sequence.json").read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps(as_json(board)))
    for block, lines in zip(board.blocks, read["blocks"], strict=True):
        for row, line in zip(block.rows, lines["rows"], strict=True):
            assert _values(row) == {name: found["value"] for name, found in line["metrics"].items()}
            assert [stage["stage"] for stage in line["stages"]] == [stage.number for stage in row.stages]
    assert len(read["orders"]) == len(board.summary)


def _values(row: SequenceRow) -> dict[str, float]:
    return {name: found.value for name, found in row.metrics.items()}


def test_two_reports_of_one_board_have_the_same_bytes(board: SequenceBoard, tmp_path: Path) -> None:
    one, other = (write_reports(board, tmp_path / name) for name in ("one", "other"))

    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package of somebody else's with a report."""
    site = tmp_path / "site"
    (info := site / "somebody-1.dist-info").mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[bench.reports]\njson = somebody_report:write\n", encoding="utf-8")
    monkeypatch.syspath_prepend(site)
    registry.installed.cache_clear()
    yield site
    registry.installed.cache_clear()
    sys.modules.pop("somebody_report", None)


def report(folder: Path, lines: Sequence[str]) -> None:
    body = ["def write(board, path):", "    return path", *lines]
    (folder / "somebody_report.py").write_text("\n".join([*body, ""]), encoding="utf-8")


WRITES = ("def write_sequences(board, path):", "    path.write_text(board.heading.suite)", "    return path")


def test_a_report_without_sequences_is_skipped_with_a_line(
    installed: Path, board: SequenceBoard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(installed, [])

    files = write_reports(board, tmp_path / "out")

    assert len(files) == 6
    assert capsys.readouterr().err == "The report json does not show sequences, because it has no write_sequences.\n"


def test_a_report_of_another_package_is_written(installed: Path, board: SequenceBoard, tmp_path: Path) -> None:
    report(installed, ['SUFFIX = "html"', *WRITES])

    write_reports(board, tmp_path / "out")

    assert (tmp_path / "out" / "sequence.html").read_text(encoding="utf-8") == "micro"


def test_a_report_does_not_write_the_engines_own_file(installed: Path, board: SequenceBoard, tmp_path: Path) -> None:
    report(installed, WRITES)

    with pytest.raises(PluginError, match=r"The report json writes sequence\.json, as the engine does"):
        write_reports(board, tmp_path / "out")
    assert not (tmp_path / "out" / "sequence.md").exists()
