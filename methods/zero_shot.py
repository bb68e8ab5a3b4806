"""The untouched base model, from whose scores forgetting is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench import Method


@dataclass(kw_only=True)
class ZeroShot(Method):
    """W = W0 without training or edit, so forgetting is 0 by definition."""

    name: ClassVar[str] = "zero_shot"
    display: ClassVar[str] = "Zero-shot"
    paper: ClassVar[str] = "The base model's own card"
    ranked: ClassVar[bool] = False
