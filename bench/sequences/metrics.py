"""Compute the metrics of a sequence of tasks from a matrix of scores.

``scores`` is [..., T, T] with T at least 2: entry [k, j] is the score of task j after stage k, with the tasks in the
order in which the stages learn them. ``zero_shot`` and ``single`` are [..., T]: the score of the untouched base model
on each task, and that of plain LoRA trained on the task alone. Leading axes are seeds and resamples, and broadcast. A
missing score is NaN. It makes those metrics NaN that read it, and no other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def stage_averages(scores: FloatArray) -> FloatArray:
    """Return AP_k for every stage k: the mean of the scores of the tasks that are learnt so far, [..., T].

    >>> stage_averages(np.array([[80.0, 30.0], [70.0, 60.0]])).tolist()
    [80.0, 65.0]
    """
    learnt = [scores[..., stage, : stage + 1].mean(axis=-1) for stage in range(scores.shape[-1])]
    return np.stack(learnt, axis=-1)


def average(scores: FloatArray) -> FloatArray:
    """Return AP: the mean of the scores of all tasks after the last stage."""
    return _mean(scores[..., -1, :])


def relative_average(scores: FloatArray, single: FloatArray) -> FloatArray:
    """Return APn: the mean over tasks of the score after the last stage divided by that of the task learnt alone.

    It is NaN if a task that is learnt alone scores 0.
    """
    return _mean(scores[..., -1, :] / np.where(single == 0, np.nan, single))


def mean_average(scores: FloatArray) -> FloatArray:
    """Return MAP: the mean of AP_k over the stages."""
    return _mean(stage_averages(scores))


def backward_transfer(scores: FloatArray) -> FloatArray:
    """Return BWT: how much each task but the last gains from its own stage to the last one, on average."""
    return _mean(scores[..., -1, :-1] - _diagonal(scores)[..., :-1])


def forgetting(scores: FloatArray) -> FloatArray:
    """Return Forgetting: how far each task but the last is below the highest score it had since its own stage.

    The highest is over the stages before the last, so a task that improves at the last stage counts below 0.
    """
    last = scores.shape[-1] - 1
    best = [scores[..., task:last, task].max(axis=-1) for task in range(last)]
    return _mean(np.stack(best, axis=-1) - scores[..., -1, :-1])


def forward_transfer(scores: FloatArray, zero_shot: FloatArray) -> FloatArray:
    """Return FWT: how much each task but the first has gained over zero-shot just before its own stage, on average."""
    return _mean(np.diagonal(scores, 1, -2, -1) - zero_shot[..., 1:])


def transfer(scores: FloatArray) -> FloatArray:
    """Return Transfer: the mean over tasks but the first of the mean score over all stages before the task's own."""
    before = [scores[..., :task, task].mean(axis=-1) for task in range(1, scores.shape[-1])]
    return _mean(np.stack(before, axis=-1))


def learning(scores: FloatArray) -> FloatArray:
    """Return Learning: the mean of the score of each task after its own stage."""
    return _mean(_diagonal(scores))


def intransigence(scores: FloatArray, single: FloatArray) -> FloatArray:
    """Return Intransigence: how far each task after its own stage is below its score when learnt alone, on average."""
    return _mean(single - _diagonal(scores))


def _diagonal(scores: FloatArray) -> FloatArray:
    return np.diagonal(scores, 0, -2, -1)


def _mean(scores: FloatArray) -> FloatArray:
    found: FloatArray = scores.mean(axis=-1)
    return found
