"""Checks of the GPUs: what the driver knows, what torch was built for, and what torch sees."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from bench.environment import UNKNOWN, driver
from bench.prepare.doctor.child import ask
from bench.prepare.doctor.finding import Diagnosis, words
from bench.sizes import in_unit

_TORCH_SECONDS = 120.0
_DRIVER_SECONDS = 15.0
_FREE_SHARE = 0.9  # if less is free, another process uses the GPU


@dataclass(frozen=True, slots=True)
class VisibleGpu:
    """A GPU as torch sees it; memory in bytes."""

    name: str
    total: int
    free: int
    bfloat16: bool = True


@dataclass(frozen=True, slots=True)
class Accelerator:
    """The facts about the GPUs: torch's version and build, the GPUs it sees, and those the driver knows.

    ``built_for`` is a CUDA version, or "" for the CPU alone. ``visible`` is CUDA_VISIBLE_DEVICES, None if it is not
    set. ``dtype`` is the data type that the suite trains in.
    """

    torch: str
    built_for: str = ""
    gpus: tuple[VisibleGpu, ...] = ()
    trouble: str = ""
    driver: str = UNKNOWN
    present: tuple[str, ...] = ()
    visible: str | None = None
    suite: str = "micro"
    dtype: str = "float32"


def look(suite: str, dtype: str) -> Accelerator:
    """Return the facts about the GPUs; torch is asked in a separate process."""
    answer = ask("accelerator", seconds=_TORCH_SECONDS)
    said = next(iter(answer.said), {})
    return Accelerator(
        torch=str(said.get("version", "")),
        built_for=str(said.get("built_for", "")),
        gpus=tuple(VisibleGpu(**gpu) for gpu in said.get("gpus", ())),
        trouble=answer.error,
        driver=driver(),
        present=_present(),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        suite=suite,
        dtype=dtype,
    )


def _present() -> tuple[str, ...]:
    """Return the GPUs that NVIDIA's driver knows, even if torch does not see them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=_DRIVER_SECONDS, check=True)
        return tuple(line.partition(": ")[2].partition(" (UUID")[0] for line in done.stdout.splitlines() if line)
    return ()


def torch(facts: Accelerator) -> Iterator[Diagnosis]:
    """Judge whether torch's build fits the machine's GPUs."""
    build = f"{facts.torch}, built for {f'CUDA {facts.built_for}' if facts.built_for else 'the CPU'}"
    if facts.trouble:
        yield Diagnosis("FAIL", "torch", f"it cannot be imported: {words(facts.trouble)}", "reinstall it")
    elif facts.present and not facts.built_for:
        fix = "install torch's CUDA build (pytorch.org says how); until then nothing uses the GPU"
        yield Diagnosis("warn", "torch", f"{build}, but this machine has a GPU: {facts.present[0]}", fix)
    elif facts.present and not facts.gpus:
        fix = (
            "unset it, or name a GPU that exists"
            if facts.visible is not None
            else f"update the driver ({facts.driver}; too old for CUDA {facts.built_for}), or use an older build"
        )
        hidden = "" if facts.visible is None else f" (CUDA_VISIBLE_DEVICES is {facts.visible!r})"
        yield Diagnosis("FAIL", "torch", f"{build}, but sees none of {len(facts.present)} GPUs{hidden}", fix)
    elif facts.built_for and not facts.gpus:
        fix = "not needed; torch's CPU build would save some GB of disk"
        yield Diagnosis("warn", "torch", f"{build}, but this machine has no GPU", fix)
    else:
        yield Diagnosis("ok", "torch", build)


def gpus(facts: Accelerator) -> Iterator[Diagnosis]:
    """Judge each GPU: other processes' memory, and the dtype that the suite trains in."""
    for index, gpu in enumerate(facts.gpus):
        text = f"{gpu.name}, {in_unit(gpu.free, 'GiB')} free of {in_unit(gpu.total, 'GiB')}, driver {facts.driver}"
        if facts.dtype == "bfloat16" and not gpu.bfloat16:
            fix = "use a newer GPU, or --set recipe.train_dtype=float32"
            yield Diagnosis("FAIL", f"gpu {index}", f"{text}: no bfloat16, in which suite {facts.suite} trains", fix)
        elif gpu.free < _FREE_SHARE * gpu.total:
            fix = "end the other processes on it (nvidia-smi lists them), or exclude it with CUDA_VISIBLE_DEVICES"
            yield Diagnosis("warn", f"gpu {index}", text, fix)
        else:
            yield Diagnosis("ok", f"gpu {index}", text)
    if not facts.gpus and facts.dtype != "float32":
        fix = "run it on a machine with a GPU; bench plan says how large a GPU it needs"
        yield Diagnosis("warn", "gpu", f"none, but the suite {facts.suite} is meant for one", fix)
    elif not facts.gpus:
        yield Diagnosis("ok", "gpu", f"none; the suite {facts.suite} does not need one")


CHECKS = (torch, gpus)
