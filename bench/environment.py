"""What a number was measured with (versions, hardware, commit), and how much memory a trial took."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bench.text import shareable

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bench.values.recipe import Recipe
    from bench.values.resources import Resources

UNKNOWN = "unknown"
AND = " and "  # joins the values of a field if a training was resumed in another environment

_PACKAGES = ("retain-bench", "torch", "transformers", "peft", "ray", "numpy", "pillow", "tokenizers")


def environment(device: torch.device) -> dict[str, str]:
    """Return package versions, machine, device, driver, threads and the commit of the running code."""
    import torch

    facts = {name: _version(name) for name in _PACKAGES}
    facts["python"] = platform.python_version()
    facts["machine"] = platform.machine()
    facts["processor"] = _processor()
    facts["threads"] = str(torch.get_num_threads())
    return facts | _device(device) | {"commit": commit()}


def training_environment(
    device: torch.device, recipe: Recipe, resources: Resources, model: nn.Module
) -> dict[str, str]:
    """Return what a change is learnt with: the environment, and the settings that affect rounding.

    ``micro_batch`` is the most examples a worker may take at once. If memory forces a smaller micro-batch, the code
    that trains overwrites the field. ``plain_blocks`` counts the first decoder blocks without gradient checkpointing.
    """
    micro_batch = resources.micro_batch_size or recipe.micro_batch_size or recipe.batch_size
    facts = environment(device) | {"attention": attention(model), "dtype": recipe.train_dtype}
    facts |= {"quantization": recipe.quantization, "workers": str(resources.workers), "micro_batch": str(micro_batch)}
    facts["plain_blocks"] = "all" if resources.plain_blocks is None else str(resources.plain_blocks)
    if recipe.quantization != "none":
        facts["bitsandbytes"] = _version("bitsandbytes")
    return facts


def evaluation_environment(model: nn.Module, dtype: str, batch: int, device: torch.device) -> dict[str, str]:
    """Return what scores are generated with; ``batch`` answers are generated at once."""
    facts = {name: _version(name) for name in ("torch", "transformers", "tokenizers", "numpy", "pillow")}
    facts |= {"attention": attention(model), "dtype": dtype, "eval_batch": str(batch)}
    return facts | {"processor": _processor()} | _device(device)


def tower_environment(tower: nn.Module, device: torch.device) -> dict[str, str]:
    """Return what the bits of vision features depend on, except the tower and the images."""
    import torch
    from PIL import features

    facts = {name: _version(name) for name in ("torch", "transformers", "numpy", "pillow")}
    facts |= {"jpeg": str(features.version("libjpeg_turbo")), "attention": attention(tower)}
    facts |= {"machine": platform.machine(), "processor": _processor()}
    if device.type == "cpu":
        facts |= {"instructions": torch.backends.cpu.get_cpu_capability(), "threads": str(torch.get_num_threads())}
    return facts | {name: value for name, value in _device(device).items() if name != "devices"}


def known_facts(environments: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return every value of each field, the first one first, in a form that people elsewhere may read.

    >>> known_facts([{"device": "A100"}, {"device": "A100 and H100", "torch": "2.13.0"}])
    {'device': ['A100', 'H100'], 'torch': ['2.13.0']}
    """
    texts: dict[str, dict[str, None]] = {}
    for facts in environments:
        for name, text in facts.items():
            texts.setdefault(name, {})[text] = None
    return {
        name: list(dict.fromkeys(shareable(part) for text in each for part in text.split(AND)))
        for name, each in texts.items()
    }


def together(*environments: Mapping[str, str]) -> dict[str, str]:
    """Merge environments that trained one change: each field lists all its values, joined by "and".

    They may have trained one after the other, or at the same time.

    >>> together({"device": "A100", "torch": "2.13.0"}, {"device": "H100", "torch": "2.13.0"})
    {'device': 'A100 and H100', 'torch': '2.13.0'}
    """
    found: dict[str, dict[str, None]] = {}
    for facts in environments:
        for name, text in facts.items():
            found.setdefault(name, {}).update(dict.fromkeys(text.split(AND)))
    return {name: AND.join(values) for name, values in found.items()}


def attention(model: nn.Module) -> str:
    """Return the name that transformers gives a model's attention implementation, or "unknown"."""
    return str(getattr(getattr(model, "config", None), "_attn_implementation", None) or UNKNOWN)


def _device(device: torch.device) -> dict[str, str]:
    """Return the device's name; for a GPU also the number of GPUs, CUDA, cuDNN and the driver."""
    import torch

    if device.type != "cuda":
        return {"device": device.type}
    return {
        "device": torch.cuda.get_device_name(device),
        "devices": str(torch.cuda.device_count()),
        "cuda": str(torch.version.cuda or torch.version.hip),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        "driver": driver(),
    }


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_version = cache(version)  # to read a package's metadata takes 3 ms, and each record names eight packages


@cache
def _processor() -> str:
    """Return the CPU's model name as Linux reports it, or "unknown"."""
    with suppress(OSError):
        if found := re.search(
            r"^model name\s*:\s*(.*?)\s*$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
        ):
            return found[1]
    return platform.processor() or UNKNOWN


@cache
def driver() -> str:
    """Return the version of NVIDIA's kernel driver, or "unknown"."""
    with suppress(OSError):
        if found := re.search(r"\s(\d+(?:\.\d+)+)\s", Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")):
            return found[1]
    return UNKNOWN


@cache
def commit() -> str:
    """Return the commit of the source tree, with "+" if tracked files differ from it, or "unknown"."""
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():
        return UNKNOWN
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=10
    ).stdout.strip()


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak memory counter if the system can."""
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:  # not Linux, or not allowed: then the peak is that of the whole process
        return


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak since the last reset: the device's memory, or this process's resident memory."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
