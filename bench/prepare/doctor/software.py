"""Check Python, the packages, the metadata that names the plugins, and the import of every plugin."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from bench.prepare.doctor.child import ask
from bench.prepare.doctor.finding import Diagnosis, words

PROJECT = "retain-bench"
_PLUGINS_SECONDS = 180.0
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Package:
    """A package: the needed version, such as ">=2.8,<3", and the installed one.

    ``extra`` is the extra that needs the package, or "" if it is always needed.
    """

    name: str
    needed: str
    found: str | None
    extra: str = ""

    @property
    def fits(self) -> bool:
        """Whether the installed version fits."""
        return self.found is not None and satisfies(self.found, self.needed)


@dataclass(frozen=True, slots=True)
class Software:
    """The installed software.

    ``hidden`` are the plugins that the metadata at ``described`` lacks. ``plugins`` maps each plugin to the error of
    its import, or to "". ``trouble`` is the error that ended the import of all plugins, or "".
    """

    python: str
    python_needed: str
    packages: tuple[Package, ...] = ()
    described: str = ""
    hidden: tuple[str, ...] = ()
    plugins: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""


def look() -> Software:
    """Return the facts about the installed software."""
    found = metadata.distribution(PROJECT)
    provided = found.metadata.get_all("Provides-Extra") or ()
    answer = ask("plugins", seconds=_PLUGINS_SECONDS)
    return Software(
        python=".".join(map(str, sys.version_info[:3])),
        python_needed=found.metadata["Requires-Python"] or "",
        packages=tuple(_packages(map(Requirement, found.requires or ()), provided)),
        described=str(getattr(found, "_path", PROJECT)),
        hidden=tuple(sorted(_expected() - {f"{entry.group} {entry.name}" for entry in found.entry_points})),
        plugins={str(each["name"]): str(each["error"]) for each in answer.said},
        trouble=answer.error,
    )


def _packages(requirements: Iterable[Requirement], extras: Collection[str]) -> Iterator[Package]:
    """Yield the packages that this Python and platform need, except those for developers only."""
    for each in requirements:
        marker = each.marker
        asking = [extra for extra in ("", *extras) if marker is None or marker.evaluate({"extra": extra})]
        if asking and each.name != PROJECT and asking[0] != "dev":
            yield Package(each.name, str(each.specifier), _version(each.name), asking[0])


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _expected() -> set[str]:
    """Return the plugins that the checkout's pyproject.toml names; empty if this is not a checkout."""
    file = Path(str(files("bench"))).parent / "pyproject.toml"
    if not file.is_file():
        return set()
    project = tomllib.loads(file.read_text()).get("project", {})
    if project.get("name") != PROJECT:
        return set()
    return {f"{group} {name}" for group, entries in project.get("entry-points", {}).items() for name in entries}


def satisfies(version: str, needed: str) -> bool:
    """Return whether a version, which may be a pre-release, is within bounds such as ">=3.17,<3.19".

    >>> satisfies("2.13.0+cpu", ">=2.8"), satisfies("3.19.1", ">=3.17,<3.19")
    (True, False)
    """
    return SpecifierSet(needed).contains(version, prereleases=True)


def python(facts: Software) -> Iterator[Diagnosis]:
    """Judge the Python version."""
    if satisfies(facts.python, facts.python_needed):
        yield Diagnosis("ok", "python", facts.python)
    else:
        fix = f"create an environment with Python {facts.python_needed}"
        yield Diagnosis("FAIL", "python", f"{facts.python} is installed, but {facts.python_needed} is needed", fix)


def packages(facts: Software) -> Iterator[Diagnosis]:
    """Judge the packages that every command needs."""
    needed = [package for package in facts.packages if not package.extra]
    for package in needed:
        if not package.fits:
            there = (
                f"{package.found} is installed, but {package.needed} is needed" if package.found else "not installed"
            )
            fix = f"pip install '{package.name}{package.needed}'"
            yield Diagnosis("FAIL", package.name, there, fix)
    fitting = sum(package.fits for package in needed)
    if fitting == len(needed):
        yield Diagnosis("ok", "packages", f"all {fitting} are installed in versions that fit")


def extras(facts: Software) -> Iterator[Diagnosis]:
    """Judge the packages that only some commands need; a wrong version fails, a missing package does not."""
    for package in facts.packages:
        if not package.extra:
            continue
        name, fix = f"[{package.extra}]", f"pip install '{PROJECT}[{package.extra}]'"
        if package.fits:
            yield Diagnosis("ok", name, f"{package.name} {package.found}")
        elif package.found:
            text = f"{package.name} {package.found} is installed, but {package.needed} is needed"
            yield Diagnosis("FAIL", name, text, fix)
        else:
            yield Diagnosis("ok", name, f"{package.name} is not installed; only this extra needs it")


def described(facts: Software) -> Iterator[Diagnosis]:
    """Judge whether the installed metadata names every plugin of the checkout."""
    if facts.hidden:
        lacks = ", ".join(name.removeprefix("bench.") for name in facts.hidden[:_NAMED])
        lacks += f" and {more} more" if (more := len(facts.hidden) - _NAMED) > 0 else ""
        fix = "run make setup; if the path is an old retain_bench.egg-info, delete it"
        yield Diagnosis("FAIL", "metadata", f"{facts.described} is older than pyproject.toml and hides {lacks}", fix)
    else:
        yield Diagnosis("ok", "metadata", "every plugin of the project has its entry point")


def plugins(facts: Software) -> Iterator[Diagnosis]:
    """Judge whether every plugin can be imported."""
    broken = {name: error for name, error in facts.plugins.items() if error}
    for name, error in broken.items():
        yield Diagnosis("FAIL", "plugin", f"{name}: {words(error)}", "repair it or uninstall its package")
    if facts.trouble:
        yield Diagnosis(
            "FAIL",
            "plugins",
            f"the import ended after {len(facts.plugins)} of them: {words(facts.trouble)}",
            "list them all with bench ls",
        )
    elif not broken:
        yield Diagnosis("ok", "plugins", f"all {len(facts.plugins)} can be imported")


CHECKS = (described, python, packages, extras, plugins)
