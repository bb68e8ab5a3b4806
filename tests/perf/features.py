"""Time of vision features: by the tower, from the files that lanes share, and from a lane's memory.

    python -m tests.perf.features --layers 1 --images 16
    python -m tests.perf.features --micro --images 400

The tower is CLIP's ViT-L at 336 pixels with random weights and fewer layers, in float32 on one torch thread; the
pictures are JPEG files of 640 x 480. Or both are those of micro, for which only this script writes files. All rows are
measured in turns in one process; times are medians of the rounds. "one after another" is how a lane worked before:
decode, resize, then the tower. The last line counts the images that would pass the towers of two lanes which read all
splits of micro's plan of 42 cells, if files were written for a tower of any size: micro's is too small for them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.model.families import family_of
from bench.model.llava.tiny import Shape, Side, fresh, processor, word_tokenizer
from bench.model.resident import Base, Form
from bench.plan.suite import MICRO
from bench.plugins.images import rgb_image
from bench.plugins.tasks import Tasks
from bench.text import text_table
from bench.trial import vision
from bench.trial.feature_files import FeatureFiles
from bench.trial.features import FeatureCache
from bench.trial.warm import Warm

_GROUP = 32
_LIMIT = 20 * 10**9
_CPU = torch.device("cpu")

Pictures = Sequence[Image.Image | Path]


def large(layers: int) -> Base:
    """Return a base whose tower has the sides of LLaVA-1.5's; its decoder is tiny."""
    tower = Side(width=1024, inner=4096, layers=layers, heads=16)
    shape = Shape(336, 14, tower, Side(width=32, inner=40, layers=1, heads=2), feature_layer=-2, max_length=1024)
    tokenizer = word_tokenizer(["color"])
    torch.manual_seed(0)
    model = fresh(tokenizer, shape).eval()
    return Base(model, family_of(model).take_tower(model), processor(tokenizer, shape), {}, _CPU)


def photos(folder: Path, count: int) -> list[Path]:
    """Write smooth random pictures of 640 x 480 as JPEG files, and return their paths."""
    rng, paths = np.random.default_rng(0), []
    for place in range(count):
        small = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        small.resize((640, 480), Image.Resampling.BICUBIC).save(path := folder / f"{place}.jpg", quality=90)
        paths.append(path)
    return paths


def measured(base: Base, pictures: Pictures, folder: Path, rounds: int) -> list[tuple[str, float, int]]:
    """Return name, seconds and tower passes of each way to the features of the pictures."""
    groups = [pictures[start : start + _GROUP] for start in range(0, len(pictures), _GROUP)]
    encode, passes = base.family.encode, 0
    held, known = FeatureCache(_LIMIT), object()

    def counted(tower: object, config: object, pixels: Sequence[object]) -> object:
        nonlocal passes
        passes += len(pixels)
        return encode(tower, config, pixels)  # type: ignore[arg-type]

    def through(files: FeatureFiles) -> Callable[[], object]:
        return lambda: list(vision.encoded(base, groups, files))

    def one_after_another() -> object:
        return [base.encode(base.pixels([rgb_image(image) for image in group])) for group in groups]

    def remembered() -> object:
        return held.take(known, range(len(groups)), lambda some: vision.encoded(base, groups, held.files))

    remembered()
    base.family.encode = counted  # type: ignore[method-assign, assignment]
    try:
        seconds: dict[str, list[float]] = {}
        counts: dict[str, int] = {}
        for each in range(rounds):
            cache = folder / f"round-{each}"
            ways: dict[str, Callable[[], object]] = {
                "tower, one after another": one_after_another,
                "tower, decoded in threads": through(FeatureFiles(cache, 0)),
                "tower, and files are written": through(FeatureFiles(cache, _LIMIT)),
                "from the files of another lane": through(FeatureFiles(cache, _LIMIT)),
                "from the lane's memory": remembered,
            }
            for name, way in ways.items():
                passes, began = 0, time.perf_counter()
                way()
                seconds.setdefault(name, []).append(time.perf_counter() - began)
                counts[name] = passes
    finally:
        del base.family.encode
    return [(name, statistics.median(values), counts[name]) for name, values in seconds.items()]


def passes_of_the_plan(folder: Path, *, shared: bool) -> int:
    """Return how many images pass the towers of two lanes that read all splits of micro's plan of 42 cells.

    Only the first of a group really does, because the others only count.
    """
    total, form, tasks = 0, Form(), Tasks()
    encode = Base.encode

    def counted(base: Base, pixels: Sequence[object]) -> object:
        nonlocal total
        total += len(pixels)
        (first,) = encode(base, pixels[:1])  # type: ignore[arg-type]
        return [{name: value.clone() for name, value in first.items()} for _ in pixels]

    Base.encode = counted  # type: ignore[method-assign, assignment]
    try:
        for _ in range(2):
            files = FeatureFiles(folder, _LIMIT if shared else 0)
            lane = Warm(MICRO.folder, tasks, _CPU, 4 << 30, files)
            corpora = [lane.taught(form, name, MICRO.recipe) for name in MICRO.targets]
            scored = (*MICRO.sources, *MICRO.targets)
            corpora += [lane.corpus(form, name, "test", MICRO.recipe.template) for name in scored]
            for corpus in corpora:
                corpus.prompt_batch(range(len(corpus.examples)))
    finally:
        Base.encode = encode  # type: ignore[method-assign]
    return total


def main() -> None:
    """Print the table, and the passes in the plan of 42 cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=1, help="of the tower; LLaVA-1.5's has 24")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--micro", action="store_true", help="take the tower and the pictures of micro")
    options = parser.parse_args()
    torch.set_num_threads(1)
    vision.SMALL = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.micro:
            base = Base.load(MICRO.folder, Form(), _CPU)
            pictures: Pictures = [each.image for each in Tasks().load("icon_choice").examples("test")[: options.images]]
        else:
            base, pictures = large(options.layers), photos(folder, options.images)
        rows = measured(base, pictures, folder, options.rounds)
        cells = [(name, f"{1000 * value / len(pictures):.3f}", str(count)) for name, value, count in rows]
        print("\n".join(text_table([(f"{len(pictures)} images", "ms per image", "tower passes"), *cells])))
        before, after = (passes_of_the_plan(folder, shared=shared) for shared in (False, True))
        print("Micro's tower is too small for files (vision.SMALL). If it had them, its plan of 42 cells would send")
        print(f"through the towers of two lanes: {before:,} images without files, {after:,} with files")


if __name__ == "__main__":
    main()
