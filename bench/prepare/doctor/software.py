"""Check Python, the packages, the metadata that names the plugins, and the import of every plugin."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from bench.prepare.doctor.child import ask
from bench.prepare.doctor.diagnosis import Diagnosis, words

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


def check() -> Iterator[Diagnosis]:
    """Check the installed software."""
    project = metadata.distribution(PROJECT)
    provided = project.metadata.get_all("Provides-Extra") or ()
    needed = list(_packages(map(Requirement, project.requires or ()), provided))
    hidden = sorted(_expected() - {f"{entry.group} {entry.name}" for entry in project.entry_points})
    yield described(str(getattr(project, "_path", PROJECT)), hidden)
    yield python(".".join(map(str, sys.version_info[:3])), project.metadata["Requires-Python"] or "")
    yield from packages([package for package in needed if not package.extra])
    yield from map(extra, [package for package in needed if package.extra])
    answer = ask("plugins", seconds=_PLUGINS_SECONDS)
    yield from plugins({str(each["name"]): str(each["error"]) for each in answer.said}, answer.error)


def _packages(requirements: Iterable[Requirement], extras: Collection[str]) -> Iterator[Package]:
    """Yield the packages that this Python and platform need, except those for developers only."""
    for each in requirements:
        marker = each.marker
        asking = [extra for extra in ("", *extras) if marker is None or marker.evaluate({"extra": extra})]
        if asking and each.name != PROJECT and asking[0] != "dev":
            yield Package(each.name, str(each.specifier), installed_version(each.name), asking[0])


def installed_version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _expected() -> set[str]:
    """Return the plugins that the checkout's pyproject.toml names; empty if this is not a checkout."""
    file = Path(str(files("bench"))).parent / "pyproject.toml"
    if not file.is_file():
        return set()
    project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    if project.get("name") != PROJECT:
        return set()
    return {f"{group} {name}" for group, entries in project.get("entry-points", {}).items() for name in entries}


def misfit(found: str | None, needed: str) -> str:
    """Return why an installed version does not fit, or "". Bounds such as ">=3.17,<3.19" also admit pre-releases.

    >>> misfit("2.13.0+cpu", ">=2.8"), misfit("3.19.1", ">=3.17,<3.19")
    ('', '3.19.1 is installed, but >=3.17,<3.19 is needed')
    """
    if found is None:
        return "not installed"
    fits = SpecifierSet(needed).contains(found, prereleases=True)
    return "" if fits else f"{found} is installed, but {needed} is needed"


def described(path: str, hidden: Sequence[str]) -> Diagnosis:
    """Judge whether the metadata at ``path`` names every plugin of the checkout, or lacks the ``hidden`` ones."""
    if not hidden:
        return Diagnosis("ok", "metadata", "every plugin of the project has its entry point")
    lacks = ", ".join(name.removeprefix("bench.") for name in hidden[:_NAMED])
    lacks += f" and {more} more" if (more := len(hidden) - _NAMED) > 0 else ""
    fix = "run make setup; if the path is an old retain_bench.egg-info, delete it"
    return Diagnosis("FAIL", "metadata", f"{path} is older than pyproject.toml and hides {lacks}", fix)


def python(found: str, needed: str) -> Diagnosis:
    """Judge the Python version."""
    if wrong := misfit(found, needed):
        return Diagnosis("FAIL", "python", wrong, f"create an environment with Python {needed}")
    return Diagnosis("ok", "python", found)


def packages(needed: Sequence[Package]) -> Iterator[Diagnosis]:
    """Judge the packages that every command needs."""
    wrong = {package: reason for package in needed if (reason := misfit(package.found, package.needed))}
    for package, reason in wrong.items():
        yield Diagnosis("FAIL", package.name, reason, f"pip install '{package.name}{package.needed}'")
    if not wrong:
        yield Diagnosis("ok", "packages", f"all {len(needed)} are installed in versions that fit")


def extra(package: Package) -> Diagnosis:
    """Judge a package that only some commands need; a wrong version fails, a missing package does not."""
    name, wrong = f"[{package.extra}]", misfit(package.found, package.needed)
    if package.found is None:
        return Diagnosis("ok", name, f"{package.name} is not installed; only this extra needs it")
    if wrong:
        return Diagnosis("FAIL", name, f"{package.name} {wrong}", f"pip install '{PROJECT}[{package.extra}]'")
    return Diagnosis("ok", name, f"{package.name} {package.found}")


def plugins(errors: Mapping[str, str], trouble: str) -> Iterator[Diagnosis]:
    """Judge whether every plugin can be imported, by the error of each; ``trouble`` ended the import of all."""
    broken = {name: error for name, error in errors.items() if error}
    for name, error in broken.items():
        yield Diagnosis("FAIL", "plugin", f"{name}: {words(error)}", "repair it or uninstall its package")
    if trouble:
        text = f"the import ended after {len(errors)} of them: {words(trouble)}"
        yield Diagnosis("FAIL", "plugins", text, "list them all with bench ls")
    elif not broken:
        yield Diagnosis("ok", "plugins", f"all {len(errors)} can be imported")
