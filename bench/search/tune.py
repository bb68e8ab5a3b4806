"""Let Ray Tune drive a search: ask the studies for configurations, and wait for the lanes' results.

A Tune trial is a proxy: it passes its jobs to the broker, holds no CPU, and waits. So a proxy starts no trainer, never
waits for a device that another proxy holds, and any number of proxies may wait at the same time.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from bench.errors import TrialError
from bench.lanes.broker_actor import Rung
from bench.lanes.lanes import Crew
from bench.search.optuna_study import Suggestion
from bench.search.quest import Quest, measure
from bench.values.job import Job
from bench.values.record import Record

# A resource that every cluster has in abundance, so that proxies never compete with lanes.
_NOWHERE = {"node:__internal_head__": 0.001}


def drive(broker: Any, crew: Crew, quests: Sequence[Quest], trials: int) -> None:
    """Run every quest to its budget of ``trials`` configurations, at most lanes + 1 at a time.

    Raises:
        TrialError: a configuration could not be measured, for a reason outside it; the next command tries it again.
    """
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # a failed configuration reports no scores
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints a box on stdout even with verbose=0
    asking = _Asking(quests, trials)
    _Stopping.command = crew.stopping
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_Proxy, broker=broker), _NOWHERE),
        tune_config=tune.TuneConfig(
            search_alg=asking,
            scheduler=_Judging(asking, broker),
            num_samples=-1,
            max_concurrent_trials=crew.count + 1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(crew.scratch / "tune"),
            stop=_Stopping(),
            failure_config=tune.FailureConfig(max_failures=2),  # a restarted proxy asks the broker again
            verbose=0,
        ),
    )
    tuner.fit()
    if asking.trouble:
        raise TrialError(f"{asking.trouble} Run the same command again to resume.")


class _Stopping(Stopper):  # type: ignore[misc]
    """A stopper that ends Tune when the command ends.

    The event is a class attribute: Tune copies its stopper, and an event, which holds a lock, cannot be copied.
    """

    command: ClassVar[threading.Event]

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.command.is_set()


class _Asking(Searcher):  # type: ignore[misc]
    """Suggest configurations for several studies, always for the one with the fewest configurations.

    A study is told only what a proxy reports. Any other end (a dead broker, a failed parent) says nothing about the
    configuration. Such a configuration stays unfinished, so that a later command tries it again, and no further
    configuration is suggested.
    """

    def __init__(self, quests: Sequence[Quest], trials: int) -> None:
        super().__init__()
        self._quests = quests
        self._trials = trials
        self.asked: dict[str, tuple[Quest, Suggestion, tuple[Job, ...]]] = {}
        self.trouble = ""

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        for quest in sorted(self._quests, key=lambda quest: len(quest.study.tried())):
            asked = None if self.trouble else quest.study.ask(self._trials)
            if asked is not None:
                jobs = quest.jobs(asked.hyper)
                self.asked[trial_id] = (quest, asked, jobs)
                return {"jobs": json.dumps([job.to_json() for job in jobs])}
        return str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        quest, asked, _ = self.asked.pop(trial_id)
        number = asked.number
        if error or not result or not {"source", "failed", "trouble", "stopped"} & set(result):
            self.trouble = f"A configuration of {quest.label} was lost."
        elif "trouble" in result:
            self.trouble = str(result["trouble"])
        elif "failed" in result:
            quest.study.fail(number)
        elif "stopped" in result or "rung" in result:  # a partial score does not count as a score
            quest.study.prune(number)
        else:
            quest.study.tell(number, result["source"], result["target"])


class _Judging(FIFOScheduler):  # type: ignore[misc]
    """A scheduler that stops a configuration if a finished one beats it at the same step."""

    def __init__(self, asking: _Asking, broker: Any) -> None:
        super().__init__()
        self._asking = asking
        self._broker = broker

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        if "rung" not in result:
            return str(FIFOScheduler.CONTINUE)
        quest, asked, jobs = self._asking.asked[trial.trial_id]
        if not quest.stops(asked.hyper, result["rung"], result["source"], result["target"]):
            return str(FIFOScheduler.CONTINUE)
        self._broker.stop.remote(jobs, result["rung"])
        return str(FIFOScheduler.STOP)


class _Proxy(tune.Trainable):  # type: ignore[misc]
    """A configuration in Ray Tune: it passes its jobs to the broker and waits for the results.

    The jobs of later seeds wait until the jobs that may be stopped are done, because lanes held at a rung must not wait
    for each other.
    """

    _seen = 0
    _parts: Sequence[Sequence[Job]] = ()

    def setup(self, config: Mapping[str, Any], broker: Any) -> None:
        self._broker = broker
        self.reset_config(config)

    def step(self) -> dict[str, Any]:
        import ray

        records: dict[str, Record] = {}
        for jobs in self._parts:
            found = ray.get(self._broker.follow.remote(jobs, self._seen))
            if isinstance(found, Rung):
                self._seen = found.step
                return {"rung": found.step, "source": found.source, "target": found.target}
            records |= found
            if any(record.status == "stopped" for record in found.values()):
                return {"stopped": True, "done": True}
        jobs = [job for part in self._parts for job in part]
        for job in jobs:
            shared = any(other.trial.parent == job.trial and other.trial.is_edit for other in jobs)
            if not job.asked and shared and records[job.trial.id].status == "failed":
                return {"trouble": f"{job.trial.label}, which other trials edit, failed.", "done": True}
        measured = measure(jobs, records)
        if measured is None:  # reported as a result, because an exception would end a warm proxy
            return {"failed": True, "done": True}
        return {"source": measured[0], "target": measured[1], "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: a search resumes from the study and the run folder alone."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Load nothing."""

    def reset_config(self, config: Mapping[str, Any]) -> bool:
        jobs = [Job.from_json(data) for data in json.loads(config["jobs"])]
        watched, others = [job for job in jobs if job.rungs], [job for job in jobs if not job.rungs]
        self._parts = [part for part in (watched, others) if part]
        self._seen = 0
        return True
