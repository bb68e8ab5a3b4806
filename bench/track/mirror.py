"""Copy records from the store to MLflow, during a command (``Mirror``) or later (``sync``)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bench.console import say
from bench.errors import BenchError, StoreError, UsageError, one_line, without_password
from bench.plan.suite import by_revision
from bench.plugins.registry import Registry
from bench.store.disk_errors import refusal
from bench.store.run_folder import Store
from bench.text import counted
from bench.track import searches
from bench.track.client import VARIABLE, tracking_uri, unreachable
from bench.track.experiment import Experiment, Result
from bench.track.projection import reference_of
from bench.values.record import Record

if TYPE_CHECKING:
    from bench.plan.plan import Plan

log = logging.getLogger(__name__)

_LEAVE = 10.0  # how many seconds an interrupted command waits for MLflow


class Mirror:
    """Mirrors a command's records to MLflow in a separate thread, so that no trial waits for MLflow.

    At the first record the thread imports mlflow and connects (up to 20 s the first time). The first failure gives one
    warning, and after it the command sends nothing more to MLflow; ``bench sync`` sends what is missing.
    """

    def __init__(self, store: Store, plan: Plan, command: str) -> None:
        self._store = store
        self._plan = plan
        self._command = command
        self._uri = tracking_uri(store.root)
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._taken: dict[str, Record] = {}
        self._result: Callable[[], Result] | None = None
        self._experiment: Experiment | None = None
        self._stop = False

    def __enter__(self) -> Self:
        return self

    def take(self, record: Record) -> None:
        """Queue a record for the mirror."""
        self._taken[record.trial.id] = record
        self._put(partial(self._write, record))

    def finish(self, result: Callable[[], Result]) -> None:
        """Add the command's result, which is made when the trials are mirrored."""
        self._result = result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the command's run and wait for MLflow; an interrupted command drops the queued records."""
        if self._thread is None:
            return
        self._stop = kind is not None
        self._jobs.put(partial(self._end, interrupted=kind is not None))
        self._jobs.put(None)
        self._thread.join(None if kind is None else _LEAVE)

    def _put(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as error:  # noqa: BLE001  mlflow, its database and its network may raise anything
                if not self._stop:  # of a command that has stopped, its own reason is printed
                    reason = unreachable(self._uri, error)
                    log.warning("%s The run continues; bench sync updates MLflow later.", reason)
                return

    def _write(self, record: Record) -> None:
        if self._stop:
            return
        if self._experiment is None:
            request = self._plan.request
            suite, stored = request.suite.name, list(self._store.records())
            targets, members = {*request.targets, *_targets(stored)}, _by_suite(stored, self._store).get(suite, [])
            self._experiment = Experiment(self._store, suite, self._command, targets, request.registry, members)
        self._experiment.write(record, self._store.read(self._plan.zero_shot))

    def _end(self, interrupted: bool) -> None:
        if self._experiment is None:
            return
        if not interrupted:
            for record in self._taken.values():  # zero-shot may have come after the trials that are compared with it
                self._write(record)
            if self._experiment.is_older:
                self._modernize(self._experiment)
        if self._result is not None:
            self._experiment.add_result(self._result())
        failed = any(record.status == "failed" for record in self._taken.values())
        self._experiment.end("KILLED" if interrupted else "FAILED" if failed else "FINISHED")

    def _modernize(self, experiment: Experiment) -> None:
        """Write all trials and searches again that an earlier version wrote, so that all scores have one unit."""
        records = list(self._store.records())
        zero_shots = [record for record in records if record.trial.rank is None]
        members = _by_suite(records, self._store).get(self._plan.request.suite.name, [])
        _tell_older(sum(record.trial.id not in self._taken for record in members))
        for record in members:
            experiment.write(record, reference_of(record, zero_shots))
        searches.write(self._store.root)
        experiment.modernize()


def sync(store: Store, registry: Registry) -> int:
    """Update MLflow from the run folder and return how many trials and quests were written.

    Raises:
        StoreError: MLflow cannot be reached, or refuses a run.
    """
    uri = tracking_uri(store.root)
    records = list(store.records())
    zero_shots = [record for record in records if record.trial.rank is None]
    written = 0
    try:
        for suite, members in _by_suite(records, store).items():
            experiment = Experiment(store, suite, "bench sync", _targets(records), registry, members)
            if experiment.is_older:
                _tell_older(len(members))
            written += sum(experiment.write(record, reference_of(record, zero_shots)) for record in members)
            if experiment.is_older:
                experiment.modernize()
            experiment.end("FINISHED")
        written += searches.write(store.root)
    except BenchError:
        raise
    except Exception as error:
        if uri.startswith("sqlite:") and (full := refusal(error, store.root)):
            raise full from error
        raise StoreError(
            f"MLflow at {without_password(uri)} did not accept the run folder: {one_line(error)} "
            f"Start the server, or set {VARIABLE} to a server that runs."
        ) from error
    return written


def _tell_older(count: int) -> None:
    """Say why the command waits while the runs of an earlier version are written again."""
    if count:
        say(f"MLflow: bringing {counted(count, 'earlier trial')} up to date; this happens once.")


def _targets(records: Iterable[Record]) -> set[str]:
    """Return every task that one of the trials learns."""
    return {task for record in records for task in record.trial.learns}


def _by_suite(records: Iterable[Record], store: Store) -> dict[str, list[Record]]:
    """Return records by their suite's name, or by the model's revision if no suite has that model now."""
    names: dict[str, str] = {}
    suites: dict[str, list[Record]] = {}
    for record in records:
        model = record.trial.model
        if model not in names:
            try:
                names[model] = by_revision(model, store.models()).name
            except UsageError:
                names[model] = model
        suites.setdefault(names[model], []).append(record)
    return suites
