"""The queue in front of the slots."""

from __future__ import annotations

import asyncio

import pytest

from core import errors
from core.lanes import Lane


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_wait_get_their_turn_in_order() -> None:
    lane, order = Lane(1), list[int]()

    async def work(number: int) -> None:
        await lane.acquire()
        order.append(number)
        lane.release()

    await lane.acquire()
    tasks = [asyncio.create_task(work(number)) for number in range(5)]
    await settle()
    assert lane.full
    assert order == []
    lane.release()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert not lane.full


async def test_a_slot_given_to_one_who_left_at_that_moment_goes_to_the_next() -> None:
    lane = Lane(1)
    await lane.acquire()
    first, second = (asyncio.create_task(lane.acquire()) for _ in range(2))
    await settle()
    lane.release()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await second
    lane.release()
    assert not lane.full


async def test_one_who_leaves_the_queue_takes_no_slot_along() -> None:
    lane = Lane(1)
    await lane.acquire()
    waiting = asyncio.create_task(lane.acquire())
    await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    lane.release()
    assert not lane.full


async def test_all_who_wait_can_be_turned_away() -> None:
    lane = Lane(1)
    await lane.acquire()
    tasks = [asyncio.create_task(lane.acquire()) for _ in range(3)]
    await settle()
    lane.refuse(errors.Draining("going"))
    for task in tasks:
        with pytest.raises(errors.Draining):
            await task
    lane.release()
    await lane.acquire()
