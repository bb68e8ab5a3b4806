"""Time and memory of LoRASculpt's CMR with its gradient, in closed form and by plain autograd.

    python -m tests.perf.cmr --size 4096 --matrices 4 --rank 32

"plain" is Eq. 6-9 as the paper writes them, left to autograd; "blocks" is what the method runs. Both run in
fresh processes of their own, in turns, so that a busy machine slows both. Extra memory is the highest
resident set during a call, sampled every 2 ms, over that before it. Errors are against plain autograd in
float64, the largest of the first two matrices.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import Tensor

from bench.methods.lorasculpt import penalised_product, weight_norm

Layer = tuple[Tensor, Tensor, Tensor]


def layers(size: int, matrices: int, rank: int) -> list[Layer]:
    """Return W0, B and A of each matrix: W0 normal (0.02), A as LoRA starts it, B a few updates on."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(matrices):
        weight = torch.empty(size, size).normal_(0, 0.02, generator=generator)
        b = torch.empty(size, rank).normal_(0, 1e-3, generator=generator)
        a = torch.empty(rank, size).uniform_(-(size**-0.5), size**-0.5, generator=generator)
        made.append((weight, b.requires_grad_(), a.requires_grad_()))
    return made


def plain(weight: Tensor, b: Tensor, a: Tensor) -> Tensor:
    """Return |tanh(|1 / log(|W0 / |W0|_F| + 1e-15)|) * (B A)|_F, as the paper writes it."""
    with torch.no_grad():
        scaled = weight / torch.norm(weight, p=2)
        mask = torch.tanh((1 / torch.log(scaled.abs() + 1e-15)).abs())
    value: Tensor = torch.norm(mask * (b @ a), p=2)
    return value


def blocks(weight: Tensor, b: Tensor, a: Tensor) -> Tensor:
    """Return the same, as the method computes it."""
    value: Tensor = penalised_product(weight, b, a, weight_norm(weight, "fro"), 1.0)
    return value


KINDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"plain": plain, "blocks": blocks}


def call(kind: str, made: list[Layer]) -> float:
    """Compute the mean over matrices and its gradients; return the seconds it took."""
    for _, b, a in made:
        b.grad = a.grad = None
    began = time.perf_counter()
    torch.stack([KINDS[kind](*layer) for layer in made]).mean().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - began


def extra_memory(kind: str, made: list[Layer]) -> int:
    """Return by how many bytes the resident set grows during a call, at its highest."""
    process, done = psutil.Process(), threading.Event()
    before: int = process.memory_info().rss
    highest = before

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    call(kind, made)
    done.set()
    watcher.join()
    return highest - before


def errors(kind: str, made: list[Layer]) -> dict[str, float]:
    """Return the largest relative errors of value, dB and dA against plain autograd in float64."""
    worst = {"value": 0.0, "dB": 0.0, "dA": 0.0}
    for layer in made[:2]:
        results = []
        for function, dtype in ((KINDS[kind], torch.float32), (plain, torch.float64)):
            weight, b, a = (tensor.detach().to(dtype) for tensor in layer)
            value = function(weight, b.requires_grad_(), a.requires_grad_())
            value.backward()  # type: ignore[no-untyped-call]
            results.append((value.detach(), b.grad, a.grad))
        for name, got, want in zip(worst, *results, strict=True):
            assert got is not None
            assert want is not None
            worst[name] = max(worst[name], float((got.double() - want).norm() / want.norm()))
    return worst


def work(arguments: argparse.Namespace) -> None:
    """Run in a process of its own: one measurement, printed as JSON."""
    torch.set_num_threads(1)
    made = layers(arguments.size, arguments.matrices, arguments.rank)
    if arguments.measure == "memory":
        result: Any = extra_memory(arguments.kind, made)
    elif arguments.measure == "error":
        result = errors(arguments.kind, made)
    else:
        call(arguments.kind, made[:1])  # the first call pays for the libraries
        result = call(arguments.kind, made)
    print(json.dumps(result))


def measure(arguments: argparse.Namespace, what: str, kind: str) -> Any:
    """Start a process for one measurement and return what it printed."""
    options = {name: getattr(arguments, name) for name in ("size", "matrices", "rank")}
    options |= {"measure": what, "kind": kind}
    command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in options.items())]
    return json.loads(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout)


def report(arguments: argparse.Namespace) -> None:
    """Measure both kinds in turns and print the table."""
    out = sys.stdout.write
    out(f"CMR value and gradient, {arguments.matrices} matrices {arguments.size} x {arguments.size}, ")
    out(f"rank {arguments.rank}; best of {arguments.repeats}; load average {psutil.getloadavg()[0]:.1f}\n")
    out(f"{'':28}{'plain':>12}{'blocks':>12}{'ratio':>10}\n")
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.repeats):
        for kind in KINDS:
            seconds[kind].append(measure(arguments, "time", kind))
    best = [min(seconds[kind]) for kind in KINDS]
    out(f"{'seconds, one thread':28}{best[0]:12.3f}{best[1]:12.3f}{best[0] / best[1]:10.1f}\n")
    memory = [measure(arguments, "memory", kind) / 2**20 for kind in KINDS]
    out(f"{'extra peak memory, MiB':28}{memory[0]:12.1f}{memory[1]:12.1f}{memory[0] / memory[1]:10.1f}\n")
    error = {kind: measure(arguments, "error", kind) for kind in KINDS}
    for name in error["plain"]:
        label = f"relative error of {name}"
        out(f"{label:28}{error['plain'][name]:12.1e}{error['blocks'][name]:12.1e}\n")


def main() -> None:
    """Parse the command line; ``--measure`` marks a process started by ``report``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--matrices", type=int, default=4)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--measure", choices=("time", "memory", "error"), help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=tuple(KINDS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work(arguments) if arguments.measure else report(arguments)


if __name__ == "__main__":
    main()
