from dataclasses import replace
from pathlib import Path

from bench.leaderboard.tables import Leaderboard
from bench.results import latex

GOLDEN = Path(__file__).parent / "golden"


def test_the_latex_of_a_fixed_leaderboard(leaderboard: Leaderboard, tmp_path: Path) -> None:
    written = latex.write(leaderboard, tmp_path / "leaderboard.tex")

    assert written.read_text(encoding="utf-8") == (GOLDEN / "leaderboard.tex").read_text(encoding="utf-8")


def test_every_line_of_the_body_fills_the_columns(leaderboard: Leaderboard) -> None:
    columns = len(leaderboard.columns) + 3  # method, forgetting, and the difference from the baseline
    lines = [line for line in latex.render(leaderboard).splitlines() if line.endswith("\\\\")]

    assert lines
    for line in lines:
        spanned = sum(int(part.split("}")[0]) - 1 for part in line.split(r"\multicolumn{")[1:])
        assert line.replace("\\&", "").count("&") + 1 + spanned == columns


def test_braces_and_the_other_special_characters_stay_in_balance(leaderboard: Leaderboard) -> None:
    text = latex.render(leaderboard)

    assert "out of memory (\\_50\\%\\_)" in text
    assert text.count("{") == text.count("}")


def test_names_are_those_of_papers_and_no_name_becomes_a_command(leaderboard: Leaderboard) -> None:
    titles = {"lora": "LoRA", "dora": r"\input{secret}", "easy_vqa": "easy-VQA", "icon_choice": "50% & $x$\n\\end"}
    heading = replace(leaderboard.heading, titles=titles)

    text = latex.render(replace(leaderboard, heading=heading))

    assert "{LoRA} & 60.00" in text
    assert "Method & easy-VQA & sign\\_words & Source" in text
    assert r"\input" not in text
    assert r"{\textbackslash{}input\{secret\}} & 65.00" in text
    assert r"Fine-tuned on 50\% \& \$x\$" in text


def test_no_task_s_name_becomes_a_command(leaderboard: Leaderboard) -> None:
    evil, second = "x}\\input{secret}\n\n\\end{table*}", "名"
    names = [evil, second]
    tables = tuple(replace(table, target=name) for table, name in zip(leaderboard.tables, names, strict=True))

    text = latex.render(replace(leaderboard, tables=tables))

    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert [line for line in body if line.startswith("\\label")] == [
        "\\label{tab:x-input-secret-end-table}",
        "\\label{tab:target-2}",
    ]
    assert not [line for line in body if "\\input" in line]
    assert sum("\\end{table*}" in line for line in body) == 2
    caption = next(line for line in body if line.startswith("\\caption"))
    assert r"Fine-tuned on x\}\textbackslash{}input\{secret\} \textbackslash{}end\{table*\}, suite" in caption


def test_labels_of_usual_names_say_the_target(leaderboard: Leaderboard) -> None:
    labels = [line for line in latex.render(leaderboard).splitlines() if line.startswith("\\label")]

    assert labels == ["\\label{tab:icon-choice}", "\\label{tab:scene-caption}"]


def test_a_caption_is_short_and_the_notes_are_comments(leaderboard: Leaderboard) -> None:
    captions = [line for line in latex.render(leaderboard).splitlines() if line.startswith(r"\caption")]

    assert all(len(caption) < 200 for caption in captions)
    assert any("With one seed" in line for line in latex.render(leaderboard).splitlines() if line.startswith("% "))
