"""The options that say how trials are run, and which of them are refused."""

import math
from argparse import Namespace

import pytest

from bench.cli.execution import read
from bench.errors import UsageError
from bench.lanes.cluster import lanes_on
from bench.spec import Execution


def test_the_options_come_to_an_execution() -> None:
    options = Namespace(
        gpus_per_trial=2, micro_batch=4, gradient_checkpointing=True, eval_batch=8, feature_cache=0.5, lanes=1
    )

    assert read(options) == Execution(2, 4, True, 8, 1 << 29)
    assert read(Namespace(lanes=0)) == Execution()


@pytest.mark.parametrize("gib", [-1.0, math.nan, math.inf])
def test_a_cache_of_no_size_is_refused(gib: float) -> None:
    with pytest.raises(UsageError, match="give 0 or more GiB"):
        read(Namespace(feature_cache=gib))


def test_several_workers_are_refused_where_there_are_no_lanes() -> None:
    with pytest.raises(UsageError, match="--gpus-per-trial 2 starts workers, and --lanes 0 none"):
        read(Namespace(gpus_per_trial=2, lanes=0))


@pytest.mark.parametrize(("devices", "workers", "lanes"), [(8, 1, 8), (8, 2, 4), (7, 2, 3), (2, 2, 1)])
def test_every_lane_has_devices_of_its_own(devices: int, workers: int, lanes: int) -> None:
    assert lanes_on(devices, workers, "GPU") == lanes


def test_more_workers_than_devices_are_refused() -> None:
    with pytest.raises(UsageError, match="--gpus-per-trial 3 is more than the 2 GPUs here"):
        lanes_on(2, 3, "GPU")
    with pytest.raises(UsageError, match="--gpus-per-trial 2 is more than the 1 core here"):
        lanes_on(1, 2, "core")
