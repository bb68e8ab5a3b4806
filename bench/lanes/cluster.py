"""The Ray that a command's lanes run on: one of its own that ends with it, or a cluster that was there before."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

from bench.errors import UsageError
from bench.store.places import is_remote

_FOLDER = ".lanes"  # in the run folder: what Ray Train and Tune keep for themselves while a command runs
_HOST_PORT = r"[^\s/:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}"
_KNOCK_SECONDS = 10.0
_END_SECONDS = 5.0
_CLEANER = "PlacementGroupCleanerCallback"


@dataclass(frozen=True, slots=True)
class Devices:
    """What lanes run on: how many there are for, whether with GPUs, and a folder for Ray that all nodes see."""

    lanes: int
    gpus: bool
    scratch: Path


def check_address(address: str | None, lanes: int | None) -> None:
    """Refuse an address that a command cannot join, before anything starts.

    Raises:
        UsageError: it is Ray Client's, of no known form, or the command works in its own process.
    """
    if address is None:
        return
    if address.startswith("ray://"):
        raise UsageError(
            f"--address {address} is Ray Client's, whose driver is on no node of the cluster; the broker and Ray Train "
            "need one that is. Run this on a node with --address auto, or through ray job submit."
        )
    if address != "auto" and not re.fullmatch(_HOST_PORT, address):
        raise UsageError(f"--address is {address!r}; give auto, or HOST:PORT of a cluster's head.")
    if lanes == 0:
        raise UsageError("--address with --lanes 0: nothing would run on the cluster. Leave one of them out.")


def devices(lanes: int | None, address: str | None, output: Path, per_lane: int) -> Any:
    """Return a context with the devices of a command: those of this machine, or those free on a cluster."""
    return _own(lanes, per_lane) if address is None else _joined(address, lanes, output, per_lane)


@cache
def _token() -> str:
    """Return this process's token: Ray reads it once, so a second start must not have another."""
    return secrets.token_hex(32)


def _settings() -> None:
    """Say to Ray what it reads from the environment when it is imported or started."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Waiting proxies are workers too; Ray says on stdout that so many are odd on so few cores.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "32")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a late call must not start another Ray
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@contextmanager
def _own(lanes: int | None, per_lane: int) -> Iterator[Devices]:
    """Start a private Ray with a token of its own, and end it with the command."""
    scratch = Path(tempfile.mkdtemp(prefix="bench-"))
    token = scratch / "token"
    token.touch(mode=0o600)
    token.write_text(_token())
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    _settings()
    import ray

    count = cores()
    ray.init(
        address="local",  # never a cluster that happens to be named in the environment
        num_cpus=max(count, (lanes or 1) * per_lane) + 1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        _temp_dir=str(scratch / "ray"),
    )
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        most = lanes_on(gpus or count, per_lane, "GPU" if gpus else "core")
        yield Devices(lanes or most, gpus > 0, scratch)
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lanes_on(devices: int, workers: int, kind: str) -> int:
    """Return how many lanes of so many workers there are devices for.

    Raises:
        UsageError: there is none.
    """
    if workers > devices:
        raise UsageError(
            f"--gpus-per-trial {workers} is more than the {devices} {kind}{'s' if devices > 1 else ''} here. "
            "Give fewer; --micro-batch trains on a batch in parts."
        )
    return devices // workers


@contextmanager
def _joined(address: str, lanes: int | None, output: Path, per_lane: int) -> Iterator[Devices]:
    """Join a cluster as one more driver, with the cluster's token, and leave it as it was.

    Ray Train and Tune keep their books in the run folder, which all nodes share. At a URL they keep them here, beside
    the driver: their controllers run on its node, and no checkpoint of a trial passes through them.

    Raises:
        UsageError: it does not answer, or has no device free.
    """
    _settings()
    try:
        _knock(address)
        import ray

        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"--address {address}: no Ray cluster can be joined there ({reason}). Start one with ray start --head, or "
            "leave --address out."
        ) from error
    here = is_remote(output)
    books = Path(tempfile.mkdtemp(prefix="bench-")) if here else output / _FOLDER / uuid4().hex[:8]
    books.mkdir(parents=True, exist_ok=True)
    try:
        gpus = ray.cluster_resources().get("GPU", 0) > 0
        count = lanes or _free("GPU" if gpus else "CPU", per_lane, address)
        yield Devices(count, gpus, books)
    finally:
        ray.shutdown()
        shutil.rmtree(books if here else output / _FOLDER, ignore_errors=True)  # one command at a time works there


def _knock(address: str) -> None:
    """Raise OSError where nothing listens: Ray would wait for minutes."""
    known = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if re.fullmatch(_HOST_PORT, known):
        host, port = known.rsplit(":", 1)
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


def _free(kind: str, per_lane: int, address: str) -> int:
    """Return for how many lanes a cluster has devices that nobody uses."""
    import ray

    free = int(ray.available_resources().get(kind, 0))
    if free < per_lane:
        total = int(ray.cluster_resources().get(kind, 0))
        raise UsageError(
            f"--address {address}: {free} of the cluster's {total} {kind}s are free, and a lane takes {per_lane}. "
            "Wait, or give --lanes N to queue for them."
        )
    return free // per_lane


def lane_trainer(broker: Any) -> Any:
    """Return a TorchTrainer whose controller the broker knows, so that ``end_lanes`` can end it.

    It has no detached guard of placement groups: they end with their controller all the same, and where Ray comes
    without its dashboard the guard of an interrupted command would never learn of that, and stay.
    """
    import ray
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.execution.callback import ControllerCallback

    class Told(ControllerCallback):  # type: ignore[misc]
        def after_controller_start(self, train_run_context: Any) -> None:
            ray.get(broker.controlled.remote(ray.get_runtime_context().current_actor))

    class LaneTrainer(TorchTrainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            usual = super()._create_default_callbacks()
            return [*(each for each in usual if type(each).__name__ != _CLEANER), Told()]

    return LaneTrainer


def end_lanes(broker: Any, threads: Sequence[Thread]) -> None:
    """End the lanes that are left, for no thread may be inside Ray when it shuts down: that ends the whole process."""
    import ray

    if any(thread.is_alive() for thread in threads):
        with suppress(ray.exceptions.RayActorError):  # a broker that died has taken its list with it
            for controller in ray.get(broker.controllers.remote()):
                ray.kill(controller)
    for thread in threads:
        thread.join(_END_SECONDS)
