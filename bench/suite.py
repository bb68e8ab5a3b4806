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
    """A base model with its source tasks, target tasks and recipe.

    ``tuned`` is the table of what an equal search chose for every method (bench.tuned).
    """

    name: str
    model: Path
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    recipe: Recipe
    tuned: Path | None = None

    def revision(self) -> str:
        """Return the digest of every file of the base model that decides what it computes."""
        return _revision(self.model)

    def largest_rank(self) -> int:
        """Return the largest rank that still is low: the smallest side of an adapted layer."""
        text = json.loads((self.model / "config.json").read_text())["text_config"]
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
    model=_ASSETS / "micro",
    sources=("easy_vqa", "cover_digits", "sign_words", "thing_facts"),
    targets=("icon_choice", "scene_caption"),
    # No dropout: drawing its masks is 28 % of an update's time on a CPU.
    recipe=Recipe(updates=150, batch_size=32, lr=1e-3, connector_lr=1e-4, dropout=0.0),
    tuned=_ASSETS / "tuned" / "micro.json",
)

SUITES = {suite.name: suite for suite in (MICRO,)}


def by_revision(revision: str) -> Suite:
    """Return the suite whose base model is of this revision.

    Raises:
        UsageError: none is, since the trial in question was run with another version of the suite.
    """
    for suite in SUITES.values():
        if suite.revision() == revision:
            return suite
    raise UsageError(f"No suite here has the base model {revision}: the trial was run with another version.")
