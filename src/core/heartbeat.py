"""Keeping a client awake that waits for a long answer: blanks before the body, for clients with a read timeout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any

from starlette.responses import Response

from core.answers import Stream
from core.disconnect import Receive, until_disconnect

BEAT_SECONDS = 15.0


async def with_heartbeat(
    work: Coroutine[Any, Any, Response],
    *,
    receive: Receive,
    seconds: float,
    blank: bytes,
    media_type: str,
    headers: Callable[[], Mapping[str, str]],
) -> Response:
    """Return the answer that `work` makes, or when that takes longer than `seconds` one that begins before it is there.

    Such an answer is a 200 with `media_type` and what `headers` returns when it begins, a `blank` every BEAT_SECONDS
    and then the body; what fails later breaks it off. So all that can be refused must have been refused before. With 0
    `seconds` it never begins early. The work is cancelled when the client leaves, as in `until_disconnect`.
    """
    if seconds <= 0:
        return await until_disconnect(receive, work)
    task = asyncio.create_task(work)
    try:
        await until_disconnect(receive, _wait(task, seconds))
    except BaseException:
        await _end(task)
        raise
    if task.done():
        return task.result()
    held = AsyncExitStack()
    held.push_async_callback(_end, task)
    own = {"Cache-Control": "no-cache", **headers()}
    return Stream(_beats(task, blank), media_type=media_type, headers=own, held=held)


async def _beats(task: asyncio.Task[Response], blank: bytes) -> AsyncGenerator[bytes, None]:
    while not task.done():
        yield blank
        await _wait(task, BEAT_SECONDS)
    yield bytes(task.result().body)


async def _wait(task: asyncio.Task[Response], seconds: float) -> None:
    await asyncio.wait({task}, timeout=seconds)


async def _end(task: asyncio.Task[Response]) -> None:
    """Cancel what is not done, and stay until its cleanup is through."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
