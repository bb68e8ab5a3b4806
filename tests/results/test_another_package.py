"""Reports of a package of somebody else's: an entry point and a module are all that it takes."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.cli.leaderboard import LeaderboardOptions
from bench.cli.reports import print_board, write_reports
from bench.errors import PluginError, UsageError
from bench.leaderboard.tables import Leaderboard
from bench.plugins import registry
from tests.making.commands import typed

REPORT = '''
def write(leaderboard, path):
    """Write the file's own name, and the targets."""
    path.write_bytes({start} + " ".join([path.name, *(table.target for table in leaderboard.tables)]).encode())
    return path
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package that holds one report under a name; ``first`` is the first line of its module."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def put(name: str, first: str = "", start: bytes = b"") -> None:
        module = f"somebody_{name}"
        (site / f"{module}.py").write_text(first + REPORT.format(start=start), encoding="utf-8")
        info = site / f"{module}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[bench.reports]\n{name} = {module}:write\n", encoding="utf-8")
        registry.installed.cache_clear()

    yield put
    registry.installed.cache_clear()
    for path in site.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_it_is_printed_like_any_other(
    install: Install, leaderboard: Leaderboard, capsys: pytest.CaptureFixture[str]
) -> None:
    install("page", 'SUFFIX = "html"\n')

    options = typed(LeaderboardOptions, "--format", "page")
    print_board(leaderboard, options.format)

    assert capsys.readouterr().out == "leaderboard.html icon_choice scene_caption"


def test_its_file_has_the_suffix_that_its_module_names_or_else_its_own_name(
    install: Install, leaderboard: Leaderboard, tmp_path: Path
) -> None:
    install("page", 'SUFFIX = "html"\n')
    install("yaml")

    files = write_reports(leaderboard, tmp_path / "runs")

    assert {path.name for path in files} == {
        f"leaderboard.{end}" for end in ("csv", "html", "json", "md", "parquet", "tex", "txt", "yaml")
    }
    assert all(path.is_file() for path in files)


def test_two_reports_never_write_one_file(install: Install, leaderboard: Leaderboard, tmp_path: Path) -> None:
    install("page", 'SUFFIX = "md"\n')

    with pytest.raises(PluginError, match=r"markdown and page both write leaderboard\.md"):
        write_reports(leaderboard, tmp_path / "runs")


def test_the_engines_own_file_is_not_overwritten(install: Install, leaderboard: Leaderboard, tmp_path: Path) -> None:
    install("json")

    with pytest.raises(PluginError, match=r"The report json writes leaderboard\.json, as the engine does"):
        write_reports(leaderboard, tmp_path / "runs")


def test_one_that_is_no_text_is_not_printed(install: Install, leaderboard: Leaderboard) -> None:
    install("png", start=b"\x89PNG")

    with pytest.raises(UsageError, match=r"png is not text.*leaderboard\.png"):
        print_board(leaderboard, "png")
