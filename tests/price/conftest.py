"""The suite lorasculpt where neither its data nor its model is: six tasks that know only their sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

STUBS = '''
"""The six data sets, by their sizes alone."""
from typing import ClassVar
from bench import DataError, Task

class Absent(Task):
    """A task whose data is not here."""
    name: ClassVar[str] = "absent"
    paper: ClassVar[str] = "none"
    primary: ClassVar[str] = "accuracy"
    max_new_tokens: ClassVar[int] = 128

    def examples(self, split):
        raise DataError(f"The data of {self.name} is not here.")

    def score(self, examples, predictions):
        return {}

'''
SIZES = {
    "iconqa": {"train": 10000, "test": 6316},
    "coco_caption": {"train": 10000, "test": 5000},
    "okvqa": {"test": 5046},
    "ocrvqa": {"test": 2000},
    "gqa": {"test": 12578},
    "textvqa": {"test": 5000},
}


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a plugin file with the six tasks, in place of any that is installed."""
    from bench import registry

    lines = [
        f'class {name.title().replace("_", "")}(Absent):\n    """{name}."""\n'
        f'    name: ClassVar[str] = "{name}"\n    sizes = {sizes}\n'
        for name, sizes in SIZES.items()
    ]
    path = tmp_path / "stubs.py"
    path.write_text(STUBS + "\n".join(lines))
    entries = registry._entries
    monkeypatch.setattr(registry, "_from_files", {"method": {}, "task": {}})
    monkeypatch.setattr(
        registry,
        "_entries",
        lambda kind: {name: entry for name, entry in entries(kind).items() if kind != "task" or name not in SIZES},
    )
    return path
