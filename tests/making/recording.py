"""Count the calls of a function that still does what it does."""

from __future__ import annotations

from typing import Any

import pytest


def recorded(patch: pytest.MonkeyPatch, owner: object, name: str) -> list[Any]:
    """Return a list that gets the last argument of every call of ``owner.name`` from now on."""
    found, call = list[Any](), getattr(owner, name)

    def recording(*arguments: Any, **settings: Any) -> Any:
        found.append(arguments[-1])
        return call(*arguments, **settings)

    patch.setattr(owner, name, recording)
    return found
