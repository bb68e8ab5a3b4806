"""Small data sets in the form of the six real ones: as downloaded, as on the hub, and as LLaVA's files.

    write_files(root, "okvqa")              # the official files, under root as tasks find them
    write_hub(folder, "okvqa")              # a folder that datasets.load_dataset reads: okvqa.hub=<folder>
    train, test = write_llava(folder, "okvqa")   # okvqa.train=<train> okvqa.test=<test>; the images are those of root

A picture is of one colour, under a faint pattern of its own, and every question can be answered from the colour.
All need ``SETTINGS``: their counts are not the official ones.
"""

from __future__ import annotations

from pathlib import Path

from bench import Reading, Task
from bench.plugins.tasks import Tasks
from bench.values.trial import Scalar

from .hub import write_hub
from .llava import write_llava
from .official import edit, write_files
from .pictures import COLORS, Sizes

NAMES = ("iconqa", "coco_caption", "okvqa", "ocrvqa", "gqa", "textvqa")
SETTINGS: dict[str, dict[str, Scalar]] = {name: {"expect": "any"} for name in NAMES}

__all__ = ["COLORS", "NAMES", "SETTINGS", "Sizes", "edit", "opened", "write_files", "write_hub", "write_llava"]


def opened(name: str, root: Path, skip_bad: int = 0, **settings: Scalar) -> Task:
    """Return a new task, or one of its variants, that reads what is under ``root``."""
    plain = name.partition("@")[0]
    return Tasks(reading=Reading(root, skip_bad), settings={plain: {**SETTINGS[plain], **settings}}).load(name)
