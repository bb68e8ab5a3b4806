"""The named suites: a base model, the tasks it may forget, the tasks it learns, and one recipe for all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.errors import DataError, UsageError
from bench.spec import Recipe

_ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True, slots=True)
class Suite:
    """A base model (a folder, or a hub id) with its source tasks, target tasks and recipe.

    ``tuned`` is the table of what an equal search chose for every method (bench.tuned).
    """

    name: str
    model: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    recipe: Recipe
    tuned: Path | None = None

    def revision(self) -> str:
        """Return the digest of every file of the base model that decides what it computes."""
        return _revision(self.folder)

    @property
    def folder(self) -> Path:
        """Where the base model lies on this machine."""
        return Path(self.model)

    def largest_rank(self) -> int:
        """Return the largest rank that still is low: the smallest side of an adapted layer."""
        text = json.loads((self.folder / "config.json").read_text())["text_config"]
        heads = text["num_attention_heads"]
        head = text.get("head_dim") or text["hidden_size"] // heads
        keys = text.get("num_key_value_heads", heads) * head
        return int(min(text["hidden_size"], text["intermediate_size"], keys))


@cache
def _revision(folder: Path) -> str:
    names = sorted(path for path in folder.glob("*") if path.suffix in {".json", ".safetensors"})
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} holds no base model (no config.json). Reinstall, or run bench pretrain.")
    total = hashlib.sha256()
    for path in names:
        total.update(path.name.encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


MICRO = Suite(
    name="micro",
    model=str(_ASSETS / "micro"),
    sources=("easy_vqa", "cover_digits", "sign_words", "thing_facts"),
    targets=("icon_choice", "scene_caption"),
    # No dropout: drawing its masks is 28 % of an update's time on a CPU.
    recipe=Recipe(updates=150, batch_size=32, lr=1e-3, connector_lr=1e-4, dropout=0.0),
    tuned=_ASSETS / "tuned" / "micro.json",
)

_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

LORASCULPT = Suite(
    name="lorasculpt",
    model="llava-hf/llava-1.5-7b-hf",
    sources=("okvqa", "ocrvqa", "gqa", "textvqa"),
    targets=("iconqa", "coco_caption"),
    # 3 epochs of 10,000 examples in batches of 16. The authors group by length, which decides only which GPU gets
    # which of the 16: all examples have an image.
    recipe=Recipe(
        updates=1875,
        batch_size=16,
        lr=2e-4,
        connector_lr=2e-5,
        dropout=0.05,
        train_dtype="bfloat16",
        eval_dtype="float16",
        template=f"{_SYSTEM} USER: <image>\n{{prompt}} ASSISTANT:",
        image="pad",
    ),
)

SUITES = {suite.name: suite for suite in (MICRO, LORASCULPT)}


def by_revision(revision: str) -> Suite:
    """Return the suite whose base model is of this revision.

    Raises:
        UsageError: none is, since the trial in question was run with another version of the suite.
    """
    for suite in SUITES.values():
        if suite.folder.is_dir() and suite.revision() == revision:
            return suite
    raise UsageError(f"No suite here has the base model {revision}: the trial was run with another version.")
