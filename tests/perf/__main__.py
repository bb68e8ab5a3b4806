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
from collections.abc import Iterator, Sequence
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
    own = Path(__file__).parent
    return [name for name in found if "\ndef main(" in (own / f"{name}.py").read_text() and name != "__main__"]


def machine() -> str:
    """Return what the timings depend on: the processor, its cores, and the versions of the libraries."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return f"{model or platform.machine()}, {cores()} cores, Python {platform.python_version()}, {libraries}"


def run(chosen: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each timing's name and what it printed."""
    for name in chosen:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", f"tests.perf.{name}"], check=True, stdout=subprocess.PIPE, encoding="utf-8"
        )
        print(f"\n{name} ({time.monotonic() - began:.0f} s)\n\n{done.stdout}", flush=True)
        yield name, done.stdout


def write(printed: Sequence[tuple[str, str]], minutes: float) -> None:
    """Put what the timings printed between the marks of the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(_FIRST)
    _, _, after = rest.partition(_LAST)
    command = (
        "make perf" if [name for name, _ in printed] == names() else f"python -m tests.perf {' '.join(dict(printed))}"
    )
    head = f"`{command}` on {date.today()}, commit `{commit()}`, {minutes:.0f} minutes, on\n{machine()}."
    parts = [f"### {name}\n\n```text\n{shown.strip()}\n```\n" for name, shown in printed]
    PAGE.write_text("\n".join([before + _FIRST, "", head, "", *parts, _LAST + after]), encoding="utf-8")


def main() -> None:
    """Run the timings that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="the timings to run; all if none is named")
    parser.add_argument("--write", action="store_true", help="write what they print to docs/performance.md")
    options = parser.parse_args()
    if unknown := [name for name in options.name if name not in names()]:
        parser.error(f"no timing is named {unknown[0]!r}; there are {', '.join(names())}")
    began = time.monotonic()
    printed = list(run(options.name or names()))
    print(f"{len(printed)} timings in {(minutes := (time.monotonic() - began) / 60):.1f} minutes")
    if options.write:
        write(printed, minutes)


if __name__ == "__main__":
    main()
