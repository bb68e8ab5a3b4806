"""Take out of a plugin's source what only tells its price: no result depends on it, so no trial's id may."""

from __future__ import annotations

import ast
from collections.abc import Iterable

_HOOKS = {"memory", "change_bytes"}


def without_price(tree: ast.Module) -> ast.Module:
    """Return a module, changed in place, without the hooks that ``bench plan`` asks and what only they use."""
    dropped: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            hooks = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name in _HOOKS]
            node.body = [item for item in node.body if item not in hooks]
            dropped += hooks
    while unused := _names(dropped) - _names([tree]):
        before = len(dropped)
        _drop(tree, unused, dropped)
        if len(dropped) == before:
            break
    return tree


def _names(nodes: Iterable[ast.AST]) -> set[str]:
    """Return every name that some nodes read, as a variable or as an attribute."""
    found = [item for node in nodes for item in ast.walk(node)]
    names = {item.id for item in found if isinstance(item, ast.Name)}
    return names | {item.attr for item in found if isinstance(item, ast.Attribute)}


def _drop(tree: ast.Module, names: set[str], dropped: list[ast.AST]) -> None:
    """Move the functions and imports of these names from the tree to ``dropped``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.If):
            node.body = [item for item in node.body if _stays(item, names, dropped)]
    tree.body = [item for item in tree.body if not (isinstance(item, ast.If) and not item.body)]


def _stays(node: ast.stmt, names: set[str], dropped: list[ast.AST]) -> bool:
    if isinstance(node, ast.FunctionDef) and node.name in names:
        dropped.append(node)
        return False
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return True
    gone = [alias for alias in node.names if (alias.asname or alias.name) in names]
    node.names = [alias for alias in node.names if alias not in gone]
    dropped += gone
    return bool(node.names)
