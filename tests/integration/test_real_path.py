"""The suite lorasculpt end to end: a hub checkpoint, six official layouts, killed and gone on with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.model.change import Change
from tests.layouts import NAMES, Sizes, checkpoint, write_files
from tests.making.waiting import kill, until

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
    words = ["run", "--suite", "lorasculpt", *paths, "--ranks", "2", *sets]
    return [sys.executable, "-c", "import sys; from bench.cli.main import main; sys.exit(main(sys.argv[1:]))", *words]


def records(output: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in output.glob("*/record.json")}


def done(output: Path) -> dict[str, bytes]:
    """What is finished: all scores are there, so that nothing of it may be done again."""
    found = records(output)
    return {name: data for name, data in found.items() if len(json.loads(data)["scores"]) >= len(SOURCES) + 1}


def test_all_methods_run_on_the_six_data_sets_and_go_on_after_a_kill(words: list[str], tmp_path: Path) -> None:
    output, alone = tmp_path / "runs", tmp_path / "alone"
    command = [*words, "--methods", "paper", "--output", str(output), "--lanes", "2"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: len(done(output)) >= CELLS // 2 or driver.poll() is not None, seconds=600)
    kill(driver)
    before = done(output)

    again = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=900, check=False)

    assert again.returncode == 0, again.stderr
    assert CELLS // 2 <= len(before) < CELLS + 1
    after = done(output)
    assert len(after) == CELLS + 1  # and the untouched model
    assert {name: after[name] for name in before} == before  # nothing finished was touched
    assert all(json.loads(data)["status"] == "done" for data in after.values())
    rows = [line.split()[0] for line in again.stdout.splitlines() if line.split()]
    assert [row for row in rows if row in METHODS] == [*METHODS, *METHODS]
    assert {path.stem for path in (output / "data").glob("*.json")} == {
        *(f"{name}-test" for name in NAMES),
        *(f"{name}-train" for name in TARGETS),
    }
    # what was killed and gone on with learnt what an unbroken training in this process learns, to the bit
    plain = [*words, "--methods", "lora,lorasculpt", "--targets", "iconqa", "--output", str(alone), "--lanes", "0"]
    subprocess.run(plain, capture_output=True, timeout=600, check=True)
    folders = list(alone.glob("*-r2-iconqa-*"))
    assert len(folders) == 2
    for folder in folders:
        ours, theirs = (Change.load(root / folder.name / "change") for root in (output, alone))
        assert ours.keys() == theirs.keys()
        assert all(
            bool((value == theirs[name].tensors()[part]).all())
            for name, delta in ours.items()
            for part, value in delta.tensors().items()
        )
