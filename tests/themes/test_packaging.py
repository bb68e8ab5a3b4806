import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

import bench

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_holds_one_top_level_package_with_plugins_base_model_and_tables(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)

    names = ZipFile(next(tmp_path.glob("*.whl"))).namelist()

    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"bench"}
    for name in (
        "bench/checks/tiny.py",
        "bench/methods/lorasculpt.py",
        "bench/tasks/easy_vqa.py",
        "bench/results/latex.py",
        "bench/results/lorasculpt_paper.py",
        "bench/results/published/lorasculpt.csv",
        "bench/assets/micro/model.safetensors",
        "bench/assets/micro/tokenizer.json",
    ):
        assert name in names


@pytest.mark.parametrize("folder", ["methods", "tasks", "results"])
def test_a_plugin_folder_cannot_be_imported_under_a_second_name(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode != 0
    assert f"Import this folder as 'bench.{folder}'" in done.stderr


def test_the_public_names_are_the_plugin_authors_interface() -> None:
    assert bench.__all__ == [
        "Adapter",
        "BenchError",
        "Card",
        "Change",
        "DataError",
        "Decomposed",
        "Delta",
        "Dense",
        "Dimensions",
        "Download",
        "EditContext",
        "EditMethod",
        "Estimate",
        "Example",
        "Fault",
        "Layer",
        "LayerShape",
        "Leaderboard",
        "LowRank",
        "Method",
        "Paper",
        "PluginError",
        "PublishedRow",
        "Reading",
        "Recipe",
        "Replaced",
        "Row",
        "Sparse",
        "Split",
        "Step",
        "StoreError",
        "Table",
        "Task",
        "TrainMethod",
        "TrialError",
        "UsageError",
        "hyper",
        "insert_lora",
        "lora_adapters",
        "lora_change",
        "option",
        "published_rows",
    ]


def test_every_public_name_can_be_had() -> None:
    assert all(getattr(bench, name) is not None for name in bench.__all__)
