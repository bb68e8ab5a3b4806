"""LoDA: B is trained on two fixed subspaces of the inputs, one that all tasks share and one of the new task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import PluginError, compute_factors, hyper, lora_adapters

from .aligned_halves import AlignedHalves
from .input_subspaces import eigenpairs, isolated, recalibration, second_moments, sketch, unsketched, with_ridge

if TYPE_CHECKING:
    from bench import Adapter, Change, Dimensions, Recipe, Start

_READS = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}  # layers that read the input of another


class _Fixed(nn.Module):
    """A layer's fixed A, which takes the place of the one that LoRA has drawn."""

    def __init__(self, method: LoDA, name: str) -> None:
        super().__init__()
        self._method, self._name = method, name

    @override
    def forward(self, drawn: Tensor) -> Tensor:
        return self._method.factors_[self._name]


class _Joined(_Fixed):
    """[B_G, B_I] from the trained B_G, with a trained B_I of its own; outside of training, [B_G Lambda, B_I]."""

    def __init__(self, method: LoDA, name: str, general: Tensor) -> None:
        super().__init__(method, name)
        self.isolated = nn.Parameter(torch.zeros_like(general))

    @override
    def forward(self, general: Tensor) -> Tensor:
        answering = general if self.training else general @ self._method.gates_[self._name]
        return torch.cat([answering, self.isolated], dim=1)


@dataclass(kw_only=True)
class LoDA(AlignedHalves):
    """W_t = W_(t-1) + scale * (w_G B_G Lambda A_G + B_I A_I), with A_G and A_I fixed before B_G and B_I are trained.

    S_new = X^T X is the second moment of a layer's inputs over calibration examples of the new task, and S_old the sum
    of those of the earlier tasks. The rows of A_G are the top eigenvectors of S_old + S_new, and those of A_I an
    orthonormal basis of the subspace that maximises tr(U^T S_new U) / tr(U^T S_old U). So B_G learns where all tasks
    have inputs, and B_I where only the new one has. After the training, Lambda = N (O + N)^-1 with O = A_G S_old A_G^T
    and N = A_G S_new A_G^T scales B_G back where it would disturb the old inputs. The earlier change is merged into the
    base model while a task is learnt. The first task has no A_I and no Lambda. A connector's adapters are plain LoRA.

    Each update (GAO) has two halves: at theta, the second half gives a gradient g; the gradient of the first half at
    theta + perturbation(g) makes the update of theta. theta is everything that is trained.

    The paper trains vision transformers. We know it from notes in two languages and found no code. They say that A is
    fixed on two subspaces, how these are found, that a perturbation as in SAM aligns two halves of a batch, and that
    the general branch is recalibrated in closed form. We derived Lambda as the minimum of the change of old inputs and
    the loss of change of new ones. These are choices of ours:

    ``first``      A_G of the first task: ``energy`` takes the top eigenvectors of S_new; ``random`` keeps LoRA's A.
    ``perturb``    ``ascent_normalised`` is rho * g / |g| and ``descent`` -rho * g. rho is uniform in [0, ``rho_max``];
                   0.05 is a usual radius of SAM.
    ``ridge``      S_old gets ridge * mean(diag) * I for A_I, because it has no full rank.
    ``sketch``     a stage keeps the top ``sketch`` eigenpairs of its sum of second moments, and the mean of the other
                   eigenvalues in place of these; smaller matrices are whole. 7B would need 22 GB a stage.
    ``n_samples``  the number of calibration examples; S is a sum over their tokens.
    ``general_weight``  w_G.

    The paper's halves have disjoint labels and swap their roles in the next update; here the halves are drawn anew for
    each update, by the tokens of an example, so that examples with the same text are in the same half. The same update
    results however it is cut into micro-batches and shared among workers. Halves differ in size. If one is empty, the
    update is an ordinary one. No setting makes LoDA equal LoRA, because LoRA's A is trained.
    """

    name: ClassVar[str] = "loda"
    display: ClassVar[str] = "LoDA"
    paper: ClassVar[str] = "LoDA, Task-Driven Subspace Decomposition, ICML 2026, arXiv:2603.00191"
    aliases: ClassVar[Mapping[str, str]] = {"w_G": "general_weight"}
    made_for: ClassVar[Literal["target", "sequence", "joint"]] = "sequence"
    folds: ClassVar[bool] = True

    first: str = hyper("energy", choices=("energy", "random"), search=False)
    general_weight: float = hyper(1.0, minimum=0.0, search=False)
    ridge: float = hyper(1e-3, minimum=1e-6, search=False)
    sketch: int = hyper(256, minimum=1, search=False)
    n_samples: int = hyper(128, minimum=1, search=False)

    factors_: dict[str, Tensor] = field(init=False, default_factory=dict)  # A by layer
    gates_: dict[str, Tensor] = field(init=False, default_factory=dict)  # Lambda by layer

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        wrapped = super().adapt(model, rank, recipe)
        for adapter in _decoder(wrapped):
            adapter.a.requires_grad_(False)
        self._kept: dict[str, Tensor] = {}
        return wrapped

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        model.eval()
        for adapters, moment in second_moments(model, _decoder(model), start.calibration(self.n_samples)):
            self._fix(adapters, moment.to(adapters[0].a.device, torch.float64), start)
        model.train()
        for adapter in _decoder(model):
            b = _Joined(self, adapter.name, adapter.b) if start.stage > 1 else None
            compute_factors(model, adapter, a=_Fixed(self, adapter.name), b=b)

    @override
    def change(self, model: nn.Module) -> Change:
        joined = [module for module in model.modules() if isinstance(module, _Joined)]
        for module in joined:
            module.eval()
        change = super().change(model)
        for module in joined:
            module.train(model.training)
        return change

    @override
    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        return self._kept

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        widest = max((layer.columns for layer in dimensions.decoder), default=0)
        rows = dimensions.rank * sum(layer.rows for layer in dimensions.decoder)
        return {
            # S_old, S_new, their sum, its eigenvectors, L and the whitened S_new, float64, of one layer at a time
            "a layer's second moments": 6 * 8 * widest**2,
            # of every stage but the first: the parameter, its gradient and AdamW's two states
            "B of the new task's subspace": 4 * 4 * rows,
            # the weights themselves, the gradients, and the way along them
            "perturbed weights": 3 * 4 * (2 * rows + dimensions.connector),
        }

    @override
    def change_bytes(self, dimensions: Dimensions) -> int:
        return 4 * dimensions.factors(dimensions.layers)

    @override
    def left_bytes(self, dimensions: Dimensions, stage: int) -> int:
        inputs = {(layer.block, _READS.get(layer.role, layer.role)): layer.columns for layer in dimensions.decoder}
        return 4 * sum(columns * min(self.sketch, columns) + 1 for columns in inputs.values())

    def _fix(self, adapters: Sequence[Adapter], new: Tensor, start: Start) -> None:
        """Fix A and Lambda of the layers that read one input, and keep the second moments of all tasks so far."""
        name, rank = adapters[0].name, adapters[0].a.shape[0]
        old = self._old(name, start).to(new) if start.stage > 1 else torch.zeros_like(new)
        values, vectors = eigenpairs(old + new)
        root, mean = sketch(values, vectors, self.sketch)
        self._kept |= {f"{name}.root": root.float().cpu(), f"{name}.mean": mean.float().cpu()}
        general = vectors[:, :rank].T
        for adapter in adapters:
            a = adapter.a.to(new) if start.stage == 1 and self.first == "random" else general
            self.factors_[adapter.name] = (self.general_weight * a).to(adapter.a)
        if start.stage > 1:
            own = isolated(with_ridge(old, self.ridge), new, rank).T
            gate = recalibration(general, old, new)
            for adapter in adapters:
                self.factors_[adapter.name] = torch.cat([self.factors_[adapter.name], own.to(adapter.a)])
                self.gates_[adapter.name] = gate.to(adapter.a)

    def _old(self, name: str, start: Start) -> Tensor:
        """Return S_old of a layer's input."""
        if f"{name}.root" not in start.kept:
            raise PluginError(
                f"The previous stage left no second moments of {name}. LoDA continues only its own stages."
            )
        return unsketched(start.kept[f"{name}.root"].double(), start.kept[f"{name}.mean"].double())


def _decoder(model: nn.Module) -> list[Adapter]:
    return [adapter for adapter in lora_adapters(model) if not adapter.in_connector]
