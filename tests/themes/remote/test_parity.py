from __future__ import annotations

from pathlib import Path

from bench.store.run_folder import Store
from bench.trial.parity import Parity, read, write


def test_differences_are_kept_wherever_the_run_folder_is(root: Path) -> None:
    found = Parity("zero_shot", {"dtype": "float16"}, ())

    write(Store(root), "a", found)

    assert read(Store(root)) == {"a": found}
