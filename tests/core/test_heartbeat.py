"""Blanks before an answer that takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import Response

from core import errors, heartbeat
from core.disconnect import ClientLeft
from core.heartbeat import with_heartbeat

TYPE = "application/json"


class Client:
    """The two ends of an ASGI exchange."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.messages: list[Any] = []
        self.first_body = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        if message.get("body"):
            self.first_body.set()

    async def ask(self, work: Any, seconds: float) -> Response:
        return await with_heartbeat(
            work, receive=self.receive, seconds=seconds, blank=b" ", media_type=TYPE, headers=lambda: {"x-model": "m"}
        )

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def slow(release: asyncio.Event, ended: list[str]) -> Any:
    async def work() -> Response:
        try:
            await release.wait()
        finally:
            ended.append("ended")
        return Response(b'{"text":"hello"}', media_type=TYPE)

    return work()


@pytest.mark.parametrize("seconds", [0, 60])
async def test_an_answer_that_is_there_in_time_is_sent_as_it_is(seconds: float) -> None:
    release, client = asyncio.Event(), Client()
    release.set()
    answer = await client.ask(slow(release, []), seconds)
    assert answer.body == b'{"text":"hello"}'
    assert "content-length" in answer.headers


async def test_a_late_answer_has_blanks_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    release, client = asyncio.Event(), Client()
    answer = await client.ask(slow(release, []), 0.01)
    sending = asyncio.create_task(answer({"type": "http"}, client.receive, client.send))
    await until(lambda: client.body.startswith(b"  "))
    release.set()
    await sending
    assert answer.status_code == 200
    assert (answer.headers["content-type"], answer.headers["x-model"]) == (TYPE, "m")
    assert "content-length" not in answer.headers
    assert client.body.strip() == b'{"text":"hello"}'


async def test_an_early_failure_is_an_ordinary_error() -> None:
    async def work() -> Response:
        raise errors.InvalidAudio("no sound")

    with pytest.raises(errors.InvalidAudio):
        await Client().ask(work(), 60)


async def test_a_late_failure_breaks_the_answer_off() -> None:
    go, client = asyncio.Event(), Client()

    async def work() -> Response:
        await go.wait()
        raise errors.EngineCrashed("gone")

    answer = await client.ask(work(), 0.01)
    sending = asyncio.create_task(answer({"type": "http"}, client.receive, client.send))
    await client.first_body.wait()
    go.set()
    with pytest.raises(errors.EngineCrashed):
        await sending
    assert client.messages[-1]["more_body"]


@pytest.mark.parametrize("late", [False, True])
async def test_a_client_that_leaves_ends_the_work(*, late: bool) -> None:
    client, ended = Client(), list[str]()
    asking = asyncio.create_task(client.ask(slow(asyncio.Event(), ended), 0.01 if late else 60))
    if late:
        answer = await asking
        asking = asyncio.create_task(answer({"type": "http"}, client.receive, client.send))  # type: ignore[arg-type]
        await client.first_body.wait()
    else:
        await asyncio.sleep(0)
    client.left.set()
    with pytest.raises(ClientLeft):
        await asking
    assert ended == ["ended"]


async def test_a_client_that_leaves_before_the_first_blank_ends_the_work() -> None:
    client, ended = Client(), list[str]()
    answer = await client.ask(slow(asyncio.Event(), ended), 0.01)

    async def stuck(_: Any) -> None:
        client.left.set()
        await asyncio.Event().wait()

    with pytest.raises(ClientLeft):
        await answer({"type": "http"}, client.receive, stuck)  # type: ignore[arg-type]
    assert ended == ["ended"]


async def test_the_headers_are_those_of_the_moment_the_answer_begins() -> None:
    release, client = asyncio.Event(), Client()
    named = iter(["asked once"])
    work = slow(release, [])
    answer = await with_heartbeat(
        work,
        receive=client.receive,
        seconds=0.01,
        blank=b" ",
        media_type=TYPE,
        headers=lambda: {"x-model": next(named)},
    )
    assert answer.headers["x-model"] == "asked once"
    assert next(named, None) is None
    release.set()
    await answer({"type": "http"}, client.receive, client.send)
