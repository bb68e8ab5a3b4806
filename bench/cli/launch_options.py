"""The options that choose how trials run, which every command that starts trials has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from bench.cli.arguments import arg, flag
from bench.errors import UsageError
from bench.lanes.cluster import check_address
from bench.lanes.setup import Launch
from bench.sizes import GB, GIB
from bench.spec import Resources

_RUNS = Resources()


@dataclass(frozen=True, kw_only=True)
class HowTrialsRun:
    """Options that choose how trials run. They change results only by rounding."""

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
    gradient_checkpointing: bool = flag("use less memory for training, and more time")
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
        """Return the launch settings.

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
            gradient_checkpointing=self.gradient_checkpointing,
            eval_batch_size=self.eval_batch,
            feature_cache_bytes=int(self.feature_cache * GIB),
            feature_file_bytes=int(self.feature_files * GB),
        )
        return Launch(self.lanes, self.address, resources)


@dataclass(frozen=True, kw_only=True)
class Starts(HowTrialsRun):
    """Options of a command that runs a plan, or only prints it."""

    section: ClassVar[str | None] = "how trials run"

    dry_run: bool = flag("print the plan and stop")
