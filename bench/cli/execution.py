"""How trials are run on the machine at hand: the options, and what they come to."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace

from bench.errors import UsageError
from bench.spec import Execution

_DEFAULT = Execution()


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options that say how trials are run; none of them changes what a trial gives, but for rounding."""
    group = parser.add_argument_group("how trials are run")
    add = group.add_argument
    add(
        "--gpus-per-trial",
        type=int,
        default=1,
        metavar="N",
        help="GPUs that share a trial (on a CPU: cores; default: 1)",
    )
    add(
        "--address",
        metavar="auto|HOST:PORT",
        help="work on a running Ray cluster; lanes: its free GPUs, else CPUs (default: a Ray of this command's own)",
    )
    add("--micro-batch", type=int, metavar="N", help="most examples a worker trains on at once (default: the recipe's)")
    add("--gradient-checkpointing", action="store_true", help="train in less memory and more time")
    answers, gib = _DEFAULT.eval_batch_size, _DEFAULT.feature_cache_bytes / 2**30
    add("--eval-batch", type=int, default=answers, metavar="N", help=f"answers generated at once (default: {answers})")
    text = f"vision features a lane keeps (default: {gib:g})"
    add("--feature-cache", type=float, default=gib, metavar="GIB", help=text)


def read(options: Namespace) -> Execution:
    """Return what the options come to; a command without them runs at the defaults.

    Raises:
        UsageError: a value is out of range, or two do not go together.
    """
    default = _DEFAULT
    micro_batch = getattr(options, "micro_batch", None)
    counts = {
        "--gpus-per-trial": getattr(options, "gpus_per_trial", default.workers),
        "--eval-batch": getattr(options, "eval_batch", default.eval_batch_size),
        **({} if micro_batch is None else {"--micro-batch": micro_batch}),
    }
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"{name} is {count}; the least is 1.")
    if counts["--gpus-per-trial"] > 1 and getattr(options, "lanes", None) == 0:
        raise UsageError(
            f"--gpus-per-trial {counts['--gpus-per-trial']} starts workers, and --lanes 0 none. Leave out one of them."
        )
    cache = getattr(options, "feature_cache", default.feature_cache_bytes / 2**30)
    if not 0 <= cache < math.inf:
        raise UsageError(f"--feature-cache is {cache:g}; give 0 or more GiB.")
    return Execution(
        workers=counts["--gpus-per-trial"],
        micro_batch_size=micro_batch,
        gradient_checkpointing=getattr(options, "gradient_checkpointing", False),
        eval_batch_size=counts["--eval-batch"],
        feature_cache_bytes=int(cache * 2**30),
    )
