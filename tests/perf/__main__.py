"""Run the timings one after another, each in a process of its own, and show what they print.

python -m tests.perf                 all of them; make perf also writes docs/performance.md
python -m tests.perf loss prefixes   some of them
"""

from __future__ import annotations

import argparse
import pkgutil
import platform
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

from bench.environment import commit, cores
from tests import perf

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_FIRST, _LAST = "<!-- what make perf printed last -->", "<!-- end of what make perf printed -->"
_LIBRARIES = ("torch", "transformers", "peft")


def names() -> list[str]:
    """Return the timings: the modules of this folder that have a function ``main``."""
    found = [module.name for module in pkgutil.iter_modules(perf.__path__) if not module.ispkg]
    return [name for name in found if name != "__main__" and "\ndef main(" in _text(name)]


def _text(name: str) -> str:
    return (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")


def machine() -> str:
    """Return what the timings depend on: the processor, its cores, and the versions of the libraries."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return f"{model or platform.machine()}, {cores()} cores, Python {platform.python_version()}, {libraries}"


def run(name: str) -> str:
    """Return the section of a timing: what it printed, with its date, commit and seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", f"tests.perf.{name}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    seconds = time.monotonic() - began
    print(f"\n{name} ({seconds:.0f} s)\n\n{done.stdout}", flush=True)
    shown = done.stdout.strip("\n").rstrip()  # a table's head begins with spaces
    stamp = f"{date.today()}, commit `{commit()}`, {seconds:.0f} s\\\n{machine()}"
    return f"### {name}\n\n{stamp}\n\n```text\n{shown}\n```\n"


def write(name: str, section: str) -> None:
    """Put the section of a timing between the marks of the page, in the place of its last one."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_FIRST)
    old, _, after = rest.partition(_LAST)
    known = {part.partition("\n")[0]: f"### {part}" for part in old.split("### ")[1:]} | {name: section}
    shown = [known[each].strip() + "\n" for each in names() if each in known]
    head = "`make perf`, or `python -m tests.perf NAME` for one timing, printed:"
    PAGE.write_text("\n".join([before + _FIRST, "", head, "", *shown, _LAST + after]), encoding="utf-8")


def main() -> None:
    """Run the timings that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="the timings to run; all if none is named")
    parser.add_argument("--write", action="store_true", help="write what they print to docs/performance.md")
    options = parser.parse_args()
    if unknown := [name for name in options.name if name not in names()]:
        parser.error(f"no timing is named {unknown[0]!r}; there are {', '.join(names())}")
    began = time.monotonic()
    for name in (chosen := options.name or names()):
        section = run(name)
        if options.write:
            write(name, section)
    print(f"{len(chosen)} timings in {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
