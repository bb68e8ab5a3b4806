"""The suite lorasculpt end to end: a hub checkpoint, six official layouts, killed and gone on with."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.model.change import Change
from tests.layouts import NAMES, Sizes, checkpoint, write_files
from tests.making.waiting import killed_when

pytestmark = [pytest.mark.ray, pytest.mark.slow]

METHODS = ("lora", "dora", "l2", "orth_reg", "model_tailor", "dare", "lorasculpt")
SOURCES, TARGETS = ("okvqa", "ocrvqa", "gqa", "textvqa"), ("iconqa", "coco_caption")
CELLS = len(METHODS) * len(TARGETS)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command without its output and lanes: the paper's recipe, but for 6 updates at a rate that shows."""
    model = checkpoint.write(tmp_path / "llava")
    for name in NAMES:
        write_files(tmp_path / "data", name, Sizes(train=12, validation=2, test=3))
    settings = [f"{name}.expect=any" for name in NAMES] + ["recipe.updates=6", "recipe.lr=1e-2"]
    sets = [word for item in settings for word in ("--set", item)]
    paths = ["--model", str(model), "--data", str(tmp_path / "data")]
    return ["run", "--suite", "lorasculpt", *paths, "--ranks", "2", *sets]


def records(output: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in output.glob("*/record.json")}


def done(output: Path) -> dict[str, bytes]:
    """What is finished: all scores are there, so that nothing of it may be done again."""
    found = records(output)
    return {name: data for name, data in found.items() if len(json.loads(data)["scores"]) >= len(SOURCES) + 1}


def test_all_methods_run_on_the_six_data_sets_and_go_on_after_a_kill(
    words: list[str], runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs, alone := tmp_path / "alone")
    command = [*words, "--methods", "paper", "--output", str(runs), "--lanes"]
    start = [sys.executable, "-c", "import sys; from bench.cli.main import main; sys.exit(main(sys.argv[1:]))"]
    killed_when(lambda: len(done(runs)) >= CELLS // 2, [*start, *command, "2"])
    before = done(runs)

    assert main([*command, "0"]) == 0

    assert CELLS // 2 <= len(before) < CELLS + 1
    after = done(runs)
    assert len(after) == CELLS + 1  # and the untouched model
    assert {name: after[name] for name in before} == before  # nothing finished was touched
    assert all(json.loads(data)["status"] == "done" for data in after.values())
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.split()]
    assert [row for row in rows if row in METHODS] == [*METHODS, *METHODS]
    assert {path.stem for path in (runs / "data").glob("*.json")} == {
        *(f"{name}-test" for name in NAMES),
        *(f"{name}-train" for name in TARGETS),
    }
    # what a lane or the resumed command learnt is what an unbroken training learns, to the bit
    plain = [*words, "--methods", "lora,lorasculpt", "--targets", "iconqa", "--output", str(alone), "--lanes", "0"]
    assert main(plain) == 0
    folders = list(alone.glob("*-r2-iconqa-*"))
    assert len(folders) == 2
    for folder in folders:
        ours, theirs = (Change.load(root / folder.name / "change") for root in (runs, alone))
        assert ours.keys() == theirs.keys()
        assert all(
            bool((value == theirs[name].tensors()[part]).all())
            for name, delta in ours.items()
            for part, value in delta.tensors().items()
        )
