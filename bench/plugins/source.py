"""Compute the digest of a plugin's source; it is part of an id and changes if results may change."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bench.values.canonical import digest

LENGTH = 16  # hex digits of a digest
_PYTHON = {"builtins", "abc"}
PLUGIN_FOLDERS = ("methods", "tasks", "results")
# Class variables that no result depends on: texts that people read (a new address is not new data), what a report page
# may show, score ranges, and what plans must know of a method.
_TEXTS = {"card", "display", "pictures_may_be_copied", "remark", "dropped", "highest", "trivial", "merges", "made_for"}
# These price or refuse a run, or judge stored replies when a table is made; nothing that is stored depends on them.
_HOOKS = {"memory", "change_bytes", "left_bytes", "graphs", "roles", "slowdown", "captured", "follows"}


@cache
def of_plugin(plugin: type) -> str:
    """Return the digest of a plugin's source: its file, the plugins it extends, the siblings they import.

    The digest ignores comments, docstrings, layout, a task's card and the highest scores of its metrics, a method's
    remark, what plans must know of it (``trivial``, ``merges``, ``made_for``) and its dropped hyperparameters, the code
    that only estimates the price of a run, and a task's rule of which replies have the form it asks for. It also
    ignores the engine's own files, because FIT_VERSION and EVAL_VERSION cover them.
    """
    files: dict[Path, None] = {}
    for part in plugin.__mro__:
        path = _source_file(part)
        if path is not None:
            _add_with_siblings(path, files)
    return digest([_code(path) for path in files])[:LENGTH]


def _source_file(part: type) -> Path | None:
    """Return the file that defines a class, or None if the class belongs to the engine or to Python."""
    return None if is_engine(part.__module__) else Path(inspect.getfile(part))


def is_engine(module: str) -> bool:
    """Return whether a module belongs to the engine or to Python itself, and not to a plugin.

    >>> is_engine("bench.values.trial"), is_engine("bench.methods.lora"), is_engine("bench_plugin_mine_1a2b3c4d")
    (True, False, False)
    """
    package, _, rest = module.partition(".")
    return package in _PYTHON or (package == "bench" and rest.partition(".")[0] not in PLUGIN_FOLDERS)


def is_built_in(plugin: type) -> bool:
    """Return whether a plugin comes with this package."""
    package, _, rest = plugin.__module__.partition(".")
    return package == "bench" and rest.partition(".")[0] in PLUGIN_FOLDERS


def _add_with_siblings(path: Path, files: dict[Path, None]) -> None:
    if path in files:
        return
    files[path] = None
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                sibling = path.parent / f"{name.split('.')[0]}.py"
                if sibling.is_file():
                    _add_with_siblings(sibling, files)


@cache
def _code(path: Path) -> str:
    tree = _without_price(ast.parse(path.read_bytes()))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
        if isinstance(node, ast.ClassDef):
            node.body = [part for part in node.body if not _is_text(part)]
    return ast.dump(tree)


def _is_text(part: ast.stmt) -> bool:
    """Whether a statement sets a class variable that no result depends on."""
    return isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.target.id in _TEXTS


def _without_price(tree: ast.Module) -> ast.Module:
    """Remove from a module the hooks on which nothing that is stored depends, and the code that only they use."""
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
    """Return every name that these nodes use as a variable or as an attribute."""
    found = [item for node in nodes for item in ast.walk(node)]
    names = {item.id for item in found if isinstance(item, ast.Name)}
    return names | {item.attr for item in found if isinstance(item, ast.Attribute)}


def _drop(tree: ast.Module, names: set[str], dropped: list[ast.AST]) -> None:
    """Move the functions and imports with these names from the tree to ``dropped``."""
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
