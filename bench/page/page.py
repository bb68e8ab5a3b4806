"""Write a report page: one folder with an HTML file, its style and script, data as scripts, and small pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.store.places import remove, staged

if TYPE_CHECKING:
    from jinja2 import Environment

INDEX = "index.html"
_TEMPLATES = "templates"
_STATIC = ("page.css", "page.js")
# A script of data is a file of its own, but these letters end a script or a line in some readers, so they are escaped.
_ESCAPED = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: ``anchor`` is its address, ``template`` draws it, and ``values`` is what the template reads."""

    anchor: str
    title: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its heading, its sections, its filters, and its files.

    ``data`` has what the page's script loads when it needs it, by the name of the file. ``pictures`` has files by name.
    ``filters`` has the names of rows and the ranks that a reader can hide.
    """

    title: str
    setting: str
    command: str
    made: str
    sections: Sequence[Section]
    names: Sequence[str] = ()
    ranks: Sequence[int] = ()
    rows: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def write_page(page: Page, folder: Path) -> Path:
    """Write a page into a folder and return the path of its HTML file. Earlier files of the same name are replaced.

    Raises:
        WriteError: the disk refuses a file.
    """
    for kind in ("data", "pictures"):  # of an earlier page, whose task may not allow copies of pictures any more
        remove(folder / kind)
    with staged(folder) as here:
        html = _templates().get_template("page.html").render(page=page, rows=as_json(page.rows))
        (here / INDEX).write_text(html, encoding="utf-8")
        for name in _STATIC:
            text = files("bench.page").joinpath(_TEMPLATES, name).read_text(encoding="utf-8")
            (here / name).write_text(text, encoding="utf-8")
        for kind, parts in (("data", page.data), ("pictures", page.pictures)):
            if parts:
                (here / kind).mkdir()
        for name, data in page.data.items():
            text = f"page.take({as_json(name)}, {as_json(data)});\n"
            (here / "data" / f"{name}.js").write_text(text, encoding="utf-8")
        for name, found in page.pictures.items():
            (here / "pictures" / name).write_bytes(found)
    return folder / INDEX


def forward(address: str) -> str:
    """Return the HTML of a page that leads to another one at a relative address."""
    return _templates().get_template("forward.html").render(address=address)


def as_json(data: object) -> str:
    """Return data as JSON that is safe inside a script, whatever texts the data hold.

    >>> as_json("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_ESCAPED)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("bench.page", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
