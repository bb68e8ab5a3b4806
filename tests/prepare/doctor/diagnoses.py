"""Compare a diagnosis with what it must say."""

from __future__ import annotations

import re

from bench.prepare.doctor.diagnosis import Diagnosis


def assert_says(found: Diagnosis, level: str, said: str) -> None:
    """Hold a diagnosis to its level and to a pattern of its line; only what is ok needs no fix."""
    assert found.level == level
    assert re.search(said, str(found)), found
    assert "\n" not in str(found)
    assert level != "ok" or found.fix == ""
