"""A run under a locale that is not UTF-8, with names and texts that the locale cannot or would otherwise write."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BARE = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONWARNDEFAULTENCODING": "1"}
OPENED = re.compile(
    rf"^{re.escape(str(ROOT))}/(?:bench|methods|tasks|results)/(?!easy_vqa|icons).*EncodingWarning", re.M
)
RUN = (
    *("run", "--methods", "lora", "--ranks", "16", "--lanes", "0", "--targets", "icon_choice", "--sources", "café"),
    *("--limit", "4", "--set", "recipe.updates=2", "--plugin", "plügin.py", "--output", "läufe"),
)
# They hold seconds, or are MLflow's copy.
TIMED = {"record.json", "fitted.json", ".lock", "mlflow.db", "leaderboard.parquet"}

# One interpreter for all commands, which import torch once; each reads its words as a command of a shell does.
COMMANDS = """
import json, sys
from bench.cli.main import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["bench", *words]
    code = main()
    if code:
        sys.exit(code)
    print(end=chr(12))
"""

PLUGIN = '''
"""Ein Prüfling: é und 🙂."""
from typing import ClassVar
import numpy as np
from PIL import Image
from bench import Example, Task

class Cafe(Task):
    """Ist das Bild grün? 🙂"""
    name: ClassVar[str] = "café"
    paper: ClassVar[str] = "gezeichnet für diese Prüfung"
    primary: ClassVar[str] = "exact"

    def examples(self, split):
        pictures = [Image.new("RGB", (64, 64), (60 * n, 90, 90)) for n in range(4)]
        return [Example(f"{split}-é{n}", "Où est le 🙂?", ("à la crème 🙂",), each) for n, each in enumerate(pictures)]

    def score(self, examples, predictions):
        return {"exact": np.array([float(p == e.answers[0]) for e, p in zip(examples, predictions)])}
'''


def commands(folder: Path, locale: dict[str, str], *lines: Sequence[str]) -> list[str]:
    """Return what each command prints under a locale; each open of ours must name its encoding."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))
    }
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(lines, ensure_ascii=False)],
        cwd=folder,
        env={**inherited, **BARE, **locale},
        capture_output=True,
        check=False,
        timeout=900,
    )
    noise = done.stderr.decode("utf-8")
    assert done.returncode == 0, noise
    assert OPENED.findall(noise) == []
    return done.stdout.decode("utf-8").split("\f")[:-1]


def ran(folder: Path, locale: dict[str, str]) -> tuple[dict[str, bytes], list[str]]:
    """Run, and return the run folder's files without times, and what reading commands print."""
    (here := folder / "ü").mkdir(parents=True)
    (here / "plügin.py").write_text(PLUGIN, encoding="utf-8")
    shown = ("show", "lora", "--output", "läufe", "--examples", "--plugin", "plügin.py")
    printed = commands(here, locale, RUN, ("leaderboard", "--output", "läufe"), shown)
    assert len(printed) == 3
    return _content(here, folder), [text.replace(str(folder), "FOLDER") for text in printed]


def _content(here: Path, folder: Path) -> dict[str, bytes]:
    """Return what the files of the run folder hold, without seconds and without the folder's name."""
    files: dict[str, bytes] = {}
    for path in sorted((here / "läufe").rglob("*")):
        # the files of a page are in a folder named by their digest, and some hold seconds
        name = re.sub(r"/files/[0-9a-f]+", "/files/DIGEST", str(path.relative_to(here)))
        if path.is_file() and path.name not in TIMED and "mlartifacts" not in name:
            files[name] = path.read_bytes().replace(json.dumps(str(folder))[1:-1].encode(), b"FOLDER")
            if path.stem == "leaderboard":  # has seconds, bytes and the commit
                files[name] = re.sub(rb"Commit: \S+|[\d. ]+", b" ", files[name])
            if path.name == "index.html":  # has seconds, the time, figures of seconds, and the digest of its files
                plain = re.sub(rb"files/[0-9a-f]+", b"files/DIGEST", files[name])
                files[name] = re.sub(rb"<svg.*?</svg>|[\d.e+ -]+", b" ", plain, flags=re.DOTALL)
            if path.name == "command.json":
                files[name] = re.sub(rb'"started": "[^"]+"', b"", files[name])
    for path in (here / "läufe").glob("*/record.json"):
        record = json.loads(path.read_bytes())
        files[path.parent.name] = json.dumps([record["id"], record["trial"]]).encode()
    return files


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[str]]:
    """The files and the output of a run under UTF-8."""
    return ran(tmp_path_factory.mktemp("utf8"), {"LC_ALL": "C.UTF-8"})


@pytest.fixture(params=["C", "Latin-1"])
def locale(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The variables of a locale whose encoding is ASCII, or Latin-1."""
    if request.param == "C":
        return {"LC_ALL": "C"}
    if shutil.which("localedef") is None:
        pytest.skip("localedef is missing, so there is no Latin-1 locale")
    words = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(tmp_path / "de_DE.ISO-8859-1")]
    made = subprocess.run(words, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"localedef makes no Latin-1 locale: {made.stderr.decode(errors='replace').strip()}")
    return {"LOCPATH": str(tmp_path), "LC_ALL": "de_DE.ISO-8859-1"}


@pytest.mark.slow
def test_a_run_writes_and_prints_the_same_bytes_under_every_locale(
    expected: tuple[dict[str, bytes], list[str]], locale: dict[str, str], tmp_path: Path
) -> None:
    files, printed = ran(tmp_path / "run", locale)

    assert files.keys() == expected[0].keys()
    assert [name for name, content in files.items() if content != expected[0][name]] == []
    for text, wanted in zip(printed, expected[1], strict=True):
        assert text.splitlines()[:3] == wanted.splitlines()[:3]
