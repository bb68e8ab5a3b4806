"""The options that choose how trials run, which every command that starts trials has."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from bench.cli.arguments import arg, flag
from bench.console import say
from bench.errors import UsageError
from bench.lanes.cluster import check_address
from bench.lanes.setup import Launch
from bench.sizes import GB, GIB
from bench.values.resources import Resources

if TYPE_CHECKING:
    from bench.plan.plan import Plan

_RUNS = Resources()
_AUTO = "auto"


def _plain_blocks(text: str | None) -> int | None:
    """Return how many decoder blocks are not checkpointed; None means all.

    Raises:
        UsageError: the text is neither a number of blocks nor auto.
    """
    if text is None or text == _AUTO:
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(
            f"--gradient-checkpointing is {text!r}; give the number of blocks that are not checkpointed, auto, or "
            "nothing to checkpoint all."
        )
    return int(text)


def _blocks(text: str) -> str:
    """Return a value of the option, because argparse takes any word after it for one, such as a study's name.

    Raises:
        ArgumentTypeError: it is not a value of the option.
    """
    try:
        _plain_blocks(text)
    except UsageError as error:
        reason = f"{text!r} is neither a number of blocks nor auto. Put other words before the option."
        raise ArgumentTypeError(reason) from error
    return text


@dataclass(frozen=True, kw_only=True)
class HowTrialsRun:
    """Options that choose how trials run. They change results only by rounding, and by the masks of dropout."""

    section: ClassVar[str | None] = "how trials run"

    gpus_per_trial: int = arg(
        _RUNS.workers, "GPUs per trial, or CPU cores if there is no GPU (default: 1)", "N", least=1
    )
    address: str | None = arg(
        None,
        "use a running Ray cluster, with one lane per free GPU, or per CPU without GPUs (default: start Ray here)",
        "auto|HOST:PORT",
    )
    micro_batch: int | None = arg(
        None,
        "largest number of examples that a worker trains on at once (default: the recipe's)",
        "N",
        type=int,
        least=1,
    )
    gradient_checkpointing: str | None = arg(
        None,
        "use less memory for training, and more time: compute every decoder block again in the backward pass, or all "
        "but the first N; auto chooses, for all trials that start together, the largest N with which a "
        "micro-batch of each method fits this machine's GPU as bench plan counts (default: no block)",
        "N|auto",
        nargs="?",
        const="0",
        type=_blocks,
    )
    eval_batch: int = arg(
        _RUNS.eval_batch_size,
        f"number of answers generated at once (default: {_RUNS.eval_batch_size})",
        "N",
        least=1,
    )
    feature_cache: float = arg(
        _RUNS.feature_cache_bytes / GIB,
        f"memory for the vision features that a lane keeps (default: {_RUNS.feature_cache_bytes / GIB:g})",
        "GIB",
    )
    feature_files: float = arg(
        _RUNS.feature_file_bytes / GB,
        "disk for the vision features that all lanes of a machine share, in $BENCH_CACHE or else the user's cache "
        f"(default: {_RUNS.feature_file_bytes / GB:g}; 0: none)",
        "GB",
    )
    lanes: int | None = arg(
        None, "number of lanes (default: one per GPU or CPU core; 0: run in this process)", "N", type=int, least=0
    )

    def launch(self) -> Launch:
        """Return the launch settings; until ``fitted`` chooses, auto checkpoints no block.

        Raises:
            UsageError: a value is out of range, or two options exclude each other.
        """
        check_address(self.address, self.lanes)
        if self.gpus_per_trial > 1 and self.lanes == 0:
            raise UsageError("--lanes 0 runs in this process and cannot start workers. Drop it or --gpus-per-trial.")
        if not 0 <= self.feature_cache < math.inf:
            raise UsageError(f"--feature-cache is {self.feature_cache:g}; give 0 or more GiB.")
        if not 0 <= self.feature_files < math.inf:
            raise UsageError(f"--feature-files is {self.feature_files:g}; give 0 or more GB.")
        resources = Resources(
            workers=self.gpus_per_trial,
            micro_batch_size=self.micro_batch,
            plain_blocks=_plain_blocks(self.gradient_checkpointing),
            eval_batch_size=self.eval_batch,
            feature_cache_bytes=int(self.feature_cache * GIB),
            feature_file_bytes=int(self.feature_files * GB),
        )
        return Launch(self.lanes, self.address, resources)

    @property
    def fits_blocks(self) -> bool:
        """Whether --gradient-checkpointing is auto."""
        return self.gradient_checkpointing == _AUTO

    def fitted(self, launch: Launch, plan: Callable[[], Plan]) -> Launch:
        """Return the launch settings, for auto with the blocks to checkpoint in a plan's trainings on this machine."""
        if not self.fits_blocks:
            return launch
        from bench.prepare.price.fitting import fitted_here  # imported here because it loads torch

        resources = fitted_here(plan(), launch.resources)
        some = f"all but the first {resources.plain_blocks} blocks are"
        which = {None: "no block is", 0: "every block is"}.get(resources.plain_blocks, some)
        say(f"--gradient-checkpointing auto: {which} checkpointed.")
        return replace(launch, resources=resources)


@dataclass(frozen=True, kw_only=True)
class Starts(HowTrialsRun):
    """Options of a command that runs a plan, or only prints it."""

    section: ClassVar[str | None] = "how trials run"

    dry_run: bool = flag("print the plan and stop")

    def launch(self) -> Launch:
        """Return the launch settings.

        Raises:
            UsageError: a value is out of range, or two options exclude each other.
        """
        if self.fits_blocks and self.address is not None:
            raise UsageError(
                "--gradient-checkpointing auto does not ask the cluster at --address for its GPUs. Give the number "
                "that bench plan --gradient-checkpointing auto --gpu NAME shows."
            )
        return super().launch()
