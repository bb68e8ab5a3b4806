"""A question in a separate process: its lines, its error, and its end if it hangs."""

from __future__ import annotations

import sys

import pytest

from bench.prepare.doctor import child
from tests.making.waiting import has_ended, until


@pytest.mark.slow
def test_a_question_that_hangs_is_ended_with_its_children_and_what_it_said_is_kept() -> None:
    answer = child.run(["sh", "-c", """sleep 3600 & echo "{\\"pid\\": $!}"; wait"""], seconds=4)

    assert answer.error == "no answer in 4 s"
    until(lambda: has_ended(answer.said[0]["pid"]))


def test_a_question_that_breaks_gives_its_last_line() -> None:
    answer = child.run(
        [sys.executable, "-c", "print('noise'); print('[1]'); raise ValueError('no GPU today')"], seconds=240
    )

    assert answer == child.Reply((), "ValueError: no GPU today")


def test_a_program_that_is_missing_or_fails_has_no_output() -> None:
    assert child.completed("no-such-program") is None
    assert child.completed(sys.executable, "-c", "raise SystemExit(1)") is None
    done = child.completed(sys.executable, "-c", "print(7)")
    assert done is not None
    assert done.stdout == "7\n"
