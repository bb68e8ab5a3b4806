"""Write a report page: an HTML file, and next to it a folder with its style, script, data as scripts, and pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.store.drafts import replace_file, staged
from bench.store.places import remove

if TYPE_CHECKING:
    from jinja2 import Environment

INDEX = "index.html"
FILES = "files"  # the folder of what an HTML file loads
_TEMPLATES = "templates"
_STATIC = ("page.css", "page.js")
_EARLIER = ("data", "pictures", *_STATIC)  # where earlier pages had these files
PAGE_BYTES = 5_000_000  # of all files of a page; its tables are never left out
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
    """Write a page into a folder and return the path of its HTML file.

    What the HTML file loads lies in a folder named by its content. It is written first, then the HTML file, and then
    the files of the earlier page are removed. So a command that is killed leaves the earlier page or the new one whole.

    Raises:
        WriteError: the disk refuses a file.
    """
    parts = _parts(page)
    place = f"{FILES}/{_digest(parts)}"
    html = _html(page, place)
    with staged(folder / place) as here:
        for name, data in parts.items():
            (here / name).parent.mkdir(exist_ok=True)
            (here / name).write_bytes(data)
    replace_file(folder / INDEX, html)
    for old in (folder / FILES).iterdir():
        if old.name != (folder / place).name:
            remove(old)
    for name in _EARLIER:
        remove(folder / name)
    return folder / INDEX


def room_in(page: Page) -> int:
    """Return how many bytes a page leaves of those that it may have."""
    return PAGE_BYTES - len(_html(page, FILES).encode()) - sum(map(len, _parts(page).values()))


def data_size(data: object) -> int:
    """Return the bytes of data in a page."""
    return len(as_json(data).encode())


def _html(page: Page, place: str) -> str:
    """Return the HTML of a page whose other files are in the folder ``place``."""
    template = _templates().get_template("page.html")
    return template.render(page=page, rows=as_json(page.rows), files=place, place=as_json(place))


def _parts(page: Page) -> dict[str, bytes]:
    """Return the files that a page loads, by their path."""
    found = {name: files("bench.page").joinpath(_TEMPLATES, name).read_bytes() for name in _STATIC}
    for name, data in page.data.items():
        found[f"data/{name}.js"] = f"page.take({as_json(name)}, {as_json(data)});\n".encode()
    return found | {f"pictures/{name}": picture for name, picture in page.pictures.items()}


def _digest(parts: Mapping[str, bytes]) -> str:
    """Return a short digest of files and their paths."""
    whole = hashlib.sha256()
    for name, data in parts.items():
        whole.update(f"{name} {len(data)}\n".encode())
        whole.update(data)
    return whole.hexdigest()[:10]


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
