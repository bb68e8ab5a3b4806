"""Second moments of what a model's layers read, and the subspaces that earlier tasks and a new task use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from bench import Adapter


def signed(vectors: Tensor) -> Tensor:
    """Return the columns [size, count] with their signs chosen so that the entry of largest magnitude is positive."""
    places = vectors.abs().argmax(dim=0, keepdim=True)
    return vectors.mul(vectors.gather(0, places).sign())


def eigenpairs(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues of a symmetric matrix from the largest on, and their eigenvectors as columns."""
    values, vectors = torch.linalg.eigh(matrix)
    return values.flip(0), signed(vectors.flip(1))


def whitened(lower: Tensor, new: Tensor) -> Tensor:
    """Return L^-1 S L^-T for a lower triangular L and a symmetric S."""
    left = torch.linalg.solve_triangular(lower, new, upper=False)
    both = torch.linalg.solve_triangular(lower, left.T, upper=False)
    symmetric: Tensor = (both + both.T) / 2
    return symmetric


def isolated(old: Tensor, new: Tensor, rank: int) -> Tensor:
    """Return an orthonormal basis [size, rank] of the subspace that maximises tr(U^T S_new U) / tr(U^T S_old U).

    With S_old = L L^T it is spanned by L^-T times the top eigenvectors of L^-1 S_new L^-T. S_old must have full rank.
    """
    lower = torch.linalg.cholesky(old)
    vectors = eigenpairs(whitened(lower, new))[1][:, :rank]
    spanning = torch.linalg.solve_triangular(lower.T, vectors, upper=True)
    basis: Tensor = torch.linalg.qr(spanning).Q
    return signed(basis)


def with_ridge(moment: Tensor, share: float) -> Tensor:
    """Return S + share * mean(diag S) * I, which has full rank."""
    return moment + share * moment.diagonal().mean() * torch.eye(len(moment)).to(moment)


def recalibration(a: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Return Lambda = N (O + N)^-1 [rank, rank] with O = A S_old A^T and N = A S_new A^T.

    It minimises |B Lambda A X_old^T|^2 + |B (Lambda - I) A X_new^T|^2, whatever B is.
    """
    inner = a @ new @ a.T
    inverse: Tensor = torch.linalg.pinv(a @ old @ a.T + inner, hermitian=True)
    return inner.matmul(inverse)


def sketch(values: Tensor, vectors: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return R [size, count] and m such that S is about R R^T + m I, from the eigenpairs of S, largest first.

    The ``count`` largest eigenvalues are exact, and m is the mean of the others; it is 0 if there are no others.
    """
    values, rest = values.clamp(min=0), values[count:].clamp(min=0)
    mean = rest.mean() if len(rest) else torch.zeros_like(values[0])
    return vectors[:, :count] * (values[:count] - mean).sqrt(), mean


def unsketched(root: Tensor, mean: Tensor) -> Tensor:
    """Return R R^T + m I, the inverse of ``sketch``."""
    return root @ root.T + mean * torch.eye(len(root)).to(root)


@dataclass(slots=True)
class _Recorder:
    """Sums X^T X over the tokens of ``mask`` for each distinct input X, named after the first layer that reads it."""

    mask: Tensor
    sums: dict[str, Tensor] = field(default_factory=dict)
    readers: dict[str, dict[str, Adapter]] = field(default_factory=dict)
    last: Tensor | None = None
    first: str = ""

    def hook(self, adapter: Adapter) -> Any:
        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if inputs[0] is not self.last:  # q_proj, k_proj and v_proj read one tensor
                self.last, self.first = inputs[0], adapter.name
                rows = inputs[0][self.mask].float()
                moment = (rows.T @ rows).cpu()  # all of a 7B model's are 22 GB
                self.sums[self.first] = self.sums[self.first] + moment if self.first in self.sums else moment
            self.readers.setdefault(self.first, {})[adapter.name] = adapter

        return record


@torch.no_grad()
def second_moments(
    model: nn.Module, adapters: Sequence[Adapter], batches: Sequence[Mapping[str, Tensor]]
) -> list[tuple[list[Adapter], Tensor]]:
    """Return S = X^T X [in, in] over all tokens except padding, with the adapters whose layers read X.

    The sums are float32 on the CPU. The model must be in evaluation mode, so that no input drops out.
    """
    modules = {id(module.weight): module for module in model.modules() if isinstance(module, nn.Linear)}
    recorder = _Recorder(torch.empty(0))
    handles = [modules[id(item.stored)].register_forward_pre_hook(recorder.hook(item)) for item in adapters]
    try:
        for batch in batches:
            recorder.mask = batch["attention_mask"].bool()
            read = {name: value for name, value in batch.items() if name != "labels"}
            model(**read, logits_to_keep=1, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return [(list(recorder.readers[name].values()), moment) for name, moment in recorder.sums.items()]
