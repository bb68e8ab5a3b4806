"""The speed of a GPU: measured by a probe, or a published figure scaled by peak FLOP/s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.errors import UsageError
from bench.plugins.registry import BASELINE
from bench.sizes import GIB
from bench.store.json_note import read_note, write_note

PROBE = "probe.json"


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A kind of GPU: its memory in bytes, and its peak dense bf16 FLOP/s with float32 accumulation."""

    name: str
    memory_bytes: int
    flops: float | None


# Memory in GiB, and peak dense bf16 FLOP/s / 1e12 from the vendor's data sheets.
GPUS: Mapping[str, GpuModel] = {
    name: GpuModel(name, gib * GIB, tera * 1e12)
    for name, gib, tera in (
        ("A100 40GB", 40, 312),
        ("A100 80GB", 80, 312),
        ("H100", 80, 989),
        ("H200", 141, 989),
        ("L40S", 48, 362),
        ("L4", 24, 121),
        ("RTX A6000", 48, 155),
        ("RTX 4090", 24, 165),
        ("RTX 3090", 24, 71),
    )
}
REFERENCE = GPUS["A100 40GB"]
# LLaVA's README gives about 10 hours on 8 A100 of 40 GB for the instruction tuning of LLaVA-v1.5-7B; the mixture is
# named for its 665k samples. Its script tunes the whole decoder with gradient checkpointing. LoRA needs about a quarter
# less arithmetic, and even less without checkpointing; the estimate leaves this out.
SOURCE = "LLaVA's README: 665k samples in about 10 h on 8 x A100 40GB"
_SAMPLES_PER_SECOND = 665_000 / (10 * 3600) / 8
_PARAMETERS = 7.06e9
# Assumed: a training example costs four passes (forward, forward again for checkpointing, and a backward pass that
# costs two), a prompt costs one of them, and the tokens of its answer cost a part of another.
_ANSWERS_PER_SAMPLE = 3.0
# Of a frozen base, the backward pass through the decoder costs as much as the forward pass: LoRA trains few weights.
PASSES_PER_EXAMPLE = 2
# An edit in the order of the blocks runs each of them twice, to measure it and to pass on its edited output. Assumed:
# what it computes from the inputs costs a third pass. Model Tailor's H costs 0.85 of one for the 7B model.
EDIT_PASSES = 3
_KNOWN_SIZES = (1e9, 40e9)


Slowdown = Callable[[str], float]  # a method's name -> how many times as long as LoRA's it declares an update to take


@dataclass(frozen=True, slots=True)
class Fleet:
    """A number of GPUs of one kind."""

    gpu: GpuModel
    count: int


@dataclass(frozen=True, slots=True)
class Rates:
    """One GPU's training examples and generated answers per second, and the origin of the figures.

    ``train`` is plain LoRA's rate. ``methods`` holds training examples per second by method, ``answers`` answers per
    second by task, and ``edits`` the seconds of an edit by method, as far as they were measured.
    """

    train: float
    answer: float
    origin: str
    methods: Mapping[str, float]
    answers: Mapping[str, float] = field(default_factory=dict)
    edits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_methods(
        cls,
        methods: Mapping[str, float],
        slowdown: Slowdown,
        answer: float,
        origin: str,
        answers: Mapping[str, float] | None = None,
        edits: Mapping[str, float] | None = None,
    ) -> Self:
        """Return the rates that follow from measured training examples per second by method.

        Plain LoRA's rate is the highest of them, because what a method adds to LoRA makes it no faster: a LoRA that
        looks slower came first, and also computed the vision features of the images. A method that declares less than
        LoRA's time counts as it declares. If LoRA was not measured, every method does.
        """
        known = BASELINE in methods
        times = {name: min(1.0, slowdown(name)) if known else slowdown(name) for name in methods}
        plain = max(rate * times[name] for name, rate in methods.items())
        own = {**methods, BASELINE: plain} if known else methods
        return cls(plain, answer, origin, own, answers or {}, edits or {})

    def of(self, method: str, slowdown: float = 1.0) -> float:
        """Return a method's training examples per second; ``slowdown`` is what the method declares."""
        return self.methods.get(method, self.train / slowdown)

    def answers_of(self, task: str) -> float:
        """Return the answers per second of a task."""
        return self.answers.get(task, self.answer)

    def edit_seconds(self, method: str, captured: int = 0) -> float:
        """Return the seconds of an edit that captures a number of examples.

        If the method was not measured, it takes those of its passes. If it captures nothing, it only reads weights, as
        the fastest edit that was measured does.
        """
        if method in self.edits:
            return self.edits[method]
        if captured:
            return captured * EDIT_PASSES / PASSES_PER_EXAMPLE / self.train
        return min(self.edits.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe measured on a device: training examples per second by method, answers per second."""

    device: str
    model: str
    updates: int
    micro_batch: int
    train: Mapping[str, float]
    answer: float
    answers: int

    def save(self, folder: Path) -> Path:
        """Write the measurement into a run folder and return its file."""
        path = folder / PROBE
        write_note(path, asdict(self))
        return path

    @classmethod
    def read(cls, folder: Path) -> ProbeResult | None:
        """Return the measurement that a probe left in a run folder, or None.

        Raises:
            UsageError: the file does not have the form that a probe writes.
        """
        damaged = "{path} is not what bench plan --probe writes ({error}). Delete it."
        return read_note(folder / PROBE, cls._made, damaged, UsageError)

    @classmethod
    def _made(cls, data: Mapping[str, Any]) -> ProbeResult:
        found = cls(**data)
        if not found.train or min(*found.train.values(), found.answer) <= 0:
            raise ValueError("no rates")
        return found

    def rates(self, model: str, gpu: GpuModel | None, slowdown: Slowdown) -> Rates | None:
        """Return the rates on a GPU, scaled by peak FLOP/s, or None if they do not apply.

        If ``gpu`` is None, the rates are those of the CPU. ``slowdown`` is what a method declares.
        """
        if self.model != model:
            return None
        factor, note = 1.0, ""
        if self.device != (gpu.name if gpu else "cpu"):
            probed = kind(self.device)
            if gpu is None or probed is None or probed.flops is None or gpu.flops is None:
                return None
            factor = gpu.flops / probed.flops
            note = f", scaled to {gpu.name} by peak bf16 FLOP/s"
        train = {name: rate * factor for name, rate in self.train.items()}
        origin = f"measured: {self.updates} updates per method and {self.answers} answers on {self.device}{note}"
        return Rates.of_methods(train, slowdown, self.answer * factor, origin)


def published(parameters: int, gpu: GpuModel) -> Rates | None:
    """Return rates from LLaVA's figure, scaled by size and peak FLOP/s, or None if they do not apply."""
    if gpu.flops is None or REFERENCE.flops is None or not _KNOWN_SIZES[0] <= parameters <= _KNOWN_SIZES[1]:
        return None
    factor = gpu.flops / REFERENCE.flops * _PARAMETERS / parameters
    scaled = "" if gpu.flops == REFERENCE.flops else f", scaled to {gpu.name} by peak bf16 FLOP/s"
    origin = f"{SOURCE}{scaled}; an answer taken as a third of a sample"
    train = _SAMPLES_PER_SECOND * factor
    return Rates(train, train * _ANSWERS_PER_SAMPLE, origin, {})


def kind(text: str) -> GpuModel | None:
    """Return the known GPU that a device's name means, such as ``NVIDIA A100-SXM4-80GB``, or None."""
    words = text.upper().replace("-", " ").split()
    return next((gpu for name, gpu in GPUS.items() if set(name.upper().split()) <= set(words)), None)


def here() -> Fleet | None:
    """Return this machine's GPUs, or None if it has no GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name(0)
    found = kind(name)
    memory = int(torch.cuda.get_device_properties(0).total_memory)
    return Fleet(GpuModel(name, memory, found.flops if found else None), torch.cuda.device_count())
