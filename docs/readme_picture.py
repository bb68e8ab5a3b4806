"""Draw the picture of the README, Source against Target: ``python docs/readme_picture.py`` writes source-target.svg.

The numbers are read from the first table of docs/results-micro.md. Hollow dots are the defaults of methods that also
have a tuned row here; all other dots are filled: tuned rows, LoRA at its own default, LoRA with a frozen connector, and
the base model. Lines are 95 % intervals, whose longer side the table prints.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE / "results-micro.md"
PICTURE = HERE / "source-target.svg"

# row of the table: its label, colour, and where its label begins
ROWS = {
    "zero_shot": ("zero-shot", "#7b5aa6", (94, 93.55, "start")),
    "lora": ("LoRA", "#1d2733", (790, 89.95, "start")),
    "dora tuned": ("DoRA, tuned", "#0072b2", (790, 88.55, "start")),
    "model_tailor": ("Model Tailor, default", "#00845c", (520, 92.75, "start")),
    "model_tailor tuned": ("Model Tailor, tuned", "#00845c", (790, 90.65, "start")),
    "lorasculpt": ("LoRASculpt, default", "#c2500a", (432, 89.0, "end")),
    "lorasculpt tuned": ("LoRASculpt, tuned", "#c2500a", (790, 89.25, "start")),
    "(lora frozen connector)": ("LoRA, connector frozen", "#6b7785", (790, 91.45, "start")),
}
PAIRS = (
    ("model_tailor", "model_tailor tuned"),
    ("lorasculpt", "lorasculpt tuned"),
)  # from the default to the tuned row

_WIDTH, _HEIGHT = 960, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 770, 44, 410
_X, _Y = (20.0, 100.0), (87.5, 94.0)  # Target and Source at the edges
_STYLE = (
    "text{font:14px sans-serif;fill:#1d2733}.axis{fill:#51606f}.title{font-size:15px;font-weight:bold}"
    ".grid{stroke:#dde4ea}.before{stroke:#7b5aa6;stroke-dasharray:3 4}.moved{stroke-width:1.2;stroke-dasharray:5 4}"
    ".lead{stroke:#a8b4bf}.interval{stroke-width:1.6;opacity:.55}"
)

Score = tuple[float, float]


def rows() -> dict[str, tuple[Score, Score]]:
    """Return Target and Source, each with the longer side of its interval, of the rows that the picture shows."""
    table = TABLE.read_text(encoding="utf-8").partition("```text\ntarget icon_choice")[2].partition("\ntarget ")[0]
    found = {}
    for line in table.splitlines():
        name, _, numbers = line.strip().partition("  ")
        pairs = re.findall(r"(\d+\.\d+)[=*]? +±(\d+\.\d+)", numbers)
        if name in ROWS and len(pairs) >= 3 and name not in found:
            (source, near), (target, far) = (tuple(map(float, pair)) for pair in pairs[:2])
            found[name] = ((target, far), (source, near))
    return found


def x(target: float) -> float:
    """Return where a Target is on the picture."""
    return _LEFT + (target - _X[0]) / (_X[1] - _X[0]) * (_RIGHT - _LEFT)


def y(source: float) -> float:
    """Return where a Source is on the picture."""
    return _BOTTOM - (source - _Y[0]) / (_Y[1] - _Y[0]) * (_BOTTOM - _TOP)


def picture() -> str:
    """Return the picture as SVG."""
    found = rows()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>Source against Target on micro</title><style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *_axes(found["zero_shot"][1][0]),
    ]
    for default, tuned in PAIRS:
        (at, _), (height, _) = found[default]
        (to, _), (top, _) = found[tuned]
        parts.append(_line(x(at), y(height), x(to), y(top), "moved", ROWS[default][1]))
    for name, (target, source) in found.items():
        parts += _dot(name, target, source)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(before: float) -> list[str]:
    parts = [
        f'<text class="title" x="{_LEFT}" y="24">What was learnt, and what was kept: micro, icon_choice, rank 32</text>'
    ]
    for target in range(20, 101, 20):
        parts.append(_line(x(target), _TOP, x(target), _BOTTOM, "grid"))
        parts.append(_text(x(target), _BOTTOM + 20, str(target), "middle", "axis"))
    for source in range(88, 95):
        parts.append(_line(_LEFT, y(source), _RIGHT, y(source), "grid"))
        parts.append(_text(_LEFT - 8, y(source) + 5, str(source), "end", "axis"))
    parts.append(_line(_LEFT, y(before), _RIGHT, y(before), "before"))
    parts.append(_text(_RIGHT - 6, y(before) - 6, "Source before training", "end", "axis"))
    parts.append(_text((_LEFT + _RIGHT) / 2, _BOTTOM + 46, "Target: the new task", "middle", "axis"))
    middle = (_TOP + _BOTTOM) / 2
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(24 {middle:.1f}) rotate(-90)">'
        "Source: the old tasks</text>"
    )
    return parts


def _dot(name: str, target: Score, source: Score) -> list[str]:
    label, colour, (left, height, anchor) = ROWS[name]
    (at, far), (top, near) = target, source
    fill = "#ffffff" if name in {default for default, _ in PAIRS} else colour
    end = left - 5 if anchor == "start" and left > x(at) else left + 5
    parts = [
        _line(x(at - far), y(top), x(at + far), y(top), "interval", colour),
        _line(x(at), y(top - near), x(at), y(top + near), "interval", colour),
        f'<circle cx="{x(at):.1f}" cy="{y(top):.1f}" r="5" fill="{fill}" stroke="{colour}" stroke-width="2"/>',
        _text(left, y(height) + 5, label, anchor),
    ]
    lead = [] if name == "zero_shot" else [_line(x(at), y(top), end, y(height), "lead")]
    return [*lead, *parts]


def _line(left: float, top: float, right: float, bottom: float, kind: str, colour: str = "") -> str:
    stroke = f' stroke="{colour}"' if colour else ""
    return f'<line class="{kind}"{stroke} x1="{left:.1f}" y1="{top:.1f}" x2="{right:.1f}" y2="{bottom:.1f}"/>'


def _text(left: float, top: float, text: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
