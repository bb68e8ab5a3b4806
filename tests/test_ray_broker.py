"""The broker's actor, without Ray: what its calls do when they overlap."""

import asyncio

from bench.ray_broker import _BrokerActor
from bench.spec import Recipe, Record, Trial, Work

LORA = Trial(
    method="lora",
    hyper={},
    rank=4,
    target="t",
    seed=0,
    recipe=Recipe(updates=2, batch_size=2, lr=1e-3, connector_lr=1e-4),
    model="m",
    data="d",
    code="c",
)


def test_a_call_of_a_worker_that_died_waiting_takes_no_work_from_its_successor() -> None:
    async def story() -> tuple[Work | None, Work | None]:
        actor = _BrokerActor((), {}, is_open=True)
        dead = asyncio.create_task(actor.next(0))
        await asyncio.sleep(0)
        alive = asyncio.create_task(actor.next(0))
        await asyncio.sleep(0)
        asking = asyncio.create_task(actor.records_of([Work(LORA, ())]))
        found = await asyncio.wait_for(dead, 5), await asyncio.wait_for(alive, 5)
        await actor.finish(0, Record(LORA, "done"))
        assert await asyncio.wait_for(asking, 5) == {LORA.id: Record(LORA, "done")}
        return found

    assert asyncio.run(story()) == (None, Work(LORA, ()))


def test_who_asks_for_records_of_a_closed_broker_is_told_nothing() -> None:
    async def story() -> bool:
        actor = _BrokerActor((), {}, is_open=True)
        asking = asyncio.create_task(actor.records_of([Work(LORA, ())]))
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
