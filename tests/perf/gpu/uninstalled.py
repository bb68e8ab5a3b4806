"""Let Python find the plugins of a tree that is not installed, as pyproject.toml names them."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from typing_extensions import override

_CONTEXT = DistributionFinder.Context()


class Tree(Distribution):
    """The distribution that an installation of a tree would leave: its name, version and entry points."""

    def __init__(self, root: Path) -> None:
        self.root = root
        text = (root / "pyproject.toml").read_text(encoding="utf-8")
        self.table: dict[str, Any] = tomllib.loads(text)

    @property
    def folders(self) -> dict[str, Path]:
        """The folder of each package whose name does not say where it lies, such as bench.methods."""
        named: dict[str, str] = self.table["tool"]["setuptools"]["package-dir"]
        return {name: self.root / folder for name, folder in named.items() if name.replace(".", "/") != folder}

    @override
    def read_text(self, filename: str) -> str | None:
        project = self.table["project"]
        if filename == "METADATA":
            return f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        if filename == "entry_points.txt":
            return "\n".join(_section(*group) for group in project["entry-points"].items())
        return None

    @override
    def locate_file(self, path: Any) -> Path:
        return self.root / str(path)


def _section(group: str, entries: dict[str, str]) -> str:
    return "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())])


class TreeFinder(DistributionFinder):
    """Finds the packages of a tree whose folders have another name, and its distribution."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        folder = self._tree.folders.get(fullname)
        if folder is None:
            return None
        return spec_from_file_location(fullname, folder / "__init__.py", submodule_search_locations=[str(folder)])

    @override
    def find_distributions(self, context: DistributionFinder.Context = _CONTEXT) -> Iterable[Distribution]:
        return self._found(context.name)

    def _found(self, name: str | None) -> Iterator[Distribution]:
        own: str = self._tree.table["project"]["name"]
        if name is None or name.lower().replace("_", "-") == own:
            yield self._tree


def use(root: Path) -> None:
    """Let this process find the plugins of the tree in ``root``, before those of an installed version."""
    sys.meta_path.insert(0, TreeFinder(Tree(root)))
