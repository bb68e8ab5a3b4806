"""Define the named suites: each is a base model, source tasks, target tasks and one recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

from bench.errors import UsageError
from bench.model import checkpoints, families
from bench.model.shapes import Shapes
from bench.plugins.registry import suggest
from bench.values.recipe import Recipe
from bench.values.trial import Scalar

_ASSETS = Path(str(files("bench"))) / "assets"


@dataclass(frozen=True, slots=True)
class Suite:
    """A base model (a folder or a hub id) with its source tasks, target tasks and recipe.

    ``tuned`` is the file with what a search of equal budgets chose for every method (bench.plan.tuned).
    ``parameters`` is the size of a base model that does not come with the package. ``settings`` holds the
    hyperparameters of methods whose own default, a paper's number, has no meaning for the suite's recipe.
    """

    name: str
    model: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    recipe: Recipe
    tuned: Path | None = None
    parameters: int | None = None
    settings: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)

    def revision(self) -> str:
        """Return the digest of all files that decide what the base model computes."""
        return checkpoints.revision(self.folder)

    @property
    def folder(self) -> Path:
        """The folder of the base model on this machine.

        Raises:
            UsageError: the base model is not on this machine.
        """
        return checkpoints.resolve(self.model)

    def shapes(self) -> Shapes:
        """Return the shapes of the base model's layers; those of a published one need no file of it.

        Raises:
            UsageError: the base model is not on this machine, and its shapes are not known.
        """
        return families.shapes_in(self.folder) if self.here() else families.published_shapes(self.model)

    @property
    def packaged(self) -> bool:
        """Whether the base model comes with the package."""
        return Path(self.model).is_relative_to(_ASSETS)

    @property
    def model_name(self) -> str:
        """The name of the base model for people elsewhere: its id on the hub, or the name of its folder."""
        if self.packaged:
            return f"retain-bench/{self.name}"
        place = Path(self.model)
        return place.resolve().name if place.is_absolute() or place.is_dir() else self.model

    def here(self) -> bool:
        """Return whether the base model is on this machine."""
        try:
            return (self.folder / "config.json").is_file()
        except UsageError:
            return False


MICRO = Suite(
    name="micro",
    model=str(_ASSETS / "micro"),
    sources=("easy_vqa", "cover_digits", "sign_words", "thing_facts"),
    targets=("icon_choice", "scene_caption"),
    # No dropout, because drawing its masks takes 28 % of an update's time on a CPU.
    recipe=Recipe(updates=150, batch_size=32, lr=1e-3, connector_lr=1e-4, dropout=0.0),
    tuned=_ASSETS / "tuned" / "micro.json",
    # LoRASculpt's share of updates, 0.0533, would be 8 of 150: too few for A to leave its random start. On validation
    # (ranks 16, 32 and 64, both targets, seed 0) 0.5 has a mean Avg of 93.2, and 0.3 of 92.3.
    settings={"lorasculpt": {"warmup": 0.5}},
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
    # 3 epochs of 10,000 examples in batches of 16. The authors group by length. Because all examples have an image,
    # this decides only which GPU gets which of the 16.
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
    parameters=7_063_427_072,
)

SUITES = {suite.name: suite for suite in (MICRO, LORASCULPT)}


def named_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        UsageError: no suite has this name.
    """
    if name not in SUITES:
        raise suggest("suite", name, SUITES)
    return SUITES[name]


def by_revision(revision: str, noted: Mapping[str, tuple[str, str]] = {}) -> Suite:
    """Return the suite whose base model has this revision.

    ``noted`` holds the names of suite and model that a run folder noted, by revision.

    Raises:
        UsageError: no suite has it, because the trial in question was run with another version of the suite.
    """
    for suite in SUITES.values():
        if suite.here() and suite.revision() == revision:
            return suite
    name, model = noted.get(revision, ("", ""))
    if name in SUITES:
        return replace(SUITES[name], model=model, tuned=None)
    raise UsageError(
        f"No suite here has the base model {revision}. Use the version of retain-bench that ran the trial."
    )
