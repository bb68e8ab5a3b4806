"""Count what passes the vision tower."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.model.family import Features, Pixels
from bench.model.resident import Base


def counted_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets, for every pass of any tower from now on, its number of images."""
    counts: list[int] = []
    encode = Base.encode

    def counted(base: Base, pixels: Sequence[Pixels]) -> Sequence[Features]:
        counts.append(len(pixels))
        return encode(base, pixels)

    monkeypatch.setattr(Base, "encode", counted)
    return counts
