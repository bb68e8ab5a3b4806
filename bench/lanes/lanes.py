"""Run jobs in lanes, which keep the base model in memory and pull jobs until none remain."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.console import say
from bench.errors import BenchError, Gone, TrialError, WriteError
from bench.lanes import broker_actor, cluster, nodes
from bench.lanes.broker import Broker, Event
from bench.lanes.broker_actor import POLL_SECONDS
from bench.lanes.setup import LaneSetup, Shipment
from bench.plugins.guard import guarded
from bench.store.run_folder import Store
from bench.trial.workers import ALONE, Failure, Group, joined
from bench.values.job import Job
from bench.values.record import Record

log = logging.getLogger(__name__)

_REPORT_SECONDS = 0.5
_JOIN_SECONDS = 20.0
_DRIVE_SECONDS = 10.0  # how long an interrupted command waits for its drive, which must end before Ray
_PATIENCE_SECONDS = 7 * 24 * 3600  # how long workers wait for the first of them, which waits for a job
_LANES_SECONDS = 60.0  # how long a drive waits for its last lane to start
_AGAIN = "Correct this, then run the same command again to resume"


Drive = Callable[[Any, "Crew"], None]


def run(
    jobs: Sequence[Job],
    stored: Mapping[str, Record],
    setup: LaneSetup,
    drive: Drive | None = None,
    watch: Callable[[Event], None] = lambda event: None,
) -> Generator[Event]:
    """Do the jobs and yield events.

    Of a trial that runs in this process, nothing can be yielded before it ends, so ``watch`` receives its progress.
    ``drive(broker, crew)`` runs in a separate thread at the same time as the lanes and gives the broker more jobs; the
    lanes stay up until it returns.
    """
    if not jobs and drive is None:
        return
    launch = setup.launch
    if launch.lanes == 0:
        yield from _run_here(Broker(jobs, stored), setup, watch)
        return
    where = "Starting Ray on this machine" if launch.address is None else f"Joining the Ray cluster at {launch.address}"
    say(f"{where}; the first trial starts in some seconds.")
    with cluster.devices(launch.lanes, launch.address, setup.output, launch.resources.workers) as found:
        if launch.address is not None:
            nodes.check(setup.folders(found.scratch), setup.scored, gpus=found.gpus)
        count = found.lanes if drive else min(found.lanes, len(jobs))
        crew = Crew(setup, setup.shipped(), count, found.gpus, found.scratch)
        yield from _run_lanes(jobs, stored, crew, drive)


def _run_here(broker: Broker, setup: LaneSetup, watch: Callable[[Event], None]) -> Generator[Event]:
    store, bench, seen = Store(setup.output), _bench(setup), 0

    def fresh() -> list[Event]:
        nonlocal seen
        found = broker.events_after(seen)
        seen += len(found)
        return found

    def report(stage: str, step: int, steps: int, loss: float) -> None:
        broker.progress(0, stage, step, steps, loss)
        for event in fresh():
            watch(event)

    while not broker.over:
        job = broker.take(0)
        for event in fresh():
            yield _kept(store, event)
        if job is not None:
            broker.finish(0, bench.run(job, report))
    for event in fresh():
        yield _kept(store, event)


def _bench(setup: LaneSetup, group: Group = ALONE) -> Any:
    import torch

    from bench.trial.runner import TrialRunner

    # Ray shows each worker the GPUs of all workers of its lane, and sets the worker's own GPU as the current device.
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return TrialRunner(Store(setup.output), setup.model, setup.tasks, device, setup.launch.resources, group)


def _kept(store: Store, event: Event) -> Event:
    """Store failures that no lane could write: those of dead workers and of children of a failed parent."""
    if event.kind == "failed" and event.record is not None and not event.record.environment:
        trial, reason = event.record.trial, event.record.error
        store.write(replace(store.read(trial) or event.record, status="failed", error=reason))
        store.write_error(trial, f"{reason}\n")
    return event


@dataclass(frozen=True, slots=True)
class Crew:
    """The lanes of one command. ``stopping`` is set when the command ends, so that a drive can end first."""

    setup: LaneSetup
    shipment: Shipment
    count: int
    gpus: bool
    scratch: Path
    stopping: threading.Event = field(default_factory=threading.Event)


def _run_lanes(jobs: Sequence[Job], stored: Mapping[str, Record], crew: Crew, drive: Drive | None) -> Generator[Event]:
    import ray

    broker = broker_actor.start(jobs, stored, is_open=drive is not None)
    troubles = _Troubles()
    threads, driver = _started(broker, crew, drive, troubles)
    store, seen, over = Store(crew.setup.output), 0, False
    watch = nodes.Watch(broker, joined=crew.setup.launch.address is not None)
    try:
        while not over:
            watch.look()
            over = not any(thread.is_alive() for thread in threads) or ray.get(broker.is_over.remote())
            for event in ray.get(broker.events_after.remote(seen)):
                seen += 1
                yield _kept(store, event)
            time.sleep(POLL_SECONDS)
        over = not ray.get(broker.halted.remote())  # else other lanes may be in the middle of a trial
        _check_end(broker, troubles)
    except ray.exceptions.RayActorError as error:
        raise TrialError("The broker died. Run the same command again to resume.") from error
    finally:
        crew.stopping.set()
        if driver is not None:
            driver.join(_DRIVE_SECONDS)
        with suppress(ray.exceptions.RayActorError):  # a broker that died has nothing to close
            ray.get(broker.close.remote())
        for thread in threads:
            thread.join(_JOIN_SECONDS if over and not watch.gone else 0.0)  # a lost node's lane may wait for a new one
        cluster.end_lanes(broker, threads)


@dataclass(slots=True)
class _Troubles:
    """The errors that ended lanes (other lanes may still run), and the error that ended the drive."""

    lanes: list[BaseException] = field(default_factory=list)
    drive: BaseException | None = None


def _check_end(broker: Any, troubles: _Troubles) -> None:
    """Raise the error that ended the lanes or the drive before all jobs were done, if there was one."""
    import ray

    if reason := ray.get(broker.halted.remote()):
        raise WriteError(reason)
    if (error := troubles.drive) is not None:
        told = f": {error}" if isinstance(error, BenchError) else f". {_AGAIN}: {error}"
        raise TrialError(f"The search failed{told}") from error
    if not ray.get(broker.is_over.remote()):
        reasons = [*ray.get(broker.broken_lanes.remote()), *map(str, troubles.lanes)]
        cause = troubles.lanes[-1] if troubles.lanes else None
        raise TrialError(f"No lane is left. {_AGAIN}: {reasons[-1]}") from cause


def _started(
    broker: Any, crew: Crew, drive: Drive | None, troubles: _Troubles
) -> tuple[list[threading.Thread], threading.Thread | None]:
    """Start a thread per lane, and one for the drive if there is one."""
    import_module("ray.train.torch")  # before the threads: two threads that import parts of Ray at once can fail
    driver = None
    if drive is not None:
        import_module("ray.tune")
        driver = threading.Thread(target=_driven, args=(drive, broker, crew, troubles), daemon=True)
        driver.start()
    lanes = [
        threading.Thread(target=_lane, args=(lane, broker, crew, troubles), daemon=True) for lane in range(crew.count)
    ]
    for lane in lanes:
        lane.start()
    return lanes, driver


def _driven(drive: Drive, broker: Any, crew: Crew, troubles: _Troubles) -> None:
    """Run the drive once the lanes are up, because a trainer starts much more slowly while Tune runs."""
    import ray

    patience = time.monotonic() + _LANES_SECONDS
    try:
        while (heard := ray.get(broker.lanes_heard.remote())) < crew.count and not crew.stopping.is_set():
            if heard and time.monotonic() > patience:
                break
            time.sleep(POLL_SECONDS)
        with guarded():
            drive(broker, crew)
    except Exception as error:  # noqa: BLE001  the thread that yields the events raises it again
        troubles.drive = error
    finally:
        if ray.is_initialized():
            ray.get(broker.settle.remote())


def _lane(lane: int, broker: Any, crew: Crew, troubles: _Troubles) -> None:
    """Keep one lane's workers running for the whole command; if one dies, Ray restarts all of them."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig

    trainer = cluster.lane_trainer(broker)(
        _pull,
        train_loop_config={"lane": lane, "broker": broker, "shipment": crew.shipment},
        # gloo as well as nccl: messages between workers need no GPU, and gloo fails at once if a worker is killed
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if crew.gpus else "gloo", timeout_s=_PATIENCE_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=crew.setup.launch.resources.workers,
            use_gpu=crew.gpus,
            resources_per_worker={"GPU": 1} if crew.gpus else {"CPU": 1},
        ),
        run_config=RunConfig(
            name=f"lane-{lane}",
            storage_path=str(crew.scratch / "train"),
            failure_config=FailureConfig(max_failures=-1),  # the broker counts deaths, trial by trial
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # noqa: BLE001  whatever broke this lane, the other lanes continue
        if crew.stopping.is_set():
            return
        log.warning("Lane %d failed: %s", lane, error)
        troubles.lanes.append(error)
        if ray.is_initialized():
            ray.get(broker.lost.remote(lane))


def _pull(config: Mapping[str, Any]) -> None:
    """Pull jobs from the broker and do them until none are left; every worker of a lane runs this.

    Only the lane's first worker asks the broker for a job; it passes the answer to the other workers.
    """
    import ray

    lane, broker = config["lane"], config["broker"]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    group = joined()
    bench = _ready(config["shipment"], group)
    if isinstance(bench, Failure):  # not raised, because Ray would then restart this worker for ever
        told = broker.halt.remote if bench.stops else partial(broker.broken.remote, lane)
        group.first(lambda: ray.get(told(bench.reason)))
        return
    ray.get(broker.stands.remote(lane, group.rank, ray.get_runtime_context().get_node_id()))
    last = 0.0

    def report(stage: str, step: int, steps: int, loss: float) -> None:
        nonlocal last
        if time.monotonic() - last > _REPORT_SECONDS:
            last = time.monotonic()
            broker.progress.remote(lane, stage, step, steps, loss)

    def judge(step: int, source: float, target: float) -> bool:
        try:
            return bool(ray.get(broker.rung.remote(lane, step, source, target)))
        except ray.exceptions.RayError as error:  # the trial is not to blame, so it must not be recorded as failed
            raise Gone("The broker is gone.") from error

    while (job := group.first(lambda: ray.get(broker.next.remote(lane)))) is not None:
        try:
            record = bench.run(job, report, judge)
        except WriteError as error:
            reason = str(error)
            group.first(lambda: ray.get(broker.halt.remote(reason)))  # noqa: B023  called at once
            return
        group.first(lambda: ray.get(broker.finish.remote(lane, record)))  # noqa: B023  called at once


def _ready(shipment: Shipment, group: Group) -> Any:
    """Return a worker's bench, or the failure of a worker of the lane that could not build one."""
    failure = bench = None
    try:
        with guarded():
            bench = _bench(shipment.setup(), group)
    except Exception as error:  # noqa: BLE001  the first worker reports it to the broker
        failure = Failure.of(error, shipment.output)
    return group.settle(failure) or bench
