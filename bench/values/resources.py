"""How trials run on a machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resources:
    """How trials run on this machine. No field may change what a trial gives, except by rounding and masks.

    Dropout draws its masks for a whole micro-batch, so another division of an update draws other masks.

    ``workers`` share a trial (each has a GPU or a CPU core); ``micro_batch_size`` is the most examples a worker takes
    at once (None: the recipe's). The first ``plain_blocks`` decoder blocks keep their activations for the backward
    pass, and gradient checkpointing computes the others again (None: all keep them). ``eval_batch_size`` answers are
    generated at once, and a lane keeps at most ``feature_cache_bytes`` of vision features. The lanes of a machine share
    at most ``feature_file_bytes`` of vision features in files.
    """

    workers: int = 1
    micro_batch_size: int | None = None
    plain_blocks: int | None = None
    eval_batch_size: int = 64
    feature_cache_bytes: int = 4 << 30
    feature_file_bytes: int = 20 * 10**9
