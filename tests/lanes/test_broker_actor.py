"""The broker's actor, without Ray: what its calls do when they overlap."""

import asyncio

from bench.lanes.broker_actor import Rung, _BrokerActor
from bench.values.job import Job
from bench.values.record import Record
from bench.values.scores import ScoreSpec
from tests.making.trials import TRIAL as LORA

RUNG = ScoreSpec("t", "validation", 2, "e", 8, "c")


def test_a_call_of_a_worker_that_died_waiting_takes_no_work_from_its_successor() -> None:
    async def story() -> tuple[Job | None, Job | None]:
        actor = _BrokerActor((), {}, is_open=True)
        dead = asyncio.create_task(actor.next(0))
        await asyncio.sleep(0)
        alive = asyncio.create_task(actor.next(0))
        await asyncio.sleep(0)
        asking = asyncio.create_task(actor.follow([Job(LORA, ())]))
        found = await asyncio.wait_for(dead, 60), await asyncio.wait_for(alive, 60)
        await actor.finish(0, Record(LORA, "done"))
        assert await asyncio.wait_for(asking, 60) == {LORA.id: Record(LORA, "done")}
        return found

    assert asyncio.run(story()) == (None, Job(LORA, ()))


def test_who_asks_for_records_of_a_closed_broker_is_told_nothing() -> None:
    async def story() -> bool:
        actor = _BrokerActor((), {}, is_open=True)
        asking = asyncio.create_task(actor.follow([Job(LORA, ())]))
        await actor.close()
        _, waiting = await asyncio.wait([asking], timeout=0.5)
        asking.cancel()
        return bool(waiting)

    assert asyncio.run(story())


def test_a_broken_lane_counts_as_heard() -> None:
    async def story() -> int:
        actor = _BrokerActor((), {}, is_open=True)
        await actor.broken(0, "no model")
        await actor.lost(1)
        return await actor.lanes_heard()

    assert asyncio.run(story()) == 2


def held(verdict_of: str) -> tuple[object, bool]:
    """Hold a training at step 50; return what its follower saw, and the verdict its lane got."""

    async def story() -> tuple[object, bool]:
        actor = _BrokerActor((), {}, is_open=True)
        job = Job(LORA, (), (50,))
        following = asyncio.create_task(actor.follow([job]))
        await asyncio.sleep(0)
        assert await actor.next(0) == job
        lane = asyncio.create_task(actor.rung(0, 50, 0.5, 0.25))
        seen = await asyncio.wait_for(following, 60)
        assert not lane.done()  # it waits for its verdict
        if verdict_of == "stop":
            await actor.stop([job], 50)
        elif verdict_of == "close":
            await actor.close()
        else:
            asyncio.create_task(actor.follow([job], 50))  # noqa: RUF006
        return seen, await asyncio.wait_for(lane, 60)

    return asyncio.run(story())


def test_a_training_is_held_at_a_rung_until_its_follower_asks_past_it() -> None:
    assert held("go on") == (Rung(50, 0.5, 0.25), True)


def test_a_stopped_training_and_one_of_a_closed_broker_end_at_the_rung() -> None:
    assert held("stop") == (Rung(50, 0.5, 0.25), False)
    assert held("close") == (Rung(50, 0.5, 0.25), False)


def test_a_worker_that_died_after_its_verdict_is_not_held_for_another() -> None:
    async def story() -> bool:
        actor = _BrokerActor((), {}, is_open=True)
        job = Job(LORA, (), (50, 100))
        asyncio.create_task(actor.follow([job], 50))  # noqa: RUF006
        await asyncio.sleep(0)
        await actor.next(0)
        first = asyncio.create_task(actor.rung(0, 50, 0.5, 0.25))
        await asyncio.sleep(0)
        asyncio.create_task(actor.follow([job], 50))  # noqa: RUF006
        assert await asyncio.wait_for(first, 60)
        await actor.next(0)  # restarted
        return await asyncio.wait_for(actor.rung(0, 50, 0.5, 0.25), 60)

    assert asyncio.run(story())


def test_the_record_of_a_stopped_training_reaches_its_follower() -> None:
    async def story() -> object:
        actor = _BrokerActor((), {}, is_open=True)
        following = asyncio.create_task(actor.follow([Job(LORA, (), (1,), (RUNG,))]))
        await asyncio.sleep(0)
        await actor.next(0)
        await actor.finish(0, Record(LORA, "stopped"))
        return await asyncio.wait_for(following, 60)

    assert asyncio.run(story()) == {LORA.id: Record(LORA, "stopped")}


def test_what_runs_on_a_node_that_is_gone_is_handed_to_another_lane_wherever_its_workers_were() -> None:
    async def story() -> tuple[list[str], list[str], Job | None]:
        actor = _BrokerActor([Job(LORA, ())], {}, is_open=False)
        await actor.stands(0, 0, "first")
        await actor.stands(0, 1, "second")  # the other worker of the same lane
        await actor.stands(1, 0, "third")
        await actor.next(0)
        lost = await actor.node_lost("second")
        idle = await actor.node_lost("third")
        return lost, idle, await asyncio.wait_for(actor.next(1), 60)

    assert asyncio.run(story()) == ([LORA.label], [], Job(LORA, ()))


def test_a_lane_that_has_moved_does_not_lose_its_trial_with_its_old_node() -> None:
    async def story() -> list[str]:
        actor = _BrokerActor([Job(LORA, ())], {}, is_open=False)
        await actor.stands(0, 0, "old")
        await actor.stands(0, 0, "new")
        await actor.next(0)
        return await actor.node_lost("old")

    assert asyncio.run(story()) == []


def test_a_halted_broker_hands_out_nothing_and_tells_the_first_reason() -> None:
    async def story() -> tuple[Job | None, bool, str]:
        actor = _BrokerActor([Job(LORA, ())], {}, is_open=True)
        await actor.halt("The disk is full.")
        await actor.halt("It still is.")
        return await asyncio.wait_for(actor.next(0), 60), await actor.is_over(), await actor.halted()

    assert asyncio.run(story()) == (None, True, "The disk is full.")
