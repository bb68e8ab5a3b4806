"""The guides for plugin authors: their code blocks, and their tables of what a plugin gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w+)(?: title=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,4} (.+)$", re.MULTILINE)
_CODE = re.compile(r"`(\w+)(?:\([^`]*\))?`")


def page(path: str) -> str:
    """Return the text of a page, by its path in the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def blocks(path: str) -> dict[str, str]:
    """Return a page's fenced blocks by title, or by language if they have none."""
    return {title or language: content for language, title, content in _BLOCK.findall(page(path))}


def table_rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the rows of all tables under a heading, up to the next heading of any level."""
    plain = _BLOCK.sub("", text)
    found = list(_HEADING.finditer(plain))
    at = next(number for number, match in enumerate(found) if match.group(1) == heading)
    end = found[at + 1].start() if at + 1 < len(found) else len(plain)
    lines = [line for line in plain[found[at].end() : end].splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if not set("".join(row)) <= set("-: ")]


def names(cell: str) -> list[str]:
    """Return the names that a cell has as code: of ``scale`` and of ``merged(weight)``, without the brackets."""
    return _CODE.findall(cell)


def named_under(text: str, heading: str) -> set[str]:
    """Return the names in the first column of the tables under a heading."""
    return {name for row in table_rows(text, heading) for name in names(row[0])}


def kinds(text: str, heading: str) -> Mapping[str, set[str]]:
    """Return the names in the second column under a heading, by the single name in the first."""
    return {names(row[0])[0]: set(names(row[1])) for row in table_rows(text, heading) if names(row[0])}
