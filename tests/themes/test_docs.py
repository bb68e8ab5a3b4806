"""The README and docs/ lead to files that exist, and every command they print is one that bench understands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import bench
from bench.cli.arguments import option_name, titled_fields
from bench.cli.parser import parse
from bench.cli.verbs import leaves
from bench.errors import UsageError

ROOT = Path(__file__).parents[2]
FOLDERS = ("methods", "tasks", "results", "deploy")
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "AGENTS.md"),
    *(ROOT / folder / "README.md" for folder in FOLDERS),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SHELL = re.compile(r"^```(?:console|bash|sh|shell)\b[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = re.compile(r"^```yaml title=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(text: str) -> Iterator[str]:
    """Yield every bench command of a page's shell blocks, without prompt and comment."""
    for block in SHELL.findall(text):
        for line in block.splitlines():
            for part in line.removeprefix("$ ").partition("  #")[0].partition(" > ")[0].split("&&"):
                if part.strip().startswith("bench "):
                    yield part.strip()


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def understood(line: str) -> bool:
    try:
        return parse(shlex.split(line)[1:]) is not None
    except (SystemExit, UsageError):
        return False


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_relative_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    for link in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
        if "://" not in link:
            place, _, anchor = link.partition("#")
            target = path.parent / place if place else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_command_is_one_that_bench_understands(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").touch()
    for file, text in OPTIONS.findall(path.read_text(encoding="utf-8")):
        (tmp_path / file).write_text(text, encoding="utf-8")

    assert [line for line in commands(path.read_text(encoding="utf-8")) if not understood(line)] == []


@pytest.mark.parametrize("line", ["bench rnu", "bench run --rank 8", "bench data", "bench export lora"])
def test_a_command_with_a_mistake_is_not_understood(line: str) -> None:
    assert list(commands(f"```console\n$ {line}  # why\n```\n")) == [line]
    assert not understood(line)


def linked(path: Path) -> set[Path]:
    """Return the files to which a page has a link."""
    links = LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8")))
    return {(path.parent / link.partition("#")[0]).resolve() for link in links if "://" not in link and link[0] != "#"}


def test_every_page_can_be_reached_from_the_index_by_following_links() -> None:
    reached, new = set[Path](), {(ROOT / "docs" / "index.md").resolve()}
    while new:
        reached |= new
        new = {page.resolve() for page in PAGES} & set.union(*map(linked, new)) - reached

    assert [name(path) for path in PAGES if path.resolve() not in reached] == []


def test_the_index_names_every_page_that_has_no_overview_of_its_own() -> None:
    index = ROOT / "docs" / "index.md"
    named = linked(index) | linked(ROOT / "docs" / "methods.md")

    assert [name(path) for path in PAGES if path != index and path.resolve() not in named] == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=name)
def test_every_page_with_a_command_says_what_was_not_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert "```console" not in text or "what-was-not-run.md" in text


def test_the_readme_has_at_most_150_lines_that_fit_a_screen() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()

    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_line_of_a_page_fits_a_screen_except_tables_and_commands(path: Path) -> None:
    lines = FENCED.sub("", path.read_text(encoding="utf-8")).splitlines()

    assert [line for line in lines if len(line) > 120 and not line.startswith(("|", "    bench "))] == []


def made_by(script: str, function: str) -> str:
    """Return what a function of a script in docs/ returns, in a process of its own."""
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])[sys.argv[2]](), end='')"
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code, str(ROOT / "docs" / script), function],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("script", "picture"),
    [("architecture_picture.py", "architecture.svg"), ("readme_picture.py", "source-target.svg")],
)
def test_a_picture_is_drawn_from_the_code_and_the_numbers_as_they_are(script: str, picture: str) -> None:
    kept = (ROOT / "docs" / picture).read_text(encoding="utf-8")

    assert made_by(script, "picture") == kept, "draw it again: make picture"


def test_the_rows_of_the_readme_are_rows_of_the_page_of_results() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    page = (ROOT / "docs" / "results-micro.md").read_text(encoding="utf-8").partition("target scene_caption")[0]
    published = [re.split(r" {2,}| (?=[-+±\d])", line.strip()) for line in page.splitlines()]
    rows = [re.split(r" {2,}| (?=[-+±\d])", line.strip()) for line in table.splitlines() if re.search(r"±\d", line)]

    assert len(rows) == 10
    for name, tries, *numbers in rows:
        assert any(row[:2] == [name, tries] and set(numbers) <= set(row) for row in published), name


@pytest.mark.slow
def test_the_page_of_the_command_line_is_written_from_the_parsers_as_they_are() -> None:
    kept = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")

    assert made_by("command_line_page.py", "page") == kept, "write it again: make pages"


@pytest.mark.slow
def test_the_table_of_a_batchs_memory_is_written_from_the_plan_as_it_is() -> None:
    kept = (ROOT / "docs" / "price.md").read_text(encoding="utf-8")

    assert made_by("memory_table.py", "page") == kept, "write it again: make pages"


def test_the_page_of_the_command_line_has_every_option_of_every_command() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for words, verb in leaves():
        section = text.partition(f"\n## bench {words}\n")[2].partition("\n## ")[0]
        known = [item for _, item in titled_fields(verb.options) if item.name not in verb.options.hidden]
        wanted = [option_name(item) for item in known if not item.metadata.get("positional")]
        assert [name for name in wanted if f"| `{name}" not in section] == [], words


def test_every_room_is_on_the_page_of_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

    rooms = [path.parent.name for path in (ROOT / "bench").glob("*/__init__.py")]
    assert len(rooms) == 16
    assert [room for room in rooms if f"| `{room}/` |" not in text] == []


def test_every_move_leads_to_a_file_that_exists() -> None:
    rows = re.findall(
        r"^\| `[^|]*` \| (.*?) \|", (ROOT / "docs" / "moves.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    paths = {path for row in rows for path in re.findall(r"`([\w/]+\.py)`", row)}

    assert len(paths) > 100
    assert [path for path in sorted(paths) if not (ROOT / "bench" / path).is_file()] == []


def test_the_citation_names_the_version_that_is_installed() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")

    assert yaml.safe_load(text)["version"] == bench.__version__
