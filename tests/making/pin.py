"""Make again what ``tests/themes/test_pinned.py`` compares with, after a version was raised.

    python -m tests.making.pin

It runs a small search, the run that reads it, a study and a check in a new folder, which takes some minutes, and keeps
the folder without most weights, what the commands say about it, and the ids and digests of today.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tarfile
from contextlib import redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from tempfile import mkdtemp

from bench.cli.main import main as bench
from bench.environment import commit
from bench.plugins.registry import Registry
from bench.plugins.source import of_plugin
from tests.themes import test_pinned as pinned

FOLDER = pinned.HERE / "run_folder"
OPTIONS = f"{pinned.OPTIONS} --set recipe.lr=0.02"
METHODS = "lora,dare,lorasculpt"
WHOLE = f"run --methods {METHODS} --tuned --baselines --rewind 0.5,1 --lanes 0 {OPTIONS}"
MADE_AGAIN = ("reports", "report", "mlflow.db", "mlartifacts", ".lock")


def said(words: str) -> str:
    """Return what a command prints; it has to end well."""
    printed = StringIO()
    with redirect_stdout(printed):
        status = bench(words.split())
    assert status == 0, words
    return printed.getvalue()


def label_of(path: Path) -> str:
    """Return the folder's name without the id."""
    return path.name.rpartition("-")[0]


def shown() -> dict[str, str]:
    """Return the ids of the default LoRA and LoRASculpt of the table, which the pinned commands show."""
    found = re.findall(r"(\w{12}) +(lora|lorasculpt)-r2-icon_choice-s0\b", said(pinned.RUN))
    return {method: trial for trial, method in reversed(found)}


def lay_out(runs: Path) -> None:
    """Put the notes of the run where version 0.1.0 put them, because later versions read them there.

    The note of the command is that of the pinned folder, because the command is the same.
    """
    (run,) = runs.glob("reports/micro-*")
    for path in run.glob("leaderboard.[cmt][sde]*"):
        shutil.copy(path, runs)
    with tarfile.open(FOLDER / "runs.tar.gz") as archive, archive.extractfile("runs/command.json") or BytesIO() as note:
        (runs / "command.json").write_bytes(note.read())


def lighten(runs: Path) -> None:
    """Remove what is made again, and all weights except one change of LoRA, which a test exports."""
    for name in MADE_AGAIN:
        path = runs / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    weights = sorted(runs.glob("*/**/*.safetensors"))
    kept = next(path for path in weights if label_of(path.parents[1]) == "lora-r2-icon_choice-s0")
    pictures = [path for form in ("png", "svg", "db") for path in runs.glob(f"search/**/*.{form}")]
    for path in runs.glob("**/*.json"):
        path.write_text(path.read_text(encoding="utf-8").replace(commit(), "0" * 12), encoding="utf-8")
    for path in (*weights, *pictures, *runs.glob("*.db")):
        if path != kept:
            path.unlink()


def main() -> None:
    """Make the folder, what is expected of it, and the ids and digests."""
    there = Path(sys.argv[1] if len(sys.argv) > 1 else mkdtemp())
    sys.stderr.write(f"working in {there}; python -m tests.making.pin {there} goes on after an error\n")
    there.mkdir(exist_ok=True)
    os.chdir(there)
    ids = run_all()
    runs = Path(shutil.copytree("runs", Path("light") / "runs", dirs_exist_ok=True)).resolve()
    os.chdir("light")
    lay_out(runs)
    lighten(runs)
    for file, words in pinned.COMMANDS.items():
        text = said(words.replace("@LORASCULPT", ids["lorasculpt"]).replace("@LORA", ids["lora"]))
        text = text.replace(str(runs), "{root}")
        (FOLDER / "expected" / file).write_text(text, encoding="utf-8")
    (runs / "leaderboard.csv").write_text(said("leaderboard --format csv --sort method"), encoding="utf-8")
    with tarfile.open(FOLDER / "runs.tar.gz", "w:gz") as archive:
        archive.add(runs, "runs")
    plan = said("run --methods paper --ranks 16,32,64 --dry-run --output paper")
    trials = re.findall(r"^ +to do +(\w{12}) +(\S+):", plan, re.MULTILINE)
    registry = Registry()
    facts = {
        "methods": {name: of_plugin(registry.method(name)) for name in sorted(pinned.PINNED["methods"])},
        "tasks": {name: of_plugin(registry.task_class(name)) for name in sorted(pinned.PINNED["tasks"])},
        "trials": {label: trial for trial, label in trials},
        "shown": ids,
    }
    (pinned.HERE / "pinned.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def run_all() -> dict[str, str]:
    """Run all commands in the current folder, and return the ids that the pinned commands show."""
    said(f"search --methods {METHODS} --trials 2 --lanes 1 {OPTIONS}")
    said(f"study fig3 --lanes 0 {OPTIONS}")
    said(WHOLE)
    ids = shown()
    said(f"check eval --output runs --trial {ids['lora']} --limit 24")
    return ids


if __name__ == "__main__":
    main()
