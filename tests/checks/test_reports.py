"""One deliberately broken report per check, and one that keeps every rule."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import Leaderboard, PluginError
from bench.checks import checks_in, reports
from bench.checks.reports import (
    check_names_other_environments,
    check_report_is_stable,
    check_shows_every_row,
    check_shows_holes_and_failures,
    check_writes_its_file,
    fixed_leaderboard,
)


def plain(leaderboard: Leaderboard, path: Path) -> Path:
    """Write every row and every problem; keeps every rule."""
    lines = []
    for table in leaderboard.tables:
        for row in table.rows:
            scores = [f"{100 * item.value:.2f}" for item in row.scores.values()]
            lines += [" ".join([row.label, *scores]), f"{row.label}: {row.trouble}"]
        lines += table.remarks
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def returns_another_path(leaderboard: Leaderboard, path: Path) -> Path:
    return plain(leaderboard, path).parent


def writes_two_files(leaderboard: Leaderboard, path: Path) -> Path:
    plain(leaderboard, path.with_suffix(".more"))
    return plain(leaderboard, path)


def drops_the_last_rows(leaderboard: Leaderboard, path: Path) -> Path:
    lines = plain(leaderboard, path).read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("lora r16 ")), encoding="utf-8")
    return path


def drops_failures(leaderboard: Leaderboard, path: Path) -> Path:
    lines = plain(leaderboard, path).read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if "failed" not in line), encoding="utf-8")
    return path


def drops_holes(leaderboard: Leaderboard, path: Path) -> Path:
    lines = plain(leaderboard, path).read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if "missing" not in line), encoding="utf-8")
    return path


def writes_the_time(leaderboard: Leaderboard, path: Path) -> Path:
    path.write_text(f"{plain(leaderboard, path).read_text(encoding='utf-8')}\n{time.monotonic_ns()}", encoding="utf-8")
    return path


def hides_environments(leaderboard: Leaderboard, path: Path) -> Path:
    lines = plain(leaderboard, path).read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if "†" not in line), encoding="utf-8")
    return path


BROKEN = [
    (check_writes_its_file, returns_another_path),
    (check_writes_its_file, writes_two_files),
    (check_shows_every_row, drops_the_last_rows),
    (check_shows_holes_and_failures, drops_failures),
    (check_shows_holes_and_failures, drops_holes),
    (check_report_is_stable, writes_the_time),
    (check_names_other_environments, hides_environments),
]


@pytest.mark.parametrize(("check", "report"), [pytest.param(*pair, id=pair[1].__name__) for pair in BROKEN])
def test_a_check_catches_the_report_that_breaks_its_rule(
    check: Any, report: Callable[[Leaderboard, Path], Path]
) -> None:
    with pytest.raises(PluginError, match=r"\."):
        check(report)


def test_a_report_that_keeps_every_rule_passes_every_check() -> None:
    for check in checks_in(reports):
        check(plain)


def test_every_check_of_reports_has_a_report_that_breaks_it() -> None:
    assert {check for check, _ in BROKEN} == set(checks_in(reports))


def test_the_leaderboard_that_reports_are_checked_on_holds_all_that_can_go_wrong() -> None:
    troubles = [row.trouble for row in fixed_leaderboard().tables[0].rows]

    assert [trouble for trouble in troubles if trouble] == [
        "seed 0 failed: The loss is nan at update 7",
        "seed 0 missing: no scores on digits",
        "seed 0 missing: not run",
    ]
