"""Check the GPUs: what the driver knows, what torch was built for, and what torch sees."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.environment import driver
from bench.prepare.doctor.child import ask, completed
from bench.prepare.doctor.diagnosis import Diagnosis, words
from bench.sizes import in_unit

_TORCH_SECONDS = 120.0
_FREE_SHARE = 0.9  # if less is free, another process uses the GPU


@dataclass(frozen=True, slots=True)
class VisibleGpu:
    """A GPU as torch sees it; memory in bytes."""

    name: str
    total: int
    free: int
    bfloat16: bool = True


def check(suite: str, dtype: str) -> Iterator[Diagnosis]:
    """Check the GPUs for a suite that trains in ``dtype``; torch is asked in a separate process."""
    answer = ask("accelerator", seconds=_TORCH_SECONDS)
    seen = [VisibleGpu(**gpu) for gpu in answer.first.get("gpus", ())]
    if answer.error:
        yield Diagnosis("FAIL", "torch", f"it cannot be imported: {words(answer.error)}", "reinstall it")
    else:
        hidden_by = os.environ.get("CUDA_VISIBLE_DEVICES")
        yield torch_build(answer.first["version"], answer.first["built_for"], len(seen), _present(), hidden_by)
    yield from gpus(seen, suite, dtype)


def _present() -> list[str]:
    """Return the GPUs that NVIDIA's driver knows, even if torch does not see them."""
    listed = completed("nvidia-smi", "-L")
    lines = listed.stdout.splitlines() if listed else ()
    return [line.partition(": ")[2].partition(" (UUID")[0] for line in lines if line]


def torch_build(version: str, built_for: str, seen: int, present: Sequence[str], visible: str | None) -> Diagnosis:
    """Judge whether torch's build fits the machine's GPUs: torch sees ``seen`` of those that are ``present``.

    ``built_for`` is a CUDA version, or "" for the CPU alone. ``visible`` is CUDA_VISIBLE_DEVICES, None if it is not
    set.
    """
    build = f"{version}, built for {f'CUDA {built_for}' if built_for else 'the CPU'}"
    if present and not built_for:
        fix = "install torch's CUDA build (pytorch.org says how); until then nothing uses the GPU"
        return Diagnosis("warn", "torch", f"{build}, but this machine has a GPU: {present[0]}", fix)
    if present and not seen:
        hidden, fix = "", f"update the driver ({driver()}; too old for CUDA {built_for}), or use an older build"
        if visible is not None:
            hidden, fix = f" (CUDA_VISIBLE_DEVICES is {visible!r})", "unset it, or name a GPU that exists"
        return Diagnosis("FAIL", "torch", f"{build}, but sees none of {len(present)} GPUs{hidden}", fix)
    if built_for and not seen:
        fix = "not needed; torch's CPU build would save some GB of disk"
        return Diagnosis("warn", "torch", f"{build}, but this machine has no GPU", fix)
    return Diagnosis("ok", "torch", build)


def gpus(seen: Sequence[VisibleGpu], suite: str, dtype: str) -> Iterator[Diagnosis]:
    """Judge each GPU: other processes' memory, and the dtype that the suite trains in."""
    for index, gpu in enumerate(seen):
        subject = f"gpu {index}"
        text = f"{gpu.name}, {in_unit(gpu.free, 'GiB')} free of {in_unit(gpu.total, 'GiB')}, driver {driver()}"
        if dtype == "bfloat16" and not gpu.bfloat16:
            fix = "use a newer GPU, or --set recipe.train_dtype=float32"
            yield Diagnosis("FAIL", subject, f"{text}: no bfloat16, in which suite {suite} trains", fix)
        elif gpu.free < _FREE_SHARE * gpu.total:
            fix = "end the other processes on it (nvidia-smi lists them), or exclude it with CUDA_VISIBLE_DEVICES"
            yield Diagnosis("warn", subject, text, fix)
        else:
            yield Diagnosis("ok", subject, text)
    if not seen and dtype != "float32":
        fix = "run it on a machine with a GPU; bench plan says how large a GPU it needs"
        yield Diagnosis("warn", "gpu", f"none, but the suite {suite} is meant for one", fix)
    elif not seen:
        yield Diagnosis("ok", "gpu", f"none; the suite {suite} does not need one")
