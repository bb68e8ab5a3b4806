"""What a 7B model costs on this machine's GPU: updates of every method, answers, an edit, 4 bits.

python -m tests.perf.gpu --minutes 8

It needs no installation: a copy of the tree, and torch, transformers, peft, safetensors, numpy and Pillow. The model is
drawn at random and so are the pictures, so nothing is downloaded. The file of --output is whole after every item.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

from tests.perf.gpu import uninstalled

_BEGAN = time.monotonic()
_ROOT = Path(__file__).resolve().parents[3]


def _minutes(text: str) -> float:
    """Return a positive number of minutes."""
    if not 0 < (minutes := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of minutes.")
    return minutes


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.perf.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=_minutes, default=8.0, help="stop after these minutes (default: %(default)g)")
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="the file (default: %(default)s)")
    parser.add_argument("--items", type=lambda text: text.split(","), help="only these, such as lora,answers,edit,4bit")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, on the CPU: a proof that everything runs")
    parser.add_argument("--device", help="the device: cuda, or cpu with --tiny; pretend refuses to mix devices")
    options = parser.parse_args()

    uninstalled.use(_ROOT)
    # Imported after that and after the options, because the libraries take seconds to load.
    from tests.perf.gpu.clock import Clock
    from tests.perf.gpu.items import items
    from tests.perf.gpu.measure import Measurement, device_named

    found = items()
    if unknown := {*(options.items or ())} - {item.name for item in found}:
        parser.error(f"--items {','.join(unknown)} is not known. Known: {','.join(item.name for item in found)}.")
    device = device_named(options.device or ("cpu" if options.tiny else "cuda"))
    if device is None:
        parser.error("This machine has no CUDA device. Use --tiny to run a tiny model on the CPU.")
    chosen = [item for item in found if not options.items or item.name in options.items]
    clock = Clock(60 * options.minutes, _BEGAN)
    Measurement(options.output, device, clock, small=options.tiny).run(chosen)


if __name__ == "__main__":
    main()
