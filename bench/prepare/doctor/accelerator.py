"""The GPUs: what the driver has, what torch was built for, and what torch sees."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from bench.environment import UNKNOWN, driver
from bench.prepare.doctor.child import ask
from bench.prepare.doctor.finding import Finding, words
from bench.sizes import in_unit

_TORCH_SECONDS = 120.0
_DRIVER_SECONDS = 15.0
_FREE_SHARE = 0.9  # less is another process's work


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as torch sees it; memory in bytes."""

    name: str
    total: int
    free: int
    bfloat16: bool = True


@dataclass(frozen=True, slots=True)
class Accelerator:
    """``torch`` and what it was ``built_for`` ("": the CPU alone), the GPUs it sees, and those the driver has.

    ``visible`` is CUDA_VISIBLE_DEVICES, None where it is not set. ``dtype`` is what the suite trains in.
    """

    torch: str
    built_for: str = ""
    gpus: tuple[Gpu, ...] = ()
    trouble: str = ""
    driver: str = UNKNOWN
    present: tuple[str, ...] = ()
    visible: str | None = None
    suite: str = "micro"
    dtype: str = "float32"


def look(suite: str, dtype: str) -> Accelerator:
    """Return what there is; torch is asked in a process of its own."""
    answer = ask("accelerator", seconds=_TORCH_SECONDS)
    said = next(iter(answer.said), {})
    return Accelerator(
        torch=str(said.get("version", "")),
        built_for=str(said.get("built_for", "")),
        gpus=tuple(Gpu(**gpu) for gpu in said.get("gpus", ())),
        trouble=answer.error,
        driver=driver(),
        present=_present(),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        suite=suite,
        dtype=dtype,
    )


def _present() -> tuple[str, ...]:
    """Return the GPUs that NVIDIA's driver knows, whatever torch makes of them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=_DRIVER_SECONDS, check=True)
        return tuple(line.partition(": ")[2].partition(" (UUID")[0] for line in done.stdout.splitlines() if line)
    return ()


def torch(facts: Accelerator) -> Iterator[Finding]:
    """Judge torch's build against the GPUs that are there."""
    build = f"{facts.torch}, built for {f'CUDA {facts.built_for}' if facts.built_for else 'the CPU'}"
    if facts.trouble:
        yield Finding("FAIL", "torch", f"it cannot be imported: {words(facts.trouble)}", "install it again")
    elif facts.present and not facts.built_for:
        fix = "install torch's CUDA build (pytorch.org says how), or nothing uses the GPU"
        yield Finding("warn", "torch", f"{build}, but there is {facts.present[0]}", fix)
    elif facts.present and not facts.gpus:
        fix = (
            "unset it, or name a GPU that is there"
            if facts.visible is not None
            else f"the driver ({facts.driver}) is too old for CUDA {facts.built_for}: renew it, or take an older build"
        )
        hidden = "" if facts.visible is None else f" (CUDA_VISIBLE_DEVICES is {facts.visible!r})"
        yield Finding("FAIL", "torch", f"{build}, and sees none of {len(facts.present)} GPUs{hidden}", fix)
    elif facts.built_for and not facts.gpus:
        fix = "it works; the CPU build is some GB smaller"
        yield Finding("warn", "torch", f"{build}, and there is no GPU", fix)
    else:
        yield Finding("ok", "torch", build)


def gpus(facts: Accelerator) -> Iterator[Finding]:
    """Judge each GPU: other processes' memory, and the dtype that the suite trains in."""
    for index, gpu in enumerate(facts.gpus):
        text = f"{gpu.name}, {in_unit(gpu.free, 'GiB')} free of {in_unit(gpu.total, 'GiB')}, driver {facts.driver}"
        if facts.dtype == "bfloat16" and not gpu.bfloat16:
            fix = "take a newer one, or --set recipe.train_dtype=float32"
            yield Finding("FAIL", f"gpu {index}", f"{text}: no bfloat16, which the suite {facts.suite} trains in", fix)
        elif gpu.free < _FREE_SHARE * gpu.total:
            fix = "end what else runs there (nvidia-smi shows it), or leave it out with CUDA_VISIBLE_DEVICES"
            yield Finding("warn", f"gpu {index}", text, fix)
        else:
            yield Finding("ok", f"gpu {index}", text)
    if not facts.gpus and facts.dtype != "float32":
        fix = "run it where there is one; bench plan says how large"
        yield Finding("warn", "gpu", f"none, and the suite {facts.suite} is meant for one", fix)
    elif not facts.gpus:
        yield Finding("ok", "gpu", f"none; the suite {facts.suite} does without")


CHECKS = (torch, gpus)
