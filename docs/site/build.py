"""Build the site of the pages: ``python docs/site/build.py`` writes build/site/, which opens from a file.

docs/index.md is the only list of pages: its groups are the navigation. A page of another folder that the index names is
brought into the site under ``repository/``, and so is every file that a page links to. GitHub shows the same pages as
they are: what only Python-Markdown needs is added to the copies in build/pages/. MkDocs then refuses a page that is not
in the navigation, and a link or an anchor that leads nowhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent
ROOT = DOCS.parent
INDEX = DOCS / "index.md"
SETTINGS = HERE / "mkdocs.yml"

_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r'(\]\(|\b(?:src|srcset|href)=")([^)"\s#:]+)')
_ENTRY = re.compile(r"^\* \[([^\]]+)\]\(([^)\s]+)\)", re.MULTILINE)


def groups() -> Iterator[tuple[str, list[tuple[str, Path]]]]:
    """Yield the groups of the index, each with the title and the path of its pages: the first link of each line."""
    for part in INDEX.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        yield title, [(name.replace("`", ""), (DOCS / link).resolve()) for name, link in _ENTRY.findall(text)]


def place(path: Path) -> str:
    """Return where the site has a file of the repository. Code of other folders is text, which a browser shows."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    inside = path.relative_to(ROOT).as_posix()
    return f"repository/{inside.lower() if path.suffix == '.md' else inside + '.txt'}"


def navigation() -> list[dict[str, Any]]:
    """Return the groups of the index as MkDocs reads them. The pages of a folder NAME/ belong to the page NAME.md."""
    found: list[dict[str, Any]] = [{"Documentation": INDEX.name}]
    for title, pages in groups():
        found.append({title: [{name: _with_parts(path)} for name, path in pages]})
    return found


def _with_parts(path: Path) -> str | list[Any]:
    parts = sorted((DOCS / path.stem).glob("*.md")) if path.parent == DOCS else []
    return [{"Overview": place(path)}, *map(place, parts)] if parts else place(path)


def sources() -> set[Path]:
    """Return the files of the site: those of docs/, the pages that the index names, and the files that these link to.

    A page outside docs/ that the index does not name is left out, so that links to it are refused.
    """
    found = {path for path in DOCS.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc", ".yml")}
    found |= {path for _, pages in groups() for _, path in pages if path.is_file()}
    for page in [path for path in found if path.suffix == ".md"]:
        found |= {path for path in _linked(page) if path.suffix != ".md" and path.is_file()}
    return found


def _linked(page: Path) -> set[Path]:
    """Return what a page links to in the repository."""
    found = (page.parent / link for _, link in _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))))
    return {path.resolve() for path in found if path.resolve().is_relative_to(ROOT)}


def gather(folder: Path) -> None:
    """Copy the files of the site into a folder, with the links of pages rewritten."""
    found = sources()
    for path in found:
        target = folder / place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(page(path, found), encoding="utf-8")
        else:
            shutil.copyfile(path, target)


def page(path: Path, known: Iterable[Path]) -> str:
    """Return a page whose links lead to where the site has their files, as Python-Markdown reads it."""
    start = Path(place(path)).parent

    def moved(link: re.Match[str]) -> str:
        target = (path.parent / link[2]).resolve()
        return link[1] + (os.path.relpath(place(target), start) if target in known else link[2])

    parts = _FENCED.split(path.read_text(encoding="utf-8"))
    return "".join(_titled(part) if part.startswith("```") else _spaced(_LINK.sub(moved, part)) for part in parts)


def _titled(block: str) -> str:
    """Return a block of code whose title is in quotes if it is the name of a file, and left out otherwise."""
    head, _, body = block.partition("\n")
    head = re.sub(r' title="?([^\s"]+)"?', lambda title: f' title="{title[1]}"' if "." in title[1] else "", head)
    return f"{head}\n{body}"


def _spaced(text: str) -> str:
    """Return text with an empty line before each list and table that follows a paragraph or a heading."""
    return re.sub(r"^(?![*|\d ])(\S.*)\n(?=\* |1\. |\|)", r"\1\n\n", text, flags=re.MULTILINE)


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site into ``folder``/site; the error output says what is wrong with it.

    MkDocs counts only the warnings that it prints, so it must not be quiet.
    """
    shutil.rmtree(folder / "pages", ignore_errors=True)
    gather(folder / "pages")
    settings = SETTINGS.read_text(encoding="utf-8") + yaml.safe_dump({"nav": navigation()}, sort_keys=False)
    (folder / SETTINGS.name).write_text(settings, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", str(folder / SETTINGS.name)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},  # Material's notice, which is no fault of a page
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )


if __name__ == "__main__":
    done = build(ROOT / "build")
    sys.exit(done.stderr if done.returncode else 0)
