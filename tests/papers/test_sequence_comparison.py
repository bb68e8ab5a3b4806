"""The verdict on every number that the tables of a sequence and a made-up paper both have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import PluginError, SequencePaper, UsageError
from bench.papers import comparison_text
from bench.papers.comparison import Comparison
from bench.papers.sequence_comparison import compare_sequences
from bench.sequences.board import SequenceBoard
from tests.making.sequences import SOURCES, TASK_ID, broken, chain, key
from tests.making.worked_sequence import ALONE, TASKS, WORKED, alone, built, made, plain

HEAD = "table,method,rank,order,connector,variant,a,b,c,ap,bwt,mif"
OURS = (
    "1,zero_shot,,a.b.c,,,50,28,22,,,",
    "1,lora,16,a.b.c,full,,64,54,90,69.33,-11,36",  # the worked example: AP is 69.33 and BWT -11
    "1,slao,16,a.b.c,full,,60,54,90,75,,",
    "1,lora,16,a.b.c,full,independent,,,,77.67,0,",
)


def paper_of(folder: Path, *rows: str, head: str = HEAD, sources: tuple[str, ...] = ()) -> SequencePaper:
    file = folder / f"made_up_{len(rows)}_{len(sources)}.csv"
    file.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return SequencePaper("made_up", "Nobody, 2026", "micro", sources, {"full": "full"}, ("1",), 2.0, file)


def board() -> SequenceBoard:
    return built(plain(), made("slao"), made("c_lora"), alone())


def points(value: float) -> float:
    return round(100 * value, 2)


def verdicts(found: Comparison) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Our value, the paper's and the difference, in points, by row and column."""
    return {
        (each.key.name, each.column): (points(each.ours.value), points(each.published), points(each.difference.value))
        for each in found.numbers
    }


def test_the_scores_after_the_last_stage_and_what_sums_them_up_are_compared(tmp_path: Path) -> None:
    found = verdicts(compare_sequences(paper_of(tmp_path, *OURS), board(), 2.0))

    assert found["lora", "a"] == (64.0, 64.0, 0.0)
    assert found["lora", "ap"] == (69.33, 69.33, 0.0)
    assert found["lora", "bwt"] == (-11.0, -11.0, 0.0)
    assert found["slao", "ap"] == (69.33, 75.0, -5.67)
    assert found["zero_shot", "c"] == (22.0, 22.0, 0.0)
    assert found["lora independent", "ap"] == (round(sum(ALONE[i][i] for i in range(3)) / 3, 2), 77.67, 0.0)
    assert len(found) == 3 + 6 + 4 + 2


def test_rows_orders_and_columns_that_one_side_lacks_are_named(tmp_path: Path) -> None:
    rows = (
        *OURS[1:3],
        "1,loda,16,a.b.c,full,,,,,70,,",
        "1,lora,16,c.b.a,full,,,,,70,,",
        "2,lora,32,a.b.c,full,,,,,1,,",
    )
    paper = paper_of(tmp_path, *(f"{row},50" for row in rows), head=f"{HEAD},source", sources=SOURCES)

    found = compare_sequences(paper, built(plain(sources=[None, None, None]), made("slao"), alone()), 2.0)

    assert found.remarks == (
        "lora r16 on a.b.c: the paper also has Source, which this sequence did not measure",
        "Not in the paper's tables: zero_shot on a.b.c",
        "Not in the paper's tables: lora independent on a.b.c, rank 16, connector full",
        "Only in the paper's tables: loda on a.b.c, rank 16, connector full",
        "Only in the paper's tables: the order c.b.a",
    )


@pytest.mark.parametrize(
    ("sources", "reasons", "compared"),
    [((), (), False), (SOURCES, (), True), (SOURCES, ("it lacks the paper's source tasks gqa",), False)],
)
def test_source_is_compared_only_if_it_is_the_same_mean(
    sources: tuple[str, ...], reasons: tuple[str, ...], compared: bool, tmp_path: Path
) -> None:
    paper = paper_of(tmp_path, f"{OURS[1]},50", head=f"{HEAD},source", sources=sources)

    found = compare_sequences(paper, board(), 2.0, reasons)

    assert (("lora", "source") in verdicts(found)) == compared
    assert ("lora", "ap") in verdicts(found)
    assert [line for line in found.remarks if "Source" in line] == [
        f"Source is not compared: {reason}" for reason in reasons
    ]


def test_of_two_orders_the_one_that_both_have_is_compared(tmp_path: Path) -> None:
    backwards = TASKS[::-1]

    found = compare_sequences(
        paper_of(tmp_path, *OURS), built(plain(), alone(), plain(order=backwards), alone(backwards)), 2.0
    )

    assert {number.place for number in found.numbers} == {"a.b.c"}
    assert "Not in the paper's tables: lora, lora independent on c.b.a, rank 16, connector full" in found.remarks


def test_a_joint_training_is_compared_after_its_last_stage(tmp_path: Path) -> None:
    joint = replace(
        chain(key("lora", "joint"), TASKS, WORKED), stages=chain(key("lora", "joint"), TASKS, WORKED).stages[-1:]
    )
    joint = replace(joint, asked=joint.asked[-1:])
    paper = paper_of(tmp_path, "1,lora,16,a.b.c,full,joint,64,54,90,69.33,,")

    found = verdicts(compare_sequences(paper, built(plain(), alone(), joint), 2.0))

    assert found["lora joint", "c"] == (90.0, 90.0, 0.0)
    assert found["lora joint", "ap"] == (69.33, 69.33, 0.0)


def test_a_stage_that_failed_is_named_and_its_row_compared_as_far_as_it_goes(tmp_path: Path) -> None:
    slao = broken(made("slao"), 3, "out of memory")

    found = compare_sequences(paper_of(tmp_path, *OURS), built(plain(), slao, alone()), 2.0)

    assert ("slao", "ap") not in verdicts(found)
    assert "slao r16 on a.b.c: seed 0 failed: stage 3 (c): out of memory" in found.remarks


def test_another_order_is_refused_with_the_command_of_the_papers(tmp_path: Path) -> None:
    order = TASKS[::-1]
    backwards = built(plain(order=order), alone(order))

    with pytest.raises(UsageError, match=r"has the order a\.b\.c, but this sequence has c\.b\.a\..*--tasks a,b,c"):
        compare_sequences(paper_of(tmp_path, *OURS), backwards, 2.0)


def test_no_row_in_common_is_an_error_that_says_what_was_published(tmp_path: Path) -> None:
    other = built(chain(key("lilora", given=TASK_ID), TASKS, [[1, 1, 1]] * 3))

    with pytest.raises(UsageError, match=r"no number in common\. The tables have the rows lora, slao; ranks 16\. Run"):
        compare_sequences(paper_of(tmp_path, *OURS[1:3]), other, 2.0)


def test_a_column_that_means_nothing_is_an_error_of_the_paper(tmp_path: Path) -> None:
    paper = paper_of(tmp_path, *(f"{row},5" for row in OURS), head=f"{HEAD},MAA")

    with pytest.raises(PluginError, match=r"has MAA for zero_shot on a\.b\.c, which is neither a task of this order"):
        compare_sequences(paper, board(), 2.0)


def test_the_text_names_the_order_and_both_numbers(tmp_path: Path) -> None:
    found = compare_sequences(paper_of(tmp_path, *OURS), board(), 2.0)

    text = [" ".join(line.split()) for line in comparison_text.table(found)]
    markdown = "\n".join(comparison_text.markdown(found))
    csv = list(comparison_text.comma_separated(found))

    assert "compared with Nobody, 2026, tables 1" in text
    assert any(line.startswith("order a.b.c suite micro, connector full, seed 0") for line in text)
    assert any(line.startswith("lora AP 69.33 ±") and " 69.33 +0.00 " in line for line in text)
    assert "## Order a.b.c" in markdown
    assert "| lora independent | 16 | full | AP |" in markdown
    assert csv[0].startswith("paper,table,suite,order,method,variant,rank,connector,of,value")
    assert any(line.startswith("made_up,1,micro,a.b.c,lora,independent,16,full,ap,") for line in csv)
    assert "independent" in markdown


def test_a_paper_without_rows_of_its_tables_is_an_error_of_the_paper(tmp_path: Path) -> None:
    paper = replace(paper_of(tmp_path, *OURS), tables=("7",))

    with pytest.raises(PluginError, match=r"has no row of the tables 7\. Correct the paper's tables"):
        compare_sequences(paper, board(), 2.0)


def test_a_paper_with_task_scores_alone_has_a_table_of_them(tmp_path: Path) -> None:
    found = compare_sequences(paper_of(tmp_path, "1,lora,16,a.b.c,full,,64,54,90,,,"), board(), 2.0)

    text = [" ".join(line.split()) for line in comparison_text.table(found)]

    assert any(line.startswith("lora a 64.00 ±") for line in text)
