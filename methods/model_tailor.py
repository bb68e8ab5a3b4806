"""Model Tailor: keep the few fine-tuned entries that matter most; they compensate for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import override

from bench import Change, EditContext, EditMethod, LowRank, PluginError, Sparse, hyper

if TYPE_CHECKING:
    from torch import Tensor

    from bench import Delta, Dimensions, Layer, LayerShape

_SIGN = {"obs": -1.0, "official": 1.0, "none": 0.0}


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings for tailoring a weight: the kept share, salience's share of the score, the compensation."""

    density: float
    fuse: float = 0.8
    compensation: str = "obs"
    blocksize: int = 128


def inverse_factor(inputs: Tensor, percdamp: float) -> Tensor:
    """Return the upper Cholesky factor U of H^-1 [in, in], H = (2 / tokens) sum x x^T.

    ``inputs`` is [tokens, in]. If input j is always zero, H_jj becomes 1. Then ``percdamp`` times the mean of the
    diagonal is added to the whole diagonal. Without inputs, H is the identity before this addition.
    """
    hessian = (2 / max(1, len(inputs))) * (inputs.T @ inputs)
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal += percdamp * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def standardised(score: Tensor) -> Tensor:
    """Return (row - mean) / unbiased standard deviation for every row; a row of equal entries becomes 0."""
    centred = score - score.mean(dim=1, keepdim=True)
    deviation = centred.square().sum(dim=1, keepdim=True).div(max(1, score.shape[1] - 1)).sqrt()
    return torch.where(deviation > 0, centred / deviation, 0.0)


def scores(current: Tensor, tuned: Tensor, base: Tensor, diagonal: Tensor, fuse: float) -> Tensor:
    """Return fuse * z(|W_ft - W0|) + (1 - fuse) * z(W^2 / U_jj^2) for a block of columns [out, block].

    W is the fine-tuned weight with the compensation so far. A row without any change has nothing to keep, so it
    scores minus infinity.
    """
    salience = (tuned - base).abs()
    sensitivity = (current / diagonal).square()
    fused = fuse * standardised(salience) + (1 - fuse) * standardised(sensitivity)
    return fused.masked_fill((salience == 0).all(dim=1, keepdim=True), -math.inf)


def keep_best(score: Tensor, count: int) -> Tensor:
    """Return the mask of the ``count`` highest scores; among equal scores, it keeps the first."""
    flat = score.flatten()
    if count < 1:
        return torch.zeros_like(score, dtype=torch.bool)
    least = flat.topk(count, sorted=False).values.min()
    best, ties = flat > least, flat == least
    return (best | (ties & (ties.cumsum(0) <= count - best.sum()))).view(score.shape)


def tailor(tuned: Tensor, base: Tensor, factor: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the tailored weight and the mask of the kept entries, both [out, in].

    The mask keeps exactly ceil(density * n) of the n entries. If the columns up to the end of a block hold
    m entries, the block keeps ceil(density * m) entries minus those that earlier blocks kept. All other entries
    return to W0, column by column. The error of column i is e = (W_i - W0_i) / U_ii, and it changes
    every later column j by W_j -= e U_ij. ``official`` adds e U_ij instead, and ``none`` leaves W_j as it is.
    """
    result, keep = tuned.clone(), torch.zeros_like(tuned, dtype=torch.bool)
    rows, width = tuned.shape
    kept, sign = 0, _SIGN[settings.compensation]
    for start in range(0, width, settings.blocksize):
        stop = min(start + settings.blocksize, width)
        block, after = slice(start, stop), slice(stop, width)
        corner = factor[block, block]
        score = scores(result[:, block], tuned[:, block], base[:, block], corner.diagonal(), settings.fuse)
        quota = math.ceil(settings.density * (rows * stop)) - kept
        keep[:, block] = keep_best(score, quota)
        kept += quota
        work, old, stays = (part[:, block].T.contiguous() for part in (result, base, keep))
        error = torch.empty_like(work)
        for at in range(stop - start):
            final = torch.where(stays[at], work[at], old[at])
            error[at] = (work[at] - final) / corner[at, at]
            work[at] = final
            work[at + 1 :].addr_(corner[at, at + 1 :], error[at], alpha=sign)
        result[:, block] = work.T
        result[:, after] += sign * (error.T @ factor[block, after])
    return result, keep


@dataclass(kw_only=True)
class ModelTailor(EditMethod):
    """W = W0 outside a mask of ceil(density * n) entries; inside, W_ft compensates for the reverted ones.

    The mask and the compensation need H, the second moment of each layer's inputs. H comes from ``n_samples``
    training examples of the target. The method tailors block by block, and computes the H of a block with the
    earlier blocks already tailored. The result is a sparse change.

    ``density``       the kept share of each weight: 10 % (LoRASculpt, App. F(f); sparsity 0.9 in the released code).
    ``compensation``  ``obs`` subtracts the error, as OBS and SparseGPT derive it. ``official`` adds the error, as
                      the released code does. ``none`` does neither. Measured as the layers' output error over the error
                      of reverting everything: on the activations of ``micro`` (LoRA at rank 32, held-out examples,
                      median of 14 layers, targets icon_choice / scene_caption) ``obs`` leaves 0.57 / 0.50, ``none``
                      0.65 / 0.65 and ``official`` 0.76 / 0.74, in its worst layer 0.97. On made-up inputs it depends
                      on the family: with densely mixed inputs ``official`` leaves 1.21 to 1.44, so more than
                      reverting; with factor models, autoregressive inputs and shifted means 0.76 to 0.93 (``none``
                      0.69 to 0.86, ``obs`` 0.33 to 0.76). The order is the same in all, so the default is ``obs``.
    ``fuse``          the weight of salience against sensitivity: 0.8 in the released file that runs, 0.5 in its copy.
    ``layers``        ``all`` tailors every block. ``last_12`` tailors the last 12 blocks, as released; the other
                      blocks keep their change.
    ``connector``     ``keep`` (default) keeps what the connector has learnt, as DARE does, so that two rows differ
                      only in the method. ``reset`` reverts its weights and keeps its biases, as released.
                      ``tailor`` treats its weights like other layers, with H = 1, because only decoder blocks are
                      calibrated.

    Deviations from the released code (llava/train/sparsegpt.py, commit e24dafe): our W_ft is W0 plus the LoRA's
    change, merged in float32; the released code tunes all weights. The released code keeps one entry fewer than
    asked in each block of 128 columns; we keep exactly ceil(density * n) of each weight, spread over the blocks.
    The released code scales H by sequences, and we scale H by tokens; this difference affects only inputs that are
    always zero. The released code calibrates without an attention mask and includes padding; we pass the real mask
    and leave out padding. A row without a change scores minus infinity here and NaN in the released code.
    """

    name: ClassVar[str] = "model_tailor"
    display: ClassVar[str] = "Model Tailor"
    paper: ClassVar[str] = "Zhu et al., Model Tailor, ICML 2024, arXiv:2402.12048"
    off: ClassVar[dict[str, float]] = {"density": 1.0}

    density: float = hyper(0.1, low=0.02, high=0.5, log=True, minimum=0.0, maximum=1.0)
    fuse: float = hyper(0.8, low=0.0, high=1.0, minimum=0.0, maximum=1.0)
    percdamp: float = hyper(0.01, low=1e-3, high=0.1, log=True, minimum=1e-6)
    n_samples: int = hyper(128, minimum=1)
    blocksize: int = hyper(128, minimum=1)
    compensation: str = hyper("obs", choices=("obs", "official", "none"), search=False)
    layers: str = hyper("all", choices=("all", "last_12"), search=False)
    connector: str = hyper("keep", choices=("keep", "reset", "tailor"), search=False)

    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        if self.density == 1:
            return change
        tailored = change.replace(self._tailored_connector(change, context))
        blocks: dict[int, list[Layer]] = {}
        for name, layer in context.layers.items():
            if layer.block is not None and name in change:
                blocks.setdefault(layer.block, []).append(layer)
        for block in sorted(blocks)[-12 if self.layers == "last_12" else 0 :]:
            inputs = context.capture(block, tailored, self.n_samples)
            alike: dict[int, list[Layer]] = {}  # layers that read the same tensor have the same H
            for layer in blocks[block]:
                alike.setdefault(id(inputs[layer.name]), []).append(layer)
            for layers in alike.values():
                tailored = tailored.replace(self._tailor(change, layers, inputs[layers[0].name]))
        return tailored

    @override
    def captured(self) -> int:
        return 0 if self.density == 1 else self.n_samples

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        layers = self._tailored(dimensions)
        if self.density == 1 or not layers:
            return {}
        return {
            "a layer's inputs": 4 * self.n_samples * dimensions.tokens * max(layer.columns for layer in layers),
            # H, its inverse and both Cholesky factors
            "Hessian": 4 * 4 * max(layer.columns for layer in layers) ** 2,
            # W0, W_ft, the result, and the remaining tensors of a block of columns
            "a layer's weights": 4 * 4 * max(layer.entries for layer in layers),
        }

    @override
    def change_bytes(self, dimensions: Dimensions) -> int | None:
        if self.density == 1:
            return None
        layers = self._tailored(dimensions)
        names = {layer.name for layer in layers}
        kept = [layer for layer in dimensions.decoder if layer.name not in names]
        sparse = sum(-(-layer.entries // 8) + 4 * math.ceil(self.density * layer.entries) for layer in layers)
        return sparse + 4 * dimensions.factors(kept)

    def _tailored(self, dimensions: Dimensions) -> list[LayerShape]:
        blocks = sorted({layer.block for layer in dimensions.decoder if layer.block is not None})
        chosen = set(blocks[-12 if self.layers == "last_12" else 0 :])
        return [layer for layer in dimensions.decoder if layer.block in chosen]

    def _tailor(self, change: Change, layers: Sequence[Layer], inputs: Tensor) -> dict[str, Delta]:
        """Return the sparse deltas of layers that all read these inputs [tokens, in]."""
        factor = inverse_factor(inputs.to(layers[0].stored.device, torch.float32), self.percdamp)
        settings = Settings(self.density, self.fuse, self.compensation, self.blocksize)
        deltas: dict[str, Delta] = {}
        for layer in layers:
            base = layer.weight.detach().float()
            tuned = change[layer.name].merged(base)
            result, keep = tailor(tuned, base, factor, settings)
            deltas[layer.name] = Sparse.of((result - base).cpu(), keep.cpu())
        return deltas

    def _tailored_connector(self, change: Change, context: EditContext) -> Mapping[str, Delta]:
        """Return the deltas of the connector's weights under ``connector``; the biases are never included."""
        if self.connector == "keep":
            return {}
        decoder = {name for name, layer in context.layers.items() if not layer.in_connector}
        names = [name for name in change if name.endswith(".weight") and name not in decoder]
        if self.connector == "reset":
            return {name: _untouched(change[name]) for name in names}
        if missing := [name for name in names if name not in context.layers]:
            raise PluginError(f"{self.name}.connector=tailor needs the original {missing[0]}; give keep or reset.")
        deltas: dict[str, Delta] = {}
        for name in names:
            layer = context.layers[name]
            deltas |= self._tailor(change, [layer], layer.weight[:0].detach())
        return deltas


def _untouched(delta: Delta) -> Delta:
    """Return the change that leaves W0 as it is."""
    full = delta.product() if isinstance(delta, LowRank) else next(iter(delta.tensors().values()))
    return Sparse.of(torch.zeros_like(full), torch.zeros_like(full, dtype=torch.bool))
