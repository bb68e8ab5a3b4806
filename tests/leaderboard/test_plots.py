import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.leaderboard import plots


def draw(folder: Path) -> tuple[Path, Path]:
    with plots.style():
        figure = plots.figure(3, 2)
        axes = figure.subplots()
        for index, mark in enumerate(plots.MARKS):
            axes.plot([0, 1], [index, index + 1], **mark.line)
            axes.scatter([0.5], [index], **mark.scatter)
        axes.set_xlabel("Source x 100")
        return plots.save(figure, folder, "lines")


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2.2, 0 to 1."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_same_data_give_the_same_bytes_and_no_date(tmp_path: Path) -> None:
    first, second = draw(tmp_path / "a"), draw(tmp_path / "b")

    assert [path.name for path in first] == ["lines.png", "lines.svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert "<dc:date>" not in first[1].read_text(encoding="utf-8")


def test_text_in_an_svg_is_text(tmp_path: Path) -> None:
    _, svg = draw(tmp_path)

    assert ">Source x 100</text>" in svg.read_text(encoding="utf-8")


def test_a_png_has_150_pixels_to_the_inch(tmp_path: Path) -> None:
    png, _ = draw(tmp_path)

    header = png.read_bytes()[16:24]
    assert (int.from_bytes(header[:4]), int.from_bytes(header[4:])) == (450, 300)


def test_settings_of_the_process_neither_count_nor_change(tmp_path: Path) -> None:
    import matplotlib

    plain = draw(tmp_path / "plain")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        other = draw(tmp_path / "other")
        assert matplotlib.rcParams["font.size"] == 30

    assert plain[0].read_bytes() == other[0].read_bytes()


@pytest.mark.parametrize("part", ["color", "marker"])
def test_every_series_differs_from_every_other_in_colour_and_in_marker(part: str) -> None:
    assert len({getattr(mark, part) for mark in plots.MARKS}) == len(plots.MARKS) == 8


def test_every_colour_stands_out_from_white() -> None:
    assert min(1.05 / (luminance(mark.color) + 0.05) for mark in plots.MARKS) > 2  # yellow, left out: 1.3


def test_the_numbers_are_saved_next_to_a_figure(tmp_path: Path) -> None:
    path = plots.save_data(pd.DataFrame({"source": [0.5], "form": ["a, b"]}), tmp_path / "new", "lines")

    assert path.read_text(encoding="utf-8") == 'source,form\n0.5,"a, b"\n'


def test_a_name_in_the_numbers_of_a_figure_is_no_formula(tmp_path: Path) -> None:
    path = plots.save_data(pd.DataFrame({"method": ["=cmd()"], "source": [-0.5]}), tmp_path, "lines")

    assert path.read_bytes() == b"method,source\n'=cmd(),-0.5\n"


@pytest.mark.slow
def test_importing_it_imports_neither_matplotlib_nor_pandas_and_drawing_no_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.leaderboard import plots; "
        "assert not {'matplotlib', 'pandas'} & set(sys.modules); "
        f"plots.save(plots.figure(1, 1), Path({str(tmp_path)!r}), 'x'); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
