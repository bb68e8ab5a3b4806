"""What data and plugin code amount to, as digests: the parts of a key that change when results would."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bench.file_digests import of_files
from bench.pricetag import without_price
from bench.spec import digest

if TYPE_CHECKING:
    from bench.api import Example

_LENGTH = 16
_AT_ONCE = 2_000  # examples whose files are looked up together


def of_examples(examples: Sequence[Example], prompts: Sequence[str]) -> str:
    """Return the digest of examples: ids, prompts, answers and the pixels of every image."""
    total = hashlib.sha256()
    pairs = zip(examples, prompts, strict=True)
    pixels: dict[int, tuple[object, bytes]] = {}  # the image too: an id is unique only while it lives
    while some := list(islice(pairs, _AT_ONCE)):
        files = of_files(example.image for example, _ in some if isinstance(example.image, Path))
        for example, prompt in some:
            total.update(digest([example.id, prompt, list(example.answers)]).encode())
            if isinstance(example.image, Path):
                total.update(files[example.image])
                continue
            key = id(example.image)
            if key not in pixels:
                pixels[key] = (example.image, of_image(example))
            total.update(pixels[key][1])
    return total.hexdigest()[:_LENGTH]


def of_image(example: Example) -> bytes:
    """Return the digest of an example's image: of its file as it lies there, or of its pixels."""
    if isinstance(example.image, Path):
        return hashlib.sha256(example.image.read_bytes()).digest()
    content = f"{example.image.mode}{example.image.size}".encode() + example.image.tobytes()
    return hashlib.sha256(content).digest()


def of_plugin(plugin: type) -> str:
    """Return the digest of a plugin's source: its class, the plugins it extends, and the siblings they import.

    Comments, docstrings and layout do not count, nor does a task's card, or what only tells a run's price; the engine's
    own files do not either, they have versions.
    """
    files: dict[Path, None] = {}
    for part in plugin.__mro__:
        path = _source_file(part)
        if path is not None:
            _add_with_siblings(path, files)
    return digest([_code(path) for path in files])[:_LENGTH]


def _source_file(part: type) -> Path | None:
    """Return the file a class is written in, or None for the engine's and the libraries' own."""
    if part.__module__ in {"builtins", "abc", "bench.api"}:
        return None
    return Path(inspect.getfile(part))


def _add_with_siblings(path: Path, files: dict[Path, None]) -> None:
    if path in files:
        return
    files[path] = None
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                sibling = path.parent / f"{name.split('.')[0]}.py"
                if sibling.is_file():
                    _add_with_siblings(sibling, files)


@cache
def _code(path: Path) -> str:
    tree = without_price(ast.parse(path.read_text()))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
        if isinstance(node, ast.ClassDef):
            node.body = [part for part in node.body if not _is_card(part)]
    return ast.dump(tree)


def _is_card(part: ast.stmt) -> bool:
    """Whether a class's line says where its data are had: a moved address makes no other data."""
    return isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.target.id == "card"
