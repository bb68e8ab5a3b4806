"""Let each example choose its own factors from a pool while a model runs; such a change cannot be merged.

The rule is that of Conditional Mixture of LoRA (arXiv:2402.15896). The same functions run in a training and when a
change is held live, and on one example as on a batch with padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from bench.model.adapters import insert_lora, lora_adapters, lora_change
from bench.model.answer_loss import IGNORED
from bench.model.change import Change, LowRank, Routed
from bench.values.recipe import Recipe

_ROUTING = "routing"  # the attribute of a model with routers
_PREFIX, _NAME = "base_model.model.", "default"  # peft's, for the model that it wraps and for its adapter


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The pairs of each example: rows of A [n, rank], columns of B [n, rank], and their weights [n, rank]."""

    a: Tensor
    b: Tensor
    weight: Tensor

    def of(self, rows: Tensor) -> Choice:
        """Return the pairs of some examples."""
        return Choice(self.a[rows], self.b[rows], self.weight[rows])


def picked(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the places of the ``count`` highest scores [n, experts] in order, and their weights, both [n, count].

    Of equal scores, the first are taken. The weights are the softmax of the scores over those taken, times ``count``:
    their mean is 1, so that a choice does not change the scale.

    >>> picked(torch.tensor([[2.0, 1.0, 1.0]]), 2)[0].tolist()
    [[0, 1]]
    """
    places = scores.argsort(dim=-1, descending=True, stable=True)[..., :count]
    return places, count * scores.gather(-1, places).softmax(dim=-1)


def dependent(own: Tensor, others: Tensor) -> Tensor:
    """Return softmax(own) + sum over k of softmax(others[:, k]), from logits [n, experts] and [n, rank, experts]."""
    return own.softmax(dim=-1) + others.softmax(dim=-1).sum(dim=1)


def paired(low: Tensor, choice: Choice) -> Tensor:
    """Return what B reads, from what A gives [n, tokens, experts], of the same shape.

    The place J_k of an example has the weight of its pair k times the place I_k of ``low``; the other places are 0. So
    B times the result is the sum of weight_k b_{J_k} a_{I_k}^T x over k, without any matrix of an example's own.
    """
    count, experts = len(low), low.shape[-1]
    matrix = low.new_zeros(count, experts * experts).scatter(1, choice.a * experts + choice.b, choice.weight)
    return low @ matrix.view(count, experts, experts)


class Router(nn.Module):
    """Choose the pairs of a matrix from x [n, in], the mean of what it reads of each example.

    I are the places of the highest K_A x [experts], and J those of the highest K_B x, or, with K_AB [rank, experts,
    in], those of the highest softmax(K_B x) + sum over k of softmax(K_AB[k] a_{I_k}). The k-th of I goes with the k-th
    of J. The selectors have gradients if pairs are weighted by their scores (``scores``).
    """

    select_a: nn.Parameter
    select_b: nn.Parameter
    select_ab: nn.Parameter | None

    def __init__(
        self, selectors: Mapping[str, Tensor | None], rank: int, *, scores: bool, freeze: bool, device: torch.device
    ) -> None:
        super().__init__()
        self.rank, self.scores, self.freeze = rank, scores, freeze
        for name in ("select_a", "select_b", "select_ab"):
            value = selectors.get(name)
            moved = None if value is None else nn.Parameter(value.to(device), requires_grad=scores)
            self.register_parameter(name, moved)

    @classmethod
    def of(cls, delta: Routed, device: torch.device) -> Router:
        """Return the router that a delta holds, for answering."""
        router = cls(delta.tensors(), delta.rank, scores=delta.scores, freeze=delta.freeze, device=device)
        return router.eval().requires_grad_(requires_grad=False)

    def forward(self, mean: Tensor, a: Tensor) -> Choice:
        """Return the choice of each example; ``a`` [experts, in] is the pool's A."""
        rows, weight_a = picked(linear(mean, self.select_a), self.rank)
        scores = linear(mean, self.select_b)
        if self.select_ab is not None:
            sums = dependent(scores, torch.einsum("keq,nkq->nke", self.select_ab, a[rows]))
            scores = sums.clamp(min=torch.finfo(sums.dtype).tiny).log()  # so the softmax weighs by the sums themselves
        columns, weight_b = picked(scores, self.rank)
        weight = weight_a * weight_b
        return Choice(rows, columns, weight if self.scores else torch.ones_like(weight))


@dataclass(eq=False)
class Routing:
    """What the routers of a model share: which tokens of the batch they read, and the choices made from its prompts.

    ``shares`` [n, tokens] is each token's share in the mean of its example; None gives all tokens the same.
    ``answers`` says that the model goes on with prompts that it has read before.
    """

    shares: Tensor | None = None
    answers: bool = False
    chosen: dict[str, Choice] = field(default_factory=dict)

    def look(self, model: nn.Module, inputs: tuple[Any, ...], words: Mapping[str, Any]) -> None:
        """Read a batch before the model does: padding, and answers that are being learnt, do not count."""
        past, mask, labels = (words.get(name) for name in ("past_key_values", "attention_mask", "labels"))
        self.answers = past is not None and past.get_seq_length() > 0
        self.shares = None
        if self.answers:
            return
        self.chosen.clear()
        reads = [] if mask is None else [mask != 0]
        reads += [] if labels is None else [labels == IGNORED]
        if reads:
            counted = torch.stack(reads).all(dim=0)
            self.shares = counted / counted.sum(dim=1, keepdim=True).clamp(min=1)

    def choice(self, name: str, router: Router, x: Tensor, a: Tensor) -> Choice:
        """Return the choice of a matrix that reads x [n, tokens, in]: the prompt's, if it is frozen."""
        if self.answers and router.freeze:
            return self.chosen[name]
        read = x.float()
        # bench plan runs a decoder block by itself, so there are no tokens to look at
        mean = read.mean(dim=1) if self.shares is None else torch.einsum("nt,ntq->nq", self.shares, read)
        found: Choice = router(mean, a)
        if router.freeze and not router.training:
            self.chosen[name] = Choice(found.a, found.b, found.weight.detach())
        return found


def reads_whole_prompts(model: nn.Module) -> bool:
    """Whether the model's choices depend on whole prompts, so that no two prompts have a prefix in common."""
    return hasattr(model, _ROUTING)


def select_rows(model: nn.Module, rows: Tensor) -> None:
    """Let a model go on with some examples of a batch, as a cache that drops the others does.

    A model without routers has nothing to drop.
    """
    routing: Routing | None = getattr(model, _ROUTING, None)
    if routing is not None:
        routing.chosen = {name: choice.of(rows) for name, choice in routing.chosen.items()}


@contextmanager
def held_live(model: nn.Module, change: Mapping[str, Routed]) -> Iterator[None]:
    """Let linear layers of a plain model add the output of routed deltas to theirs, until the context ends."""
    if not change:
        yield
        return
    routing = Routing()
    setattr(model, _ROUTING, routing)
    with ExitStack() as hooks:
        hooks.callback(delattr, model, _ROUTING)
        hooks.enter_context(model.register_forward_pre_hook(routing.look, with_kwargs=True))
        for name, delta in change.items():
            module = model.get_submodule(name.removesuffix(".weight"))
            hooks.enter_context(module.register_forward_hook(_adding(name, delta, routing, model)))
        yield


def _adding(name: str, delta: Routed, routing: Routing, model: nn.Module) -> Any:
    """Return a forward hook that adds what a delta does, as peft's layer does in a training."""
    device = model.get_parameter(name).device
    here, router = delta.on(device), Router.of(delta, device)
    a, b = here.a.float(), here.b.float()

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        low = paired(linear(inputs[0].float(), a), routing.choice(name, router, inputs[0], a))
        return (output + linear(low, b) * delta.scale).to(output.dtype)

    return add


def insert_routed(  # noqa: PLR0913  the four settings of the routers are independent
    model: nn.Module, rank: int, recipe: Recipe, *, experts: int, depends: bool, scores: bool, freeze: bool
) -> nn.Module:
    """Wrap ``model`` with LoRA of rank ``experts`` whose ranks are a pool, of which each example uses ``rank`` pairs.

    Each matrix of the decoder has a router, whose selectors are drawn as A is. What B chooses ``depends`` on A's choice
    or not; ``Router`` has the other settings. If the connector has adapters, they are plain LoRA of ``rank``.
    """
    wrapped: Any = insert_lora(model, experts, recipe, connector_rank=rank)
    routing = Routing()
    setattr(model, _ROUTING, routing)
    model.register_forward_pre_hook(routing.look, with_kwargs=True)
    for adapter in lora_adapters(wrapped):
        if not adapter.in_connector:
            bound, width = adapter.a.shape[1] ** -0.5, adapter.a.shape[1]
            shapes: dict[str, tuple[int, ...]] = {"select_a": (experts, width), "select_b": (experts, width)}
            shapes |= {"select_ab": (rank, experts, width)} if depends else {}
            drawn = {name: torch.empty(shape).uniform_(-bound, bound) for name, shape in shapes.items()}
            router = Router(drawn, rank, scores=scores, freeze=freeze, device=adapter.a.device)
            layer = wrapped.get_submodule(_PREFIX + adapter.name.removesuffix(".weight"))
            layer.register_module("router", router)
            _route(layer, adapter.name, router, routing)
    return wrapped  # type: ignore[no-any-return]


def _route(layer: Any, name: str, router: Router, routing: Routing) -> None:
    """Let a layer of peft choose from its own input, before dropout, and pair what its A gives."""
    chosen: dict[str, Choice] = {}

    def choose(module: Any, inputs: tuple[Tensor, ...]) -> None:
        if not module.disable_adapters:
            chosen[name] = routing.choice(name, router, inputs[0], module.lora_A[_NAME].weight)

    def pair(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return paired(output, chosen.pop(name))

    layer.register_forward_pre_hook(choose)
    layer.lora_A[_NAME].register_forward_hook(pair)


def routed_change(model: nn.Module) -> Change:
    """Return what a model wrapped by ``insert_routed`` has learnt, as float32 copies on the CPU."""
    change, deltas = lora_change(model), dict[str, Routed]()
    for name, module in model.named_modules():
        if isinstance(module, Router):
            weight = f"{name.removeprefix(_PREFIX).removesuffix('.router')}.weight"
            pool = change[weight]
            assert isinstance(pool, LowRank)
            copies = {part: value.detach().to("cpu", copy=True) for part, value in module.named_parameters()}
            deltas[weight] = Routed(
                b=pool.b,
                a=pool.a,
                scale=pool.scale,
                select_a=copies["select_a"],
                select_b=copies["select_b"],
                select_ab=copies.get("select_ab"),
                rank=module.rank,
                scores=module.scores,
                freeze=module.freeze,
            )
    return change.replace(deltas)
