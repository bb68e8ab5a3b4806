"""The pages become a site that opens from the disk. Without the extra docs these tests are skipped and say so."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

pytestmark = pytest.mark.slow

pytest.importorskip("material", reason="MkDocs Material is not installed: pip install 'retain-bench[docs]'")

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "site" / "build.py"
TAGS = ("h1", "h2", "h3", "h4", "li", "pre", "table", "tr", "img")


@pytest.fixture(scope="module")
def builder() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def built(builder: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the site of this checkout was built."""
    folder = tmp_path_factory.mktemp("build")
    done = builder["build"](folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of what the site is built from."""
    for name in ("docs", "methods", "tasks", "results", "deploy", "bench"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.md"):
        shutil.copy(path, tmp_path)
    return tmp_path


def counted(html: str) -> Counter[str]:
    """Return how often the tags of TAGS open."""
    return Counter(tag for tag in re.findall(r"<(\w+)", html) if tag in TAGS)


def test_the_site_has_every_page_of_docs_and_those_that_the_index_names(built: Path, builder: dict[str, Any]) -> None:
    docs = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    named = {Path(builder["place"](path)).with_suffix(".html") for _, pages in builder["groups"]() for _, path in pages}

    assert Path("repository/methods/readme.html") in named
    assert Path("add-a-method.html") in named
    assert [str(path) for path in sorted(docs | named) if not (built / "site" / path).is_file()] == []


def test_the_navigation_is_the_index(builder: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")

    titles = [title for part in builder["navigation"]() for title in part]
    assert titles == ["Documentation", *re.findall(r"^## (.+)$", text, re.MULTILINE)]
    assert text.count("\n* ") == sum(len(pages) for _, pages in builder["groups"]())


def test_a_page_has_the_same_headings_lists_tables_and_code_as_on_github(built: Path, builder: dict[str, Any]) -> None:
    """GitHub reads CommonMark; Python-Markdown wants empty lines and indents that CommonMark does not."""
    github, different = MarkdownIt("commonmark").enable("table"), []
    for path in sorted(path for path in builder["sources"]() if path.suffix == ".md"):
        page = (built / "site" / builder["place"](path)).with_suffix(".html").read_text(encoding="utf-8")
        article = page.partition("<article")[2].partition("</article>")[0]
        text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        if counted(github.render(text)) != counted(article):
            different.append((path.name, counted(github.render(text)), counted(article)))

    assert different == []


def test_no_page_asks_another_address_for_anything(built: Path) -> None:
    loads = re.compile(r'<(?:script|img|iframe|link)\b[^>]*(?:src|href)="?(?:https?:)?//[^>]*>')

    assert {
        load for page in (built / "site").rglob("*.html") for load in loads.findall(page.read_text("utf-8"))
    } == set()


def test_a_broken_link_a_broken_anchor_and_a_page_that_the_index_lacks_are_refused(copied: Path) -> None:
    (copied / "docs" / "lost.md").write_text("# Lost\n", encoding="utf-8")
    with (copied / "docs" / "price.md").open("a", encoding="utf-8") as page:
        page.write("\n[one](nowhere.md) [two](theory.md#nowhere) [three](../README.md#nowhere) [four](../LICENSE)\n")

    done = subprocess.run(
        [sys.executable, str(copied / "docs" / "site" / "build.py")], capture_output=True, encoding="utf-8", check=False
    )

    assert done.returncode == 1
    assert "'nowhere.md', but the target is not found" in done.stderr
    assert "'theory.md#nowhere', but the doc 'theory.md' does not contain an anchor '#nowhere'" in done.stderr
    assert "'repository/readme.md#nowhere', but the doc" in done.stderr
    assert "unrecognized relative link '../LICENSE'" in done.stderr
    assert re.search(
        r'pages exist in the docs directory, but are not included in the "nav"[^\n]*\n\s+- lost.md', done.stderr
    )


def test_a_link_leads_from_one_folder_to_another(built: Path) -> None:
    page = (built / "site" / "repository" / "tasks" / "readme.html").read_text(encoding="utf-8")
    readme = (built / "site" / "repository" / "readme.html").read_text(encoding="utf-8")

    assert 'href="../../add-a-task.html"' in page
    assert 'href="../getting-started.html"' in readme


def test_a_reader_opens_the_site_from_the_disk_and_searches_it(built: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    troubles: list[str] = []
    with sync_api.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 400, "height": 900})
        page.set_default_timeout(180_000)  # milliseconds; a busy machine is slow
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("requestfailed", lambda asked: troubles.append(asked.url))
        page.on(
            "request", lambda asked: None if asked.url.startswith(("file:", "data:")) else troubles.append(asked.url)
        )
        page.goto((built / "site" / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 400

        page.click("label[for=__search]")
        page.locator("input[name=query]").press_sequentially("Clopper")
        page.click(".md-search-result__item a")
        page.wait_for_url("**/intervals.html*")

        browser.close()
    assert troubles == []
