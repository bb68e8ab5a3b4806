"""What MDGD and MDGD-GM share: the gradients of the image tokens' drift, and of both losses at the base model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from bench import BlockStates, Recipe, Step, answer_loss, decoder_blocks, hyper, image_positions, lora_adapters

from .lora import LoRA

if TYPE_CHECKING:
    from bench import Dimensions

Gradients = dict[str, Tensor]


def drift(states: Tensor, base: Tensor, form: str) -> Tensor:
    """Return each token's distance [tokens] between two models' states [tokens, width].

    ``l1`` is the mean of the absolute differences, ``mse`` of their squares, and ``cosine`` 1 - the cosine.

    >>> drift(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]]), "l1").tolist()
    [0.5]
    """
    if form == "cosine":
        return 1 - nn.functional.cosine_similarity(states, base, dim=1)
    difference = states - base
    return (difference.abs() if form == "l1" else difference.square()).mean(dim=1)


def without(gradient: Tensor, direction: Tensor, strength: float) -> Tensor:
    """Return gradient - strength * (<gradient, direction> / |direction|^2) direction, or gradient if direction is 0."""
    square = direction.square().sum()
    share = torch.where(square > 0, (gradient * direction).sum() / square, 0.0)
    return gradient - strength * share * direction


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by their names in the wrapped model."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@contextmanager
def at_the_base(model: nn.Module, connector: Mapping[str, Tensor]) -> Iterator[Callable[..., Any]]:
    """Give a forward pass of the base model that still has a gradient in every adapter.

    Each adapter adds 0 to its layer's output, and so passes nothing on to earlier layers, but it receives the gradient
    of the weight it would change: with G [out, in] that of W0, dB = scale G A^T and dA = scale B^T G at the current A
    and B. ``connector`` has the pristine values of a connector that is tuned in full, which the pass uses instead.
    Adapters do not drop out.
    """
    factors = {id(adapter.a): True for adapter in lora_adapters(model)}
    factors |= {id(adapter.b): False for adapter in lora_adapters(model)}
    handles, asleep = [], []
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.training:
            asleep.append(module.eval())
        elif isinstance(module, nn.Linear) and id(module.weight) in factors:
            if factors[id(module.weight)]:
                handles.append(module.register_forward_pre_hook(lambda _, inputs: (inputs[0].detach(),)))
            else:
                handles.append(module.register_forward_hook(lambda _, inputs, output: output - output.detach()))
    try:
        yield lambda **batch: functional_call(model, dict(connector), (), batch)
    finally:
        for handle in handles:
            handle.remove()
        for module in asleep:
            module.train()


@dataclass(kw_only=True)
class VisualDrift(LoRA):
    """LoRA whose gradients are edited by those of L_v, the drift of the image tokens from the base model.

    theta is the tuned model and phi the base model. L_v is the sum of ``drift`` over the image tokens of an update,
    between the states of theta and of phi. A sum adds up over micro-batches and workers; its scale does not matter,
    because only directions are used.
    """

    lv: str = hyper("l1", choices=("l1", "mse", "cosine"), search=False)
    lv_layer: str = hyper("last", choices=("last", "mean"), search=False)
    strength: float = hyper(1.0, minimum=0.0, maximum=1.0, search=False)

    visual_: Gradients = field(init=False, default_factory=dict)
    base_: Gradients = field(init=False, default_factory=dict)
    base_visual_: Gradients = field(init=False, default_factory=dict)

    @property
    @abstractmethod
    def _reads_base(self) -> bool:
        """Whether the method uses the gradients at phi."""

    @property
    def _acts(self) -> bool:
        """Whether the method differs from LoRA."""
        return self.strength > 0 or self._reads_base

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        wrapped = super().adapt(model, rank, recipe)
        if self._acts:
            factors = {id(factor) for adapter in lora_adapters(wrapped) for factor in (adapter.a, adapter.b)}
            whole = {name: value for name, value in trained(wrapped).items() if id(value) not in factors}
            self._connector = {name: value.detach().clone() for name, value in whole.items()}
            blocks = decoder_blocks(wrapped)
            self._states = BlockStates(blocks if self.lv_layer == "mean" else blocks[-1:])
            self._states.watch()
        return wrapped

    @override
    def backward(self, step: Step) -> None:
        if not self._acts:
            super().backward(step)
            return
        image = image_positions(step.model, step.batch["input_ids"])
        tuned = self._states.at(image)
        base = self._at_base(step, image, tuned)
        _add(self.visual_, self._drift(tuned, base), trained(step.model), keep_graph=True)
        self._states.last.clear()
        super().backward(step)
        self._states.last.clear()  # gradient checkpointing runs the blocks again

    @override
    def slowdown(self) -> float:
        # CPU seconds on micro at rank 32, next to LoRA in one process: 3.2 with the gradients at phi, 1.9 without
        return 3.2 if self._reads_base else 1.9 if self._acts else 1.0

    @override
    def graphs(self) -> int:
        return 2 if self._reads_base else 1  # the pass of phi runs while that of theta waits for its backward pass

    def _directions(self, step: Step, granularity: str) -> Iterator[tuple[list[str], Tensor, Tensor]]:
        """Yield the names, g_theta and g_phi of each group of parameters; g_phi is 0 if the method does not use it."""
        visual, base, base_visual = self._gathered(step)
        task = {name: value.grad for name, value in trained(step.model).items() if value.grad is not None}
        for group in grouped(step.model, granularity):
            if names := [name for name in group if name in task]:
                tuned = without(joined(task, names), joined(visual, names), self.strength)
                yield names, tuned, without(joined(base, names), joined(base_visual, names), self.strength)

    def _gathered(self, step: Step) -> list[Gradients]:
        """Return the gradients of L_v at theta, of the loss at phi and of L_v at phi, over all workers."""
        parameters = trained(step.model)
        found = [
            {name: own[name] if name in own else torch.zeros_like(value) for name, value in parameters.items()}
            for own in (self.visual_, self.base_, self.base_visual_)
        ]
        step.all_reduce([gradient for gradients in found for gradient in gradients.values()])
        self.visual_, self.base_, self.base_visual_ = {}, {}, {}
        return found

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        entries = dimensions.factors(dimensions.layers) + dimensions.connector
        copies = (3 if self._reads_base else 1) if self._acts else 0
        return {"gradients of the drift": 4 * copies * entries} if copies else {}

    def _at_base(self, step: Step, image: Tensor, tuned: Sequence[Tensor]) -> list[Tensor]:
        """Return the states of phi at the image tokens; if the method uses them, add the gradients at phi."""
        if not self._reads_base:
            with torch.no_grad(), step.reference() as model:
                read = {name: value for name, value in step.batch.items() if name != "labels"}
                model(**read, logits_to_keep=1, use_cache=False)
            return self._states.at(image)
        pristine = {name: value.clone().requires_grad_() for name, value in self._connector.items()}
        parameters = {**trained(step.model), **pristine}
        with at_the_base(step.model, pristine) as forward:
            loss = answer_loss(forward, step.batch, 1)  # a sum over the learnt tokens
            base = self._states.at(image)
            _add(self.base_, loss, parameters, keep_graph=True)
            _add(self.base_visual_, self._drift(base, [states.detach() for states in tuned]), parameters)
        return [states.detach() for states in base]

    def _drift(self, states: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        return torch.stack([drift(*pair, self.lv).sum() for pair in zip(states, others, strict=True)]).sum()


def _add(total: Gradients, loss: Tensor, parameters: Mapping[str, Tensor], *, keep_graph: bool = False) -> None:
    """Add the gradients of ``loss`` in ``parameters`` to ``total``."""
    found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=keep_graph, allow_unused=True)
    for name, gradient in zip(parameters, found, strict=True):
        if gradient is not None:
            total[name] = total[name] + gradient if name in total else gradient


def grouped(model: nn.Module, granularity: str) -> list[list[str]]:
    """Return the names of the trained parameters that share one direction.

    ``tensor`` takes each by itself, ``layer`` the A and B of a layer together, and ``global`` all of them.
    """
    layers = {id(factor): adapter.name for adapter in lora_adapters(model) for factor in (adapter.a, adapter.b)}
    groups: dict[str, list[str]] = {}
    for name, parameter in trained(model).items():
        key = {"tensor": name, "layer": layers.get(id(parameter), name), "global": ""}[granularity]
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def joined(gradients: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Return the named gradients as one vector, float32."""
    return torch.cat([gradients[name].detach().float().flatten() for name in names])


def write(parameters: Mapping[str, nn.Parameter], names: Sequence[str], vector: Tensor) -> None:
    """Write a vector of ``joined`` into the parameters' gradients."""
    parts = torch.split(vector, [parameters[name].numel() for name in names])
    for name, part in zip(names, parts, strict=True):
        parameters[name].grad = part.view_as(parameters[name]).to(parameters[name].dtype)
