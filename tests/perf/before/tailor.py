"""The tailoring of a weight that ``methods/model_tailor.py`` has replaced: a whole sort, and columns far apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.methods.model_tailor import Settings, scores


def keep_best(score: Tensor, count: int) -> Tensor:
    """Return the mask of the ``count`` highest scores; among equal scores, it keeps the first."""
    best = score.flatten().argsort(descending=True, stable=True)[:count]
    return (
        torch.zeros(score.numel(), dtype=torch.bool, device=score.device).index_fill_(0, best, True).view(score.shape)
    )


def tailor(tuned: Tensor, base: Tensor, factor: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the tailored weight and the mask of the kept entries, both [out, in]."""
    result, keep = tuned.clone(), torch.zeros_like(tuned, dtype=torch.bool)
    rows, width = tuned.shape
    kept, sign = 0, {"obs": -1.0, "official": 1.0, "none": 0.0}[settings.compensation]
    for start in range(0, width, settings.blocksize):
        stop = min(start + settings.blocksize, width)
        block, after = slice(start, stop), slice(stop, width)
        corner = factor[block, block]
        score = scores(result[:, block], tuned[:, block], base[:, block], corner.diagonal(), settings.fuse)
        quota = math.ceil(settings.density * (rows * stop)) - kept
        keep[:, block] = keep_best(score, quota)
        kept += quota
        work, error = result[:, block].T.contiguous(), torch.zeros_like(score).T.contiguous()
        for at in range(stop - start):
            final = torch.where(keep[:, start + at], work[at], base[:, start + at])
            error[at] = (work[at] - final) / corner[at, at]
            work[at] = final
            work[at + 1 :] += sign * torch.outer(corner[at, at + 1 :], error[at])
        result[:, block] = work.T
        result[:, after] += sign * (error.T @ factor[block, after])
    return result, keep
