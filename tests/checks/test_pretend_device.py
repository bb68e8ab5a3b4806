"""The pretend device: methods that only a CPU can run are caught, every other method gives the CPU's numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import (
    Change,
    EditContext,
    EditMethod,
    LowRank,
    PluginError,
    Recipe,
    Sparse,
    Step,
    hyper,
    insert_lora,
    lora_adapters,
)
from bench.checks.devices import check_runs_on_an_accelerator
from bench.plugins.registry import Registry

pytestmark = pytest.mark.slow  # the process that has the device loads torch and peft

PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from bench import EditMethod

@dataclass(kw_only=True)
class Mine(EditMethod):
    name: ClassVar[str] = "mine"
    paper: ClassVar[str] = "none: a test"

    def edit(self, change, context):
        for name, layer in context.layers.items():
            layer.weight + torch.ones(layer.weight.shape)
        return change
"""
ROOT = Path(__file__).parents[2]
LoRA = Registry().method("lora")


@dataclass(kw_only=True)
class Careless(LoRA):  # type: ignore[valid-type, misc]
    """LoRA; each class below mixes devices in one hook."""

    name: ClassVar[str] = "careless"
    paper: ClassVar[str] = "none: a test"


class CPUMask(Careless):
    @override
    def on_update(self, step: Step) -> None:
        for adapter in lora_adapters(step.model):
            adapter.b.masked_fill_(torch.zeros(adapter.b.shape, dtype=torch.bool), 0.0)


class CPUGenerator(Careless):
    @override
    def on_gradients(self, step: Step) -> None:
        for adapter in lora_adapters(step.model):
            torch.rand(adapter.b.shape, generator=step.generator, device=adapter.b.device)


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(context: object, values: Tensor) -> Tensor:
        return 2 * values

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient * torch.full(gradient.shape, 2.0)


class CPUBackward(Careless):
    @override
    def penalty(self, step: Step) -> Tensor | None:
        double: Callable[[Tensor], Tensor] = _Doubled.apply
        return torch.stack([double(adapter.b).sum() for adapter in _all(step)]).sum()


class Numpy(Careless):
    @override
    def penalty(self, step: Step) -> Tensor | None:
        return step.loss.detach() * float(np.mean([adapter.b.detach().numpy().sum() for adapter in _all(step)]))


class AdaptsOnTheCPU(Careless):
    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        wrapped = insert_lora(model, rank, recipe)
        for adapter in lora_adapters(wrapped):
            adapter.b.data += torch.zeros(adapter.b.shape)
        return wrapped


@dataclass(kw_only=True)
class OnlyIfAsked(Careless):
    kind: str = hyper("none", choices=("none", "mask"), search=False)

    @override
    def on_update(self, step: Step) -> None:
        if self.kind == "mask":
            for adapter in lora_adapters(step.model):
                adapter.b.mul_(torch.ones(adapter.b.shape))


@dataclass(kw_only=True)
class EditsAcrossDevices(EditMethod):
    """Adds a layer's weight on the device to a change, which is on the CPU."""

    name: ClassVar[str] = "edits_across"
    paper: ClassVar[str] = "none: a test"

    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        edited = {
            name: Sparse.of(delta.product(), context.layers[name].weight.abs() > delta.product().abs())
            for name, delta in change.items()
            if isinstance(delta, LowRank)
        }
        return change.replace(edited)


class KillsTheProcess(Careless):
    @override
    def on_update(self, step: Step) -> None:
        if step.loss.device.type != "cpu":
            os.kill(os.getpid(), signal.SIGKILL)


class ExitsOnTheDevice(Careless):
    @override
    def on_update(self, step: Step) -> None:
        if step.loss.device.type != "cpu":
            os._exit(0)


class CarefulOnes(Careless):
    """Moves masks and draws, makes tensors on the device, and uses numbers from the CPU."""

    @override
    def on_update(self, step: Step) -> None:
        own = torch.Generator(device=step.loss.device).manual_seed(step.generator.initial_seed())
        for adapter in lora_adapters(step.model):
            keep = torch.rand(adapter.b.shape, generator=step.generator) > 0.5
            adapter.b.mul_(keep.to(adapter.b.device))
            adapter.b.add_(torch.rand(adapter.b.shape, generator=own, device=adapter.b.device), alpha=1e-3)
            adapter.b.mul_(torch.tensor(0.5))
            adapter.b[torch.tensor([0])] = 0.0
            adapter.b.detach().cpu().numpy()


def _all(step: Step) -> list[Any]:
    return list(lora_adapters(step.model))


CARELESS = [
    (CPUMask, "on_update", r"argument mask of masked_fill_.*mask\.to\(weight\.device\)"),
    (CPUGenerator, "on_gradients", r"generator.*step\.generator"),
    (CPUBackward, "backward", "argument other of mul"),
    (Numpy, "penalty", r"numpy.*\.cpu\(\)"),
    (AdaptsOnTheCPU, "adapt", "at least two devices"),
    (EditsAcrossDevices, "edit", "at least two devices"),
]


@pytest.mark.parametrize(("plugin", "hook", "reason"), CARELESS, ids=[plugin.__name__ for plugin, *_ in CARELESS])
def test_the_author_of_a_method_is_told_hook_and_line_and_remedy(plugin: type, hook: str, reason: str) -> None:
    with pytest.raises(PluginError, match=rf"test_pretend_device\.py:\d+ in {hook}: on an accelerator.*{reason}"):
        check_runs_on_an_accelerator(plugin)


def test_a_choice_that_is_not_the_default_is_tried_too() -> None:
    with pytest.raises(PluginError, match="in on_update: on an accelerator, with connector full, kind=mask"):
        check_runs_on_an_accelerator(OnlyIfAsked)


def test_a_method_that_moves_its_tensors_passes() -> None:
    check_runs_on_an_accelerator(CarefulOnes)


def test_a_method_of_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN, encoding="utf-8")
    registry = Registry()
    registry.add_file(tmp_path / "mine.py")

    with pytest.raises(PluginError, match=r"mine\.py:14 in edit"):
        check_runs_on_an_accelerator(registry.method("mine"), registry)


def test_a_method_inside_a_function_is_told_where_to_go() -> None:
    class Hidden(Careless):
        pass

    with pytest.raises(PluginError, match="cannot be found in its module"):
        check_runs_on_an_accelerator(Hidden)


def test_a_method_that_ends_the_process_fails_and_the_next_one_is_checked() -> None:
    with pytest.raises(PluginError, match="ends the process with code -9"):
        check_runs_on_an_accelerator(KillsTheProcess)

    check_runs_on_an_accelerator(CarefulOnes)


def test_a_method_that_exits_on_a_device_alone_is_told_its_line() -> None:
    with pytest.raises(PluginError, match=r"On an accelerator.*test_pretend_device\.py:\d+ in on_update: it calls os"):
        check_runs_on_an_accelerator(ExitsOnTheDevice)


def test_this_process_never_gets_the_device() -> None:
    check_runs_on_an_accelerator(CarefulOnes)

    assert torch._C._get_privateuse1_backend_name() == "privateuseone"
    assert not hasattr(torch, "pretend")


def test_every_choice_of_every_method_gives_the_cpus_numbers_on_the_device() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "selection", "-p", "no:cacheprovider", "tests/matrix"]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)

    assert ended.returncode == 0, ended.stdout
