"""Draw the rooms of the engine and their imports: ``python docs/architecture_picture.py`` writes architecture.svg.

Floors are those of the layer contract in .importlinter. Purposes are the docstrings of the rooms. Arrows are run-time
imports. An arrow that a longer way down implies is left out, and so is every arrow to the ground floor, which all rooms
import.
"""

from __future__ import annotations

import ast
import textwrap
from configparser import ConfigParser
from html import escape
from pathlib import Path

import grimp

HERE = Path(__file__).parent
ROOT = HERE.parent
PICTURE = HERE / "architecture.svg"

_WIDTH, _FLOOR, _HIGH, _MARGIN = 1000, 104, 69, 16
_FROM = {"plan": 0.5}  # where a room that is alone on its floor begins, so that an arrow passes it
_STYLE = (
    "text{font:14px sans-serif;fill:#1d2733}.purpose{font-size:11px;fill:#51606f}"
    "rect{fill:#eef3f7;stroke:#7d93a6;rx:6}line{stroke:#7d93a6;stroke-width:1.2;marker-end:url(#tip)}"
)


def floors() -> list[list[str]]:
    """Return the rooms of each floor, from the command line down; the files of the ground share one floor."""
    config = ConfigParser()
    config.read(ROOT / ".importlinter")
    text = config["importlinter:contract:rooms"]["layers"]
    rows = [[room.strip() for room in line.split("|")] for line in text.split("\n") if line.strip()]
    ground = [room for row in rows for room in row if (ROOT / "bench" / f"{room}.py").is_file()]
    return [*(row for row in rows if not set(row) & set(ground)), ground]


def purpose(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    path = ROOT / "bench" / room / "__init__.py"
    path = path if path.is_file() else ROOT / "bench" / f"{room}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def arrows() -> set[tuple[str, str]]:
    """Return which room imports which at run time."""
    graph = grimp.build_graph("bench", exclude_type_checking_imports=True)
    pairs = (
        (module.split(".")[1], imported.split(".")[1])
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if module.count(".") and imported.count(".")
    )
    return {(one, other) for one, other in pairs if other != one != "__main__"}  # which only starts the command line


def reduced(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows that no longer way down implies."""
    below: dict[str, set[str]] = {}
    for one, other in pairs:
        below.setdefault(one, set()).add(other)

    def reach(room: str) -> set[str]:
        return {far for near in below.get(room, ()) for far in (near, *reach(near))}

    return {
        (one, other) for one, other in pairs if not any(other in reach(near) for near in below[one] if near != other)
    }


def drawn(rows: list[list[str]], pairs: set[tuple[str, str]]) -> str:
    """Return the picture as SVG."""
    boxes = _boxes(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {len(rows) * _FLOOR}" role="img">',
        f"<title>The rooms of bench/ and their imports</title><style>{_STYLE}</style>",
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#7d93a6"/></marker>',
        '<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>',
    ]
    for one, other in sorted(pairs):
        (x, y, wide), (to_x, to_y, to_wide) = boxes[one], boxes[other]
        start = min(max(x + wide / 2, to_x + 24), x + wide - 24)
        end = min(max(start, to_x + 24), to_x + to_wide - 24)
        parts.append(f'<line x1="{start:.0f}" y1="{y + _HIGH:.0f}" x2="{end:.0f}" y2="{to_y - 1:.0f}"/>')
    for room, (x, y, wide) in boxes.items():
        parts.append(f'<rect x="{x:.0f}" y="{y}" width="{wide:.0f}" height="{_HIGH}"/>')
        parts.append(f'<text x="{x + 10:.0f}" y="{y + 20}">{room}</text>')
        lines = textwrap.wrap(escape(purpose(room)), int((wide - 16) / 6), max_lines=3, placeholder=" …")
        parts += [
            f'<text class="purpose" x="{x + 10:.0f}" y="{y + 35 + 13 * number}">{line}</text>'
            for number, line in enumerate(lines)
        ]
    return "\n".join([*parts, "</svg>", ""])


def _boxes(rows: list[list[str]]) -> dict[str, tuple[float, float, float]]:
    """Return left edge, top edge and width of every room's box."""
    boxes = {}
    for floor, rooms in enumerate(rows):
        left = _MARGIN + _WIDTH * _FROM.get(rooms[0], 0.0)
        wide = (_WIDTH - left - _MARGIN * len(rooms)) / len(rooms)
        for place, room in enumerate(rooms):
            boxes[room] = (left + place * (wide + _MARGIN), float(_MARGIN + floor * _FLOOR), wide)
    return boxes


def picture() -> str:
    """Return the picture of the engine as it is now."""
    rows = floors()
    ground = set(rows[-1])
    return drawn(rows, {(one, other) for one, other in reduced(arrows()) if other not in ground})


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
