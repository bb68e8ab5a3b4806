from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.cli.main import main
from bench.plan import suite
from bench.plan.suite import Suite

TASKS = '''
"""Tasks whose records are in a file of lines: id, question, answers, image, options."""
import json
from dataclasses import dataclass
from bench import Card, DataError, Example, Fault, Task, option

@dataclass(eq=False, kw_only=True)
class Learnt(Task):
    """What is learnt.

    And more of it,
    in two ``lines``.
    """
    name = "learnt"
    paper = "none"
    primary = "exact"
    sizes = {"train": 2, "validation": 1, "test": 1}
    variants = ("plain", "polite")
    card = Card("https://example.org", "CC0", lettered=True, notes=("Handle with care.",))
    source: str = option("files", choices=("files", "hub"))

    def examples(self, split):
        return self._read(split)[0]

    def faults(self, split):
        return self._read(split)[1]

    def manifest(self, split):
        return {"sha256": "0123456789abcdef0123"}

    def prompt(self, example):
        return example.question + (", please?" if self.variant == "polite" else "?")

    def _read(self, split):
        path = self.reading.root / self.name / f"{split}.jsonl"
        if not path.is_file():
            raise DataError(f"{path} is missing")
        found, faults = [], []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                row = json.loads(line)
                image = self.reading.root / self.name / row["image"]
                found.append(Example(row["id"], "which", tuple(row["answers"]), image, tuple(row.get("options", ()))))
            except (ValueError, KeyError) as error:
                faults.append(Fault(f"{path}:{number}", repr(error)))
                if len(faults) > self.reading.skip_bad:
                    raise DataError(str(faults[-1]))
        return found, faults

    def score(self, examples, predictions):
        return {}

class Asked(Learnt):
    """What may be forgotten."""
    name = "asked"
    card = Card("https://example.org", "CC0", answer_count=2)

class Bare(Learnt):
    """Nobody says where it comes from."""
    name = "bare"
    card = None
'''

Write = Callable[..., None]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two tasks' data in which nothing is wrong; every picture has another colour."""
    monkeypatch.setitem(suite.SUITES, "both", Suite("both", "", ("asked",), ("learnt",), suite.MICRO.recipe))
    folder = tmp_path / "data"
    colour = iter(range(0, 250, 25))
    for task, options, answers in (("learnt", ["x", "y"], ["B"]), ("asked", [], ["p", "q"])):
        for split, count in (("train", 2), ("validation", 1), ("test", 1)):
            rows = []
            for number in range(count):
                name = f"{split}{number}"
                shade = next(colour)
                draw(folder / task / f"{name}.png", (shade, 255 - shade, 90))
                rows.append({"id": name, "answers": answers, "options": options, "image": f"{name}.png"})
            put(folder, task, split, *rows)
    return folder


def draw(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), colour).save(path)


def put(root: Path, task: str, split: str, *rows: object) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (root / task / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows_of(root: Path, task: str, split: str) -> list[Any]:
    return [json.loads(line) for line in (root / task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def bench(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return ``bench("check", "learnt", …)``, the command on the two tasks' data."""
    plugin = tmp_path / "two_tasks.py"
    plugin.write_text(TASKS, encoding="utf-8")

    def command(what: str, tasks: str, *words: str) -> int:
        return main(["data", what, tasks, "--plugin", str(plugin), "--data", str(root), *words])

    return command


def report(root: Path) -> list[tuple[str, str, str, bool]]:
    found = json.loads((root / "check.json").read_text(encoding="utf-8"))["findings"]
    return [(one["kind"], one["task"], one["split"], one["wrong"]) for one in found]


def test_good_data_pass_and_what_was_seen_is_counted(
    bench: Any, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("check", "learnt,asked") == 0

    printed = capsys.readouterr().out
    assert "learnt  train             2 examples,       2 images\n" in printed
    assert printed.endswith("Nothing is wrong.\n")
    assert json.loads((root / "check.json").read_text(encoding="utf-8")) == {
        "wrong": 0,
        "seen": {
            task: {
                split: {"examples": count, "pictures": count, "skipped": 0}
                for split, count in (("train", 2), ("validation", 1), ("test", 1))
            }
            for task in ("learnt", "asked")
        },
        "findings": [],
    }


def test_every_broken_record_is_named_by_file_and_line(
    bench: Any, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(root, "learnt", "train", *rows_of(root, "learnt", "train"), "{", '{"id": 1}')

    assert bench("check", "learnt") == 1

    printed = capsys.readouterr().out
    assert f"wrong  learnt train: {root}/learnt/train.jsonl:3: JSONDecodeError" in printed
    assert f"wrong  learnt train: {root}/learnt/train.jsonl:4: KeyError('image')" in printed
    assert printed.endswith("2 things are wrong.\n")
    assert "2 examples,       2 images, 2 skipped" in printed


def test_as_many_broken_records_as_allowed_are_only_noted(bench: Any, root: Path) -> None:
    put(root, "learnt", "train", *rows_of(root, "learnt", "train"), "{", "{")

    assert bench("check", "learnt", "--skip-bad", "2") == 0
    assert report(root) == [("record", "learnt", "train", False)] * 2
    assert bench("check", "learnt", "--skip-bad", "1") == 1


def test_what_only_a_tokenizer_finds_is_a_broken_record_of_the_training_split(
    bench: Any, root: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        rows = rows_of(root, "asked", split)
        put(root, "asked", split, {**rows[0], "answers": ["p </s> q", "q"]}, *rows[1:])

    assert bench("check", "asked") == 0
    assert "No tokenizer reads the texts, because llava-hf/llava-1.5-7b-hf is not on this" in capsys.readouterr().err
    assert bench("check", "asked", "--model", str(tiny_folder)) == 1
    reason = "its answer contains </s>, which ends an answer"
    assert f"wrong  asked train: example train0: {reason}\n" in capsys.readouterr().out
    assert report(root) == [("record", "asked", "train", True)]
    assert bench("check", "asked", "--model", str(tiny_folder), "--skip-bad", "1") == 0
    assert bench("check", "asked", "--model", "no/such-model") == 2


def test_pictures_that_are_missing_or_cut_off_are_named(
    bench: Any, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "asked/train0.png").unlink()
    cut = root / "asked/train1.png"
    cut.write_bytes(cut.read_bytes()[:-20])

    assert bench("check", "asked") == 1

    printed = capsys.readouterr().out
    assert f"wrong  asked train: {root}/asked/train0.png: it is missing\n" in printed
    assert f"wrong  asked train: {cut}: it cannot be decoded: " in printed
    assert report(root) == [("picture", "asked", "train", True)] * 2


def test_an_id_that_stands_twice_is_named(bench: Any, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = rows_of(root, "asked", "train")[0]
    put(root, "asked", "test", {**first, "image": "test0.png"})

    assert bench("check", "asked") == 1
    assert "wrong  asked test: train0: train already has an example with this id\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "answers", "reason"),
    [
        ("asked", [], "it has no answer"),
        ("asked", [" ", "p"], "it has no answer"),
        ("asked", ["p"], "it has 1 answers, not 2"),
        ("learnt", ["C"], "its answer 'C' is not one of its 2 options"),
        ("learnt", ["AB"], "its answer 'AB' is not one of its 2 options"),
    ],
)
def test_answers_that_cannot_be_right_are_named(
    bench: Any, root: Path, capsys: pytest.CaptureFixture[str], task: str, answers: list[str], reason: str
) -> None:
    put(root, task, "test", {**rows_of(root, task, "test")[0], "answers": answers})

    assert bench("check", task) == 1
    assert f"wrong  {task} test: test0: {reason}\n" in capsys.readouterr().out


def test_a_finding_is_one_line_whatever_an_id_holds(bench: Any, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(root, "asked", "test", {**rows_of(root, "asked", "test")[0], "id": "a\nb", "answers": []})

    assert bench("check", "asked") == 1
    assert "wrong  asked test: a b: it has no answer\n" in capsys.readouterr().out


def test_an_empty_option_is_named(bench: Any, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(root, "learnt", "test", {**rows_of(root, "learnt", "test")[0], "options": ["x", " ", "y"]})

    assert bench("check", "learnt") == 1
    assert "wrong  learnt test: test0: its option B is empty\n" in capsys.readouterr().out


def test_a_prompt_taken_verbatim_has_its_options_inside_and_one_answer_is_enough_to_teach(
    bench: Any, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(root, "learnt", "test", {**rows_of(root, "learnt", "test")[0], "answers": ["D"], "options": []})
    put(root, "asked", "train", {**rows_of(root, "asked", "train")[0], "answers": ["p"]})

    assert bench("check", "learnt,asked") == 0

    put(root, "learnt", "test", {**rows_of(root, "learnt", "test")[0], "answers": ["a house"], "options": []})
    assert bench("check", "learnt") == 1
    assert "test0: its answer 'a house' is not one of its lettered options\n" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["the same bytes", "saved anew"])
def test_a_training_picture_that_a_source_asks_about_is_a_leak(
    bench: Any, root: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    ours, theirs = root / "learnt/train1.png", root / "asked/test0.png"
    theirs.write_bytes(ours.read_bytes())
    if change == "saved anew":
        Image.open(ours).resize((33, 31)).save(root / "asked/test0.jpg")
        put(root, "asked", "test", {**rows_of(root, "asked", "test")[0], "image": "test0.jpg"})
        theirs = root / "asked/test0.jpg"

    assert bench("check", "learnt,asked") == 1

    how = "is also" if change == "the same bytes" else "looks like (dHash differs in 0 of 64 bits)"
    assert f"wrong  learnt train: {ours}: {how} {theirs} of asked test\n" in capsys.readouterr().out
    assert report(root) == [("leak", "learnt", "train", True)]


def test_pictures_that_a_tasks_own_splits_share_are_noted_and_a_sources_training_is_nobodys(
    bench: Any, root: Path
) -> None:
    (root / "learnt/test0.png").write_bytes((root / "learnt/train0.png").read_bytes())
    (root / "asked/test0.png").write_bytes((root / "asked/train0.png").read_bytes())

    assert bench("check", "learnt,asked") == 0
    assert report(root) == [("leak", "learnt", "train", False)]


def test_a_split_that_cannot_be_read_is_wrong_and_the_others_are_looked_at(
    bench: Any, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "learnt/train.jsonl").unlink()

    assert bench("check", "learnt") == 1

    printed = capsys.readouterr().out
    assert f"wrong  learnt train: it cannot be read: {root}/learnt/train.jsonl is missing\n" in printed
    assert "learnt  test              1 examples" in printed


def test_a_count_that_is_not_the_declared_one_is_noted_where_options_may_change_it(bench: Any, root: Path) -> None:
    put(root, "learnt", "train", rows_of(root, "learnt", "train")[0])

    assert bench("check", "learnt") == 0
    assert report(root) == [("count", "learnt", "train", False)]


def test_five_findings_of_a_kind_are_printed_and_all_reported(
    bench: Any, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(root, "learnt", "train", *rows_of(root, "learnt", "train"), *["{"] * 9)

    bench("check", "learnt", "--report", str(root / "own" / "all.json"))

    printed = capsys.readouterr().out
    assert printed.count("wrong  learnt train") == 5
    assert "       … and 4 more of learnt train like this\n" in printed
    assert json.loads((root / "own" / "all.json").read_text(encoding="utf-8"))["wrong"] == 9


def test_a_mistake_in_the_words_is_one_line(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("check", "learnt", "--skip-bad", "-1") == 2
    assert capsys.readouterr().err == "bench: --skip-bad is -1; give 0 or more.\n"


def test_a_card_says_what_it_is_how_large_and_how_it_is_asked(
    bench: Any, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "learnt/test.jsonl").unlink()
    put(root, "learnt", "test", {"id": "t", "answers": ["B"], "options": ["x", "y"], "image": "test0.png"})

    assert bench("info", "learnt,bare") == 0

    printed = capsys.readouterr().out
    second = printed.split("\n\nbare\n")[1]
    assert printed.startswith("learnt\n  what     What is learnt.\n           And more of it, in two lines.\n  paper ")
    assert "  licence  CC0\n" in printed
    assert "  splits   train       2 declared, 2 here, manifest 0123456789abcdef\n" in printed
    assert "  asks     @plain\n           which?\n           -> B\n" in printed
    assert "  asks     @polite\n           which, please?\n           -> B\n" in printed
    assert "  note     Handle with care.\n" in printed
    assert "  data     are part of the package that provides the task\n" in second
    assert f"test 1 declared, not readable: {root}/bare/test.jsonl is missing " in " ".join(second.split())
    assert "(the data are missing)" in second


def test_a_data_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert main(["data", "check", "gqa", "--data", str(tmp_path / "wrong")]) == 1

    assert not (tmp_path / "wrong").exists()
