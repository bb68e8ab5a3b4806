"""Return the names that papers use for methods and tasks."""

from __future__ import annotations


def display_name(plugin: type) -> str:
    """Return a plugin's own ``display``, or its name with spaces.

    An inherited ``display`` does not count, because a method that extends LoRA is not LoRA.
    """
    own = vars(plugin).get("display")
    return own if isinstance(own, str) and own else str(getattr(plugin, "name", "")).replace("_", " ")
