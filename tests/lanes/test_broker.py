from dataclasses import replace

import pytest

from bench.lanes.broker import Broker
from bench.values.job import Job
from bench.values.record import Record
from bench.values.scores import Score, ScoreSpec
from bench.values.trial import Trial
from tests.making import trials

LORA = replace(trials.TRIAL, hyper={"lr": None})
DARE = replace(LORA, method="dare", hyper={}, parent=LORA)
OTHER = replace(LORA, rank=8)


def broker_of(*trials: Trial, stored: tuple[Trial, ...] = ()) -> Broker:
    records = {trial.id: Record(trial, "done") for trial in stored}
    return Broker([Job(trial, ()) for trial in trials], records)


def taken(broker: Broker, lane: int) -> Trial:
    job = broker.take(lane)
    assert job is not None
    return job.trial


def failures(broker: Broker) -> list[Record]:
    return [event.record for event in broker.events if event.kind == "failed" and event.record]


def test_a_child_waits_for_its_parent() -> None:
    broker = broker_of(LORA, DARE)

    assert taken(broker, 0) == LORA
    assert broker.take(1) is None
    assert not broker.over
    broker.finish(0, Record(LORA, "done"))
    assert taken(broker, 1) == DARE


def test_a_child_of_a_stored_parent_is_ready_at_once() -> None:
    broker = broker_of(DARE, stored=(LORA,))

    assert taken(broker, 0) == DARE


def test_a_child_is_ready_if_its_parent_failed_but_has_all_that_was_asked_of_it() -> None:
    broker = Broker([Job(DARE, ())], {LORA.id: Record(LORA, "failed", error="while it was scored again")})

    assert taken(broker, 0) == DARE


def test_a_child_of_a_parent_that_nobody_knows_fails_and_ends_the_command() -> None:
    broker = broker_of(DARE)

    assert broker.take(0) is None
    assert broker.over
    (failed,) = failures(broker)
    assert failed.trial == DARE
    assert f"Its parent {LORA.label} is not in the run folder" in str(failed.error)


def test_a_parent_that_must_run_again_is_waited_for_though_the_store_has_it() -> None:
    broker = broker_of(LORA, DARE, stored=(LORA,))

    assert taken(broker, 0) == LORA
    assert broker.take(1) is None


def test_a_failed_parent_fails_its_child_by_name_and_nothing_else() -> None:
    broker = broker_of(LORA, DARE, OTHER)
    taken(broker, 0)

    broker.finish(0, Record(LORA, "failed", error="no luck"))

    assert taken(broker, 0) == OTHER
    broker.finish(0, Record(OTHER, "done"))
    assert broker.over
    failed = {record.trial.method: record.error for record in failures(broker)}
    assert failed["dare"] == f"Its parent {LORA.label} failed: no luck"


def test_a_restarted_lane_gets_its_trial_back_once() -> None:
    broker = broker_of(LORA, OTHER)
    taken(broker, 0)

    assert taken(broker, 0) == LORA


def test_the_second_death_of_a_trial_is_a_failed_record_and_the_lane_goes_on() -> None:
    broker = broker_of(LORA, OTHER)
    taken(broker, 0)
    taken(broker, 0)

    assert taken(broker, 0) == OTHER
    failed = failures(broker)
    assert [record.trial for record in failed] == [LORA]
    assert "died 2 times" in str(failed[0].error)


def test_a_broken_lane_gives_its_trial_to_another() -> None:
    broker = broker_of(LORA)
    taken(broker, 0)

    broker.lost(0)

    assert taken(broker, 1) == LORA


def test_a_closed_broker_hands_out_nothing() -> None:
    broker = broker_of(LORA)

    broker.closed = True

    assert broker.over
    assert broker.take(0) is None


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_every_work_is_handed_out_exactly_once(lanes: int) -> None:
    broker = broker_of(LORA, DARE, OTHER, replace(DARE, parent=OTHER, rank=8))
    done: list[str] = []

    while not broker.over:
        held = [(lane, job.trial) for lane in range(lanes) if (job := broker.take(lane)) is not None]
        for lane, trial in held:
            done.append(trial.id)
            broker.finish(lane, Record(trial, "done"))

    assert len(done) == len(set(done)) == 4


def test_an_open_broker_waits_for_more_works() -> None:
    broker = Broker([], {}, is_open=True)
    assert not broker.over

    broker.add([Job(LORA, ()), Job(DARE, ())])
    assert taken(broker, 0) == LORA
    broker.finish(0, Record(LORA, "done"))
    assert taken(broker, 0) == DARE
    broker.finish(0, Record(DARE, "done"))

    assert not broker.over
    broker.is_open = False
    assert broker.over


def test_a_known_work_is_done_again_only_for_scores_it_lacks() -> None:
    score = ScoreSpec("t", "validation", 1, "", 4, "")
    broker = Broker([Job(LORA, ())], {}, is_open=True)
    taken(broker, 0)
    broker.finish(0, Record(LORA, "done"))

    broker.add([Job(LORA, ())])
    assert broker.take(0) is None
    broker.add([Job(LORA, (score,))])

    again = broker.take(0)
    assert again == Job(LORA, (score,))
    assert broker.record(LORA.id) is None


def test_scores_that_are_asked_for_while_a_trial_runs_are_done_after_it() -> None:
    score = ScoreSpec("t", "validation", 1, "", 4, "")
    broker = Broker([Job(LORA, ())], {}, is_open=True)
    taken(broker, 0)
    broker.add([Job(LORA, (score,))])

    broker.finish(0, Record(LORA, "done"))

    assert broker.take(0) == Job(LORA, (score,))


def test_events_are_kept_until_the_next_call_says_that_they_arrived() -> None:
    broker = broker_of(LORA)
    taken(broker, 0)
    for step in range(3):
        broker.progress(0, "train", step, 3, 0.5)

    first = broker.events_after(0)
    broker.finish(0, Record(LORA, "done"))
    again = broker.events_after(0)  # the first answer was lost on its way
    after = broker.events_after(len(again))

    assert [event.kind for event in first] == ["started", "progress", "progress", "progress"]
    assert [event.kind for event in again] == [*(event.kind for event in first), "done"]
    assert after == []
    assert not broker.events
    broker.add([Job(OTHER, ())])
    taken(broker, 0)
    assert [event.trial for event in broker.events_after(len(again))] == [OTHER.id]


RUNG = ScoreSpec("t", "validation", 2, "e", 8, "c")
WATCHED = Job(LORA, (RUNG,), (1,), (RUNG,))
CHILD = Job(DARE, (RUNG,))


def test_a_stopped_training_is_done_whole_for_a_child_that_came_while_it_was_held() -> None:
    broker = Broker([WATCHED], {}, is_open=True)
    taken(broker, 0)
    broker.add([Job(LORA, ()), CHILD])

    broker.finish(0, Record(LORA, "stopped"))

    again = broker.take(0)
    assert again is not None
    assert (again.trial, again.rungs) == (LORA, ())
    broker.finish(0, Record(LORA, "done", {RUNG.key: Score(RUNG, "m", {"m": 1.0}, "f")}))
    assert taken(broker, 0) == DARE


def test_a_stopped_training_is_done_whole_for_a_child_that_comes_later() -> None:
    broker = Broker([WATCHED], {}, is_open=True)
    taken(broker, 0)
    broker.finish(0, Record(LORA, "stopped"))

    broker.add([Job(LORA, ()), CHILD])

    again = broker.take(0)
    assert again is not None
    assert (again.trial, again.rungs) == (LORA, ())


def test_a_stopped_training_stays_stopped_for_who_may_stop_it() -> None:
    broker = Broker([WATCHED], {}, is_open=True)
    taken(broker, 0)
    broker.finish(0, Record(LORA, "stopped"))

    broker.add([WATCHED])

    assert broker.take(0) is None
    assert broker.record(LORA.id) == Record(LORA, "stopped")
