"""The files of a page: what they show, and that no text of others becomes code."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.leaderboard.build import build
from bench.leaderboard.heading import Heading
from bench.page import changed, ranking, sequence
from bench.page.build import page_of, run_page
from bench.page.changed_stages import changed_stages
from bench.page.page import Page, Section, as_json, forward, write_page
from bench.page.rows import PageRows
from bench.page.svg import themed
from bench.page.thumbnails import Budget, thumbnails
from bench.sequences.board import SEQUENCE_COLUMNS
from bench.sequences.plot import save_plot
from tests.making import boards
from tests.page.conftest import EVIL, PLANTED, MadeRun, MadeSequence

NASTY = "</td><script>window.broken=3</script><img src=x onerror=alert(1)>\"'&$x$"


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def data_of(folder: Path, name: str) -> dict[str, Any]:
    (path,) = folder.glob(f"files/*/data/{name}.js")
    text = path.read_text(encoding="utf-8")
    found = re.fullmatch(r'page\.take\("[^"]*", (.*)\);\n', text)
    assert found is not None
    assert not set("<>&\u2028") & set(text)
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


def scripts_of(path: Path) -> int:
    """Return how many scripts a page has: that of every page, and the line that starts it. No other is allowed."""
    scripts = [attributes for tag, attributes in Tags(path.read_text(encoding="utf-8")).tags if tag == "script"]
    assert re.fullmatch(r"files/[0-9a-f]{10}/page\.js", scripts[0]["src"] or "")
    assert scripts[1:] == [{}]
    return len(scripts)


@pytest.mark.slow
def test_a_page_is_one_folder_that_fetches_nothing(made_run: MadeRun, tmp_path: Path) -> None:
    path = made_run.write(tmp_path / "page")

    tags = Tags(path.read_text(encoding="utf-8")).tags
    addresses = [value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")]
    assert addresses
    for address in addresses:
        assert address is not None
        assert address.startswith(("#", "data:,")) or (path.parent / address).is_file(), address
    everything = [file for file in path.parent.rglob("*") if file.is_file()]
    assert {file.suffix for file in everything} == {".html", ".css", ".js", ".webp"}
    for file in everything:
        if file.suffix != ".webp":
            text = file.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
            assert "http:" not in text
            assert "https:" not in text


@pytest.mark.slow
def test_the_page_has_every_part_and_every_row(made_run: MadeRun, tmp_path: Path) -> None:
    path = made_run.write(tmp_path / "page")

    found = Tags(path.read_text(encoding="utf-8"))
    sections = [attributes.get("id") for tag, attributes in found.tags if tag == "section"]
    assert sections == ["leaderboard", "tradeoff", "kept", "forgotten", "costs", "reading", "origin"]
    rows = {attributes["data-row"] for tag, attributes in found.tags if tag == "tr" and "data-row" in attributes}
    assert len(rows) == 7
    assert {"rank 2", "rank 4", "before training"} <= set(re.findall(r"rank \d|before training", found.text))
    assert "bench run lora-r2-new_squares-s0" in found.text


def test_the_page_names_the_base_model_and_not_the_suite(made_run: MadeRun, tmp_path: Path) -> None:
    suite = made_run.plan.request.suite

    text = Tags(made_run.write(tmp_path / "page").read_text(encoding="utf-8")).text

    assert f"Base model {suite.model_name}, revision {suite.revision()}." in text
    assert suite.model_name not in (suite.name, suite.model)


def test_a_figure_carries_the_rows_of_the_page(made_run: MadeRun, tmp_path: Path) -> None:
    page = made_run.page()

    (figure,) = next(section for section in page.sections if section.anchor == "tradeoff").values["figures"]
    drawn = set(re.findall(r'data-row="(r\d+)"', figure.svg))
    assert drawn == {row for row, of in page.rows.items() if of["rank"]} | {"r0"}
    assert "#262626" not in figure.svg
    assert "var(--ink)" in figure.svg


@pytest.mark.slow
def test_no_text_of_a_stored_reply_becomes_code(made_run: MadeRun, tmp_path: Path) -> None:
    path = made_run.write(tmp_path / "page")

    assert scripts_of(path) == 2
    data = data_of(path.parent, "changed-0")
    assert isinstance(data["examples"], list)
    (planted,) = [example for example in data["examples"] if example["question"] == EVIL["question"]]
    assert planted["answers"] == [EVIL["answer"]]
    assert EVIL["reply"] + EVIL["answer"] in data["replies"]


def test_no_name_of_a_method_or_task_becomes_code(tmp_path: Path) -> None:
    scores = {"source": boards.right(5), NASTY: boards.right(6)}
    cells = [boards.cell(name, NASTY, scores) for name in ("lora", NASTY)]
    zero_shot = boards.zero_shot(scores)
    board = build(cells, zero_shot, sources=["source"], targets=[NASTY], heading=Heading(NASTY, command=NASTY))
    rows = PageRows.of_board(board)
    values = {"board": board, "tables": ranking.tables(board, rows)}
    sections = [Section("a", NASTY, "leaderboard.html", values), Section("b", NASTY, "kept.html", values)]

    path = write_page(
        Page(NASTY, board.setting, NASTY, "today", sections, rows.names, rows.ranks, rows.as_json()), tmp_path
    )

    html = path.read_text(encoding="utf-8")
    tags = Tags(html).tags
    assert scripts_of(path) == 2
    assert not [tag for tag, attributes in tags if tag == "img" or any(name.startswith("on") for name in attributes)]
    assert NASTY in Tags(html).text


@pytest.mark.parametrize(
    ("name", "title", "caption"),
    [
        ("new_squares-r2", "", "Trade-off curves of new_squares, rank 2."),
        ("fig3", "Figure 3: after each epoch", "Figure 3: after each epoch."),
    ],
)
def test_a_written_figure_has_its_title_and_not_the_name_of_its_file(
    name: str, title: str, caption: str, made_run: MadeRun, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.svg"
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>', encoding="utf-8")
    page = run_page(made_run.board, made_run.plan, made_run.store, [path], lambda record: "", title)

    html = write_page(page, tmp_path / "page").read_text(encoding="utf-8")

    assert f"<figcaption><strong>{caption}</strong>" in html
    assert f"{name.replace('_', ' ')}." not in html


def test_variants_that_were_not_tuned_are_not_called_tuned(made_run: MadeRun, tmp_path: Path) -> None:
    rows = PageRows.of_board(made_run.board)
    table = ranking.tables(made_run.board, rows)[0]
    values = {"board": made_run.board, "tables": [replace(table, tuned=table.blocks)]}
    page = page_of(made_run.board, "t", [Section("leaderboard", "Leaderboard", "leaderboard.html", values)], rows)

    html = write_page(page, tmp_path / "page").read_text(encoding="utf-8")

    assert "<h4>Variants and default side by side</h4>" in html
    assert "Tuned" not in html


def test_a_change_says_whether_the_form_or_the_knowledge_is_lost(made_run: MadeRun) -> None:
    rows = PageRows.of_board(made_run.board)

    source = next(
        task for task in changed.changed_tasks(made_run.plan, made_run.store, rows) if task.task == "old_squares"
    )

    kinds = {example.example["question"]: {change.kind for change in example.changes} for example in source.examples}
    assert kinds == {EVIL["question"]: {"form"}, f"what is it? {PLANTED + 2}": {"knowledge"}}
    assert [example.lost_by for example in source.examples] == [3, 3]


def test_a_task_is_compared_with_its_own_stage_and_a_source_with_the_base_model(made_sequence: MadeSequence) -> None:
    chains = made_sequence.chains
    rows = PageRows.of(chain.key for chain in chains.chains())

    by_task = {task.task: task for task in changed_stages(chains, made_sequence.store, rows)}

    places = {
        name: {change.place for each in task.examples for change in each.changes} for name, task in by_task.items()
    }
    assert places == {
        "new_squares": {"new_squares, old_squares"},
        "old_squares": {"old_squares, new_squares"},
        "icon_choice": {"new_squares, old_squares", "old_squares, new_squares"},
    }
    for task in by_task.values():
        assert [next(change.kind for change in each.changes) for each in task.examples] == ["form", "knowledge"]
        assert [each.lost_by for each in task.examples] == [2, 2]
        assert {(change.base, change.score) for each in task.examples for change in each.changes} == {(1.0, 0.0)}
    apart = [rows.id(chain.key) for chain in chains.chains() if chain.apart]
    assert not {change.row for task in by_task.values() for each in task.examples for change in each.changes} & {*apart}


def test_every_metric_of_a_sequence_is_explained() -> None:
    assert sequence._SAYS.keys() == SEQUENCE_COLUMNS.keys()


@pytest.mark.slow
def test_the_figure_of_a_sequence_says_in_words_what_it_shows(made_sequence: MadeSequence, tmp_path: Path) -> None:
    page = made_sequence.page(save_plot(made_sequence.board, tmp_path))

    (figure,) = next(section for section in page.sections if section.anchor == "lines").values["figures"]
    assert figure.title == "Rank 2"
    assert figure.says == "A panel for each order, a line for each row; bars are 95 % intervals."
    assert 'aria-label="Rank 2"' in figure.svg


def test_of_captions_only_the_largest_losses_are_kept(made_run: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "CAPTIONS", "exact")
    monkeypatch.setattr(changed, "CAPTION_LOSSES", 1)
    rows = PageRows.of_board(made_run.board)

    for task in changed.changed_tasks(made_run.plan, made_run.store, rows):
        assert [change.kind for example in task.examples for change in example.changes] == ["lost"] * 6


@pytest.mark.slow
def test_a_task_whose_pictures_may_not_be_copied_has_none(
    made_run: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = made_run.plan.request.registry
    monkeypatch.setattr(registry.task_class("old_squares"), "pictures_may_be_copied", False)

    path = made_run.write(tmp_path / "page")

    text = Tags(path.read_text(encoding="utf-8")).text
    assert "The pictures of old_squares are not shown, because the task does not say that they may be copied." in text
    by_task = {data["task"]: data for data in (data_of(path.parent, f"changed-{number}") for number in range(2))}
    assert not any(example["picture"] for example in by_task["old_squares"]["examples"])
    assert all(example["picture"] for example in by_task["new_squares"]["examples"])


def test_pictures_stop_at_the_budget_and_say_so(made_run: MadeRun) -> None:
    task = made_run.plan.request.tasks.load("old_squares")
    ids = [example.id for example in task.examples("test")]
    whole = thumbnails(task, "test", ids, Budget(10**6), "x-")
    first = len(whole[1][whole[0][ids[0]]])

    names, files, remark = thumbnails(task, "test", ids, Budget(first), "x-")

    assert list(names) == ids[:1]
    assert len(files) == 1
    assert remark == "Only 1 examples of old_squares have a picture, to keep the page small."
    assert whole[2] == ""


@pytest.mark.slow
def test_a_page_that_is_written_again_leaves_no_file_of_the_earlier_one(made_run: MadeRun, tmp_path: Path) -> None:
    page = made_run.page()
    folder = tmp_path / "page"
    (folder / "pictures").mkdir(parents=True)  # where an earlier version kept them
    write_page(page, folder)

    path = write_page(replace(page, pictures={}), folder)

    assert not list(folder.rglob("*.webp"))
    assert {each.name for each in folder.iterdir()} == {"index.html", "files"}
    (files,) = (folder / "files").iterdir()
    assert f"files/{files.name}/page.js" in path.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["bench.page.page.replace_file", "bench.page.page.remove"])
def test_a_page_whose_writing_is_cut_off_is_whole(
    where: str, made_run: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    page, folder = made_run.page(), tmp_path / "page"
    path = write_page(page, folder)
    monkeypatch.setattr(where, killed)

    with pytest.raises(KeyboardInterrupt):
        write_page(replace(page, title="another", pictures=dict(list(page.pictures.items())[:1])), folder)

    html = path.read_text(encoding="utf-8")
    assert ("<title>another</title>" in html) == (where == "bench.page.page.remove")
    sources = [each["src"] for tag, each in Tags(html).tags if tag == "script" and "src" in each]
    assert all((folder / str(source)).is_file() for source in sources)
    files = (folder / str(sources[0])).parent
    assert len(list(files.glob("pictures/*.webp"))) == (1 if where == "bench.page.page.remove" else len(page.pictures))


def test_data_is_safe_inside_a_script() -> None:
    text = as_json({"a": "</script><!--\u2028\u2029&"})

    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": "</script><!--\u2028\u2029&"}


def test_the_address_of_the_latest_page_is_text() -> None:
    html = forward('../reports/"><script>/index.html')

    assert [tag for tag, _ in Tags(html).tags if tag == "script"] == []


def test_ids_of_two_figures_differ() -> None:
    svg = '<?xml?><svg width="1"><g id="a" clip-path="url(#p)"/><use xlink:href="#m"/><g id="row:x"/></svg>'

    text = themed(svg, "f1", {"row:x": "r3"}, "a <b>")

    assert text == (
        '<svg role="img" aria-label="a &lt;b&gt;" width="1"><g id="f1-a" clip-path="url(#f1-p)"/>'
        '<use xlink:href="#f1-m"/><g data-row="r3"/></svg>'
    )


def test_a_run_with_holes_has_a_page(made_run: MadeRun, tmp_path: Path) -> None:
    for cell in made_run.plan.cells[::2]:
        record = made_run.store.read(cell.trial)
        assert record is not None
        made_run.store.write(replace(record, status="failed", scores={}, error="broke"))

    text = Tags(made_run.write(tmp_path / "page").read_text(encoding="utf-8")).text

    assert "failed: broke" in text
