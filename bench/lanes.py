"""Ray: lanes that stay warm and pull trials from a broker until none is left."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.broker import Broker, Event
from bench.errors import TrialError
from bench.registry import add_file
from bench.spec import Record, Work
from bench.store import Store

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_REPORT_SECONDS = 0.5
_JOIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What every lane needs to know: where to store, which base model, which plugin files."""

    output: Path
    model: Path
    plugins: tuple[Path, ...] = ()


def run(works: Sequence[Work], stored: Mapping[str, Record], setup: Setup, lanes: int | None) -> Generator[Event]:
    """Do the works and yield what happens. ``lanes`` 0 works in this process; None takes every free device."""
    if not works:
        return
    if lanes == 0:
        yield from _run_here(Broker(works, stored), setup)
        return
    with _ray(lanes) as (count, gpus, scratch):
        yield from _run_lanes(works, stored, setup, min(count, len(works)), gpus=gpus, scratch=scratch)


def _run_here(broker: Broker, setup: Setup) -> Generator[Event]:
    store, bench, seen = Store(setup.output), _bench(setup), 0
    while not broker.over:
        work = broker.take(0)
        for event in (fresh := broker.events[seen:]):
            yield _kept(store, event)
        if work is not None:
            broker.finish(0, bench.run(work, lambda *progress: broker.progress(0, *progress)))
        seen += len(fresh)
    for event in broker.events[seen:]:
        yield _kept(store, event)


def _bench(setup: Setup) -> Any:
    import torch

    from bench.execute import Bench

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Bench(Store(setup.output), setup.model, device)


def _kept(store: Store, event: Event) -> Event:
    """Store the failures that no lane could write: dead workers, and children of a failed parent."""
    if event.kind == "failed" and event.record is not None and not event.record.environment:
        trial, reason = event.record.trial, event.record.error
        store.write(replace(store.read(trial) or event.record, status="failed", error=reason))
        (store.folder(trial) / "error.txt").write_text(f"{reason}\n")
    return event


@contextmanager
def _ray(lanes: int | None) -> Iterator[tuple[int, bool, Path]]:
    """Start a private Ray, and yield the number of lanes, whether they have a GPU each, and a scratch folder."""
    scratch = Path(tempfile.mkdtemp(prefix="bench-"))
    token = scratch / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ray.init(
        address="local",  # never a cluster that happens to be named in the environment
        num_cpus=max(cores, lanes or 1) + 1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        _temp_dir=str(scratch / "ray"),
    )
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        yield lanes or gpus or cores, gpus > 0, scratch
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _run_lanes(
    works: Sequence[Work],
    stored: Mapping[str, Record],
    setup: Setup,
    count: int,
    *,
    gpus: bool,
    scratch: Path,
) -> Generator[Event]:
    import ray

    broker = _actor(works, stored)
    errors: list[BaseException] = []
    threads = [
        threading.Thread(target=_lane, args=(lane, broker, setup, gpus, scratch, errors), daemon=True)
        for lane in range(count)
    ]
    for thread in threads:
        thread.start()
    store, seen, over = Store(setup.output), 0, False
    try:
        while not over:
            over = not any(thread.is_alive() for thread in threads) or ray.get(broker.is_over.remote())
            for event in ray.get(broker.events_after.remote(seen)):
                seen += 1
                yield _kept(store, event)
            time.sleep(_POLL_SECONDS)
        if not ray.get(broker.is_over.remote()):
            reasons = [*ray.get(broker.broken_lanes.remote()), *map(str, errors)]
            raise TrialError(f"No lane is left. The last one broke down with: {reasons[-1]}")
    finally:
        ray.get(broker.close.remote())
        for thread in threads:
            thread.join(_JOIN_SECONDS if over else 0.0)


class _BrokerActor:
    """The broker as an asynchronous actor: while one lane waits for work, the others are heard."""

    def __init__(self, works: Sequence[Work], stored: Mapping[str, Record]) -> None:
        self._broker = Broker(works, stored)
        self._broken: list[str] = []

    async def next(self, lane: int) -> Work | None:
        while (work := self._broker.take(lane)) is None and not self._broker.over:
            await asyncio.sleep(_POLL_SECONDS)
        return work

    async def progress(self, lane: int, stage: str, step: int, steps: int, loss: float) -> None:
        self._broker.progress(lane, stage, step, steps, loss)

    async def finish(self, lane: int, record: Record) -> None:
        self._broker.finish(lane, record)

    async def lost(self, lane: int) -> None:
        self._broker.lost(lane)

    async def broken(self, lane: int, reason: str) -> None:
        self._broken.append(f"lane {lane}: {reason}")

    async def broken_lanes(self) -> list[str]:
        return self._broken

    async def events_after(self, seen: int) -> list[Event]:
        return self._broker.events[seen:]

    async def is_over(self) -> bool:
        return self._broker.over

    async def close(self) -> None:
        self._broker.close()


def _actor(works: Sequence[Work], stored: Mapping[str, Record]) -> Any:
    """Start the broker on this node, which outlives every lane."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_concurrency": 1000, "scheduling_strategy": here}
    return ray.remote(**options)(_BrokerActor).remote(works, stored)


def _lane(lane: int, broker: Any, setup: Setup, gpus: bool, scratch: Path, errors: list[BaseException]) -> None:
    """Hold one Ray Train worker for the whole command; Ray restarts it when it dies."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _pull,
        train_loop_config={"lane": lane, "broker": broker, "setup": setup},
        scaling_config=ScalingConfig(
            num_workers=1, use_gpu=gpus, resources_per_worker={"GPU": 1} if gpus else {"CPU": 1}
        ),
        run_config=RunConfig(
            name=f"lane-{lane}",
            storage_path=str(scratch / "train"),
            failure_config=FailureConfig(max_failures=-1),  # the broker counts deaths, trial by trial
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # noqa: BLE001  whatever broke this lane, the others go on
        log.warning("Lane %d broke down: %s", lane, error)
        errors.append(error)
        if ray.is_initialized():
            ray.get(broker.lost.remote(lane))


def _pull(config: Mapping[str, Any]) -> None:
    """Pull works and do them, until the broker has no more: what a Ray Train worker runs."""
    import ray

    lane, broker, setup = config["lane"], config["broker"], config["setup"]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        for path in setup.plugins:
            add_file(path)
        bench = _bench(setup)
    except Exception as error:  # noqa: BLE001  raised, it would make Ray start this worker again for ever
        ray.get(broker.broken.remote(lane, f"{type(error).__name__}: {error}"))
        return
    last = 0.0

    def report(stage: str, step: int, steps: int, loss: float) -> None:
        nonlocal last
        if time.monotonic() - last > _REPORT_SECONDS:
            last = time.monotonic()
            broker.progress.remote(lane, stage, step, steps, loss)

    while (work := ray.get(broker.next.remote(lane))) is not None:
        record = bench.run(work, report)
        ray.get(broker.finish.remote(lane, record))
