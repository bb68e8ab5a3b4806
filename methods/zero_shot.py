"""The untouched base model: the row every forgetting is measured from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench import Method


@dataclass(kw_only=True)
class ZeroShot(Method):
    """W = W0. No training, no edit: forgetting is 0 by definition."""

    name: ClassVar[str] = "zero_shot"
    paper: ClassVar[str] = "The base model's own card"
    ranked: ClassVar[bool] = False
