"""Noticing that nothing came for a while, so that a stream can be kept alive meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")
PING_SECONDS = 15.0
"""nginx gives up after 60 s without a byte, some load balancers after 30."""


async def with_pings(items: AsyncIterator[T]) -> AsyncGenerator[T | None, None]:
    """Yield the items, and None whenever none came for PING_SECONDS."""
    pending: asyncio.Task[T] | None = None
    try:
        while True:
            pending = pending or asyncio.create_task(_next(items))
            done, _ = await asyncio.wait({pending}, timeout=PING_SECONDS)
            if not done:
                yield None
                continue
            finished, pending = pending, None
            try:
                item = finished.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)
