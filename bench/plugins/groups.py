"""The words of ``--methods`` that mean several methods: paper, all and installed.

Each word is computed from the plugins, so that a new method or another table needs no second list. ``paper`` loads no
torch; ``all`` and ``installed`` import every method that they may mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.plugins.method import Method, TrainMethod, stages_differ
from bench.plugins.paper import compared_rows
from bench.plugins.registry import Registry, installed

PAPER = "lorasculpt"  # the paper whose tables the suites and the studies repeat
_PACKAGE = "retain-bench"


def paper_methods(registry: Registry) -> tuple[str, ...]:
    """Return the methods of the LoRASculpt paper's table, in its order and without its reference rows.

    >>> paper_methods(Registry())
    ('lora', 'dora', 'l2', 'orth_reg', 'model_tailor', 'dare', 'lorasculpt')
    """
    rows = compared_rows(registry.paper(PAPER))
    return tuple(dict.fromkeys(row.method for row in rows if row.rank is not None))


def all_methods(registry: Registry) -> tuple[str, ...]:
    """Return this package's ranked, not trivial methods for one target: the paper's first, the others by name."""
    first = paper_methods(registry)
    others = (name for name in _own() if name not in first)
    return (*first, *(name for name in others if _is_row(registry, name)))


def installed_methods(registry: Registry) -> tuple[str, ...]:
    """Return every ranked method for one target of every installed package and plugin file, by name."""
    return tuple(name for name in registry.names("method") if _competes(registry.method(name)))


def sequence_methods(registry: Registry) -> tuple[str, ...]:
    """Return this package's ranked methods whose stages follow each other in a way of their own, by name."""
    return tuple(name for name in _own() if _has_stages(registry.method(name)))


def joint_methods(registry: Registry) -> tuple[str, ...]:
    """Return this package's ranked methods that learn several tasks at once, by name."""
    return tuple(name for name in _own() if registry.method(name).ranked and registry.method(name).made_for == "joint")


SEQUENCE_GROUPS: Mapping[str, Callable[[Registry], Sequence[str]]] = {
    "all": sequence_methods,
    "joint": joint_methods,
}
GROUPS: Mapping[str, Callable[[Registry], Sequence[str]]] = {
    "paper": paper_methods,
    "all": all_methods,
    "installed": installed_methods,
}


def words_for(methods: Sequence[str], registry: Registry) -> str:
    """Return the shortest words of ``--methods`` that mean these methods, in this order."""
    for word in ("paper", "all"):
        if tuple(methods) == GROUPS[word](registry):
            return word
    return ",".join(methods)


def _own() -> list[str]:
    """Return the names of the methods that this package itself installs."""
    found = installed("method").items()
    return sorted(name for name, entries in found if any(getattr(one.dist, "name", "") == _PACKAGE for one in entries))


def _is_row(registry: Registry, name: str) -> bool:
    return _competes(registry.method(name)) and not registry.method(name).trivial


def _has_stages(method: type[Method]) -> bool:
    own = issubclass(method, TrainMethod) and stages_differ(method)
    return method.ranked and method.made_for != "joint" and own


def _competes(method: type[Method]) -> bool:
    return method.ranked and method.made_for == "target"
