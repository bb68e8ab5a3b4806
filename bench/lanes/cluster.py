"""The Ray that a command's lanes run on: a private one that ends with it, or a running cluster."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

from bench.environment import cores
from bench.errors import TrialError, UsageError, one_line
from bench.lanes.scratch import make_scratch
from bench.store.disk_errors import starved
from bench.store.places import is_remote

_FOLDER = ".lanes"  # the folder inside the run folder for the files of Ray Train and Tune while a command runs
_HOST_PORT = r"[^\s/:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}"
_KNOCK_SECONDS = 10.0
_END_SECONDS = 5.0
_UNUSED = {"PlacementGroupCleanerCallback", "DatasetsCallback"}  # of Ray Train's callbacks


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices of a command: the number of lanes, whether they use GPUs, Ray's shared folder."""

    lanes: int
    gpus: bool
    scratch: Path


def check_address(address: str | None, lanes: int | None) -> None:
    """Refuse an address that a command cannot join, before anything starts.

    Raises:
        UsageError: it is a Ray Client address or has no known form, or the command uses no lanes.
    """
    if address is None:
        return
    if address.startswith("ray://"):
        raise UsageError(
            f"--address {address} is a Ray Client address. bench must run on a cluster node. "
            "Use --address auto there, or ray job submit."
        )
    if address != "auto" and not re.fullmatch(_HOST_PORT, address):
        raise UsageError(f"--address is {address!r}. Give auto, or HOST:PORT of a cluster's head.")
    if lanes == 0:
        raise UsageError("With --address and --lanes 0, nothing would run on the cluster. Leave one of them out.")


def devices(lanes: int | None, address: str | None, output: Path, per_lane: int) -> AbstractContextManager[Devices]:
    """Return a context with a command's devices: this machine's, or the free devices of a cluster."""
    return _own(lanes, per_lane) if address is None else _joined(address, lanes, output, per_lane)


@cache
def _token() -> str:
    """Return this process's token, always the same: Ray reads it only once, even if it starts again."""
    return secrets.token_hex(32)


def _settings() -> None:
    """Set the environment variables that Ray reads when it is imported or started."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Waiting proxies are workers too; on few cores Ray would print a warning about their number on stdout.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "32")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a call after the shutdown must not start another Ray
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # a process per lane that no lane listens to
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@contextmanager
def _own(lanes: int | None, per_lane: int) -> Iterator[Devices]:
    """Start a private Ray with its own token, and end it with the command."""
    scratch = make_scratch()
    count = cores()
    try:
        ray = _started(scratch, max(count, (lanes or 1) * per_lane) + 1)
        try:
            gpus = int(ray.cluster_resources().get("GPU", 0))
            most = lanes_on(gpus or count, per_lane, "GPU" if gpus else "core")
            yield Devices(lanes or most, gpus > 0, scratch)
        finally:
            ray.shutdown()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _started(scratch: Path, cpus: int) -> Any:
    """Start a private Ray whose files are in a folder, and return the module.

    Raises:
        DiskFullError: the folder's disk is full.
        TrialError: Ray did not start for another reason.
    """
    token = scratch / "token"
    token.touch(mode=0o600)
    token.write_text(_token(), encoding="utf-8")
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    _settings()
    import ray

    try:
        with _same_termination():
            ray.init(
                address="local",  # never join a cluster that the environment happens to name
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                _temp_dir=str(scratch / "ray"),
            )
    except Exception as error:
        if full := starved(scratch):  # Ray says only that its processes did not start
            raise full from error
        raise TrialError(
            f"Ray did not start on this machine ({one_line(error)}). Run the same command again when the machine is "
            "less busy, because Ray waits 30 s for its own processes; --lanes 0 needs no Ray."
        ) from error
    return ray


@contextmanager
def _same_termination() -> Iterator[None]:
    """Keep what SIGTERM does in this process; Ray's own handler would end it with a SystemExit and Ray's line."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def lanes_on(devices: int, workers: int, kind: str) -> int:
    """Return how many lanes of ``workers`` workers fit on ``devices`` devices.

    Raises:
        UsageError: not even one lane fits.
    """
    if workers > devices:
        raise UsageError(
            f"--gpus-per-trial {workers} is more than the {devices} {kind}{'s' if devices > 1 else ''} here. "
            "Give fewer. If memory is short, --micro-batch trains on a batch in parts."
        )
    return devices // workers


@contextmanager
def _joined(address: str, lanes: int | None, output: Path, per_lane: int) -> Iterator[Devices]:
    """Join a running cluster as one more driver, with the cluster's token, and leave it running.

    Ray Train and Tune keep their files in the run folder, which all nodes share. If the run folder is at a URL, the
    files are on the driver's node, because the controllers run there and no checkpoint of a trial passes through them.

    Raises:
        UsageError: the cluster does not answer, or has no free device.
    """
    _settings()
    try:
        _knock(address)
        import ray

        with _same_termination():
            ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"--address {address}: the Ray cluster there cannot be joined ({one_line(error)}). "
            "Start one with ray start --head, or leave --address out."
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
    """Raise OSError if nothing listens at the address, because Ray would wait for minutes."""
    known = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if re.fullmatch(_HOST_PORT, known):
        host, port = known.rsplit(":", 1)
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


def _free(kind: str, per_lane: int, address: str) -> int:
    """Return how many lanes fit on the free devices of a cluster."""
    import ray

    free = int(ray.available_resources().get(kind, 0))
    if free < per_lane:
        total = int(ray.cluster_resources().get(kind, 0))
        raise UsageError(
            f"--address {address}: {free} of the cluster's {total} {kind}s are free, but a lane needs {per_lane}. "
            "Wait, or give --lanes N to queue for them."
        )
    return free // per_lane


def lane_trainer(broker: Any) -> Any:
    """Return a TorchTrainer whose controller the broker knows, so that ``end_lanes`` can end it.

    The trainer has no detached guard of placement groups. The groups end with their controller anyway, and in a Ray
    without a dashboard the guard of an interrupted command would not notice the end and never exit. The trainer also
    has no manager of Ray's datasets, which would be one more process per lane.
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
            return [*(each for each in usual if type(each).__name__ not in _UNUSED), Told()]

    return LaneTrainer


def end_lanes(broker: Any, threads: Sequence[Thread]) -> None:
    """Kill the remaining lanes: a thread inside Ray during its shutdown would abort the whole process."""
    import ray

    if any(thread.is_alive() for thread in threads):
        with suppress(ray.exceptions.RayActorError):  # if the broker died, its list of controllers is lost
            for controller in ray.get(broker.controllers.remote()):
                ray.kill(controller)
    for thread in threads:
        thread.join(_END_SECONDS)
