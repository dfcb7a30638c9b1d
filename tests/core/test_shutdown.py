"""What a service that is told to stop does with the requests it has."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e


async def test_the_running_request_is_answered_and_the_queued_one_sent_elsewhere(start_service: Any) -> None:
    service = start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "ASR_ENGINE_OPTIONS__DELAY": "0.5"})

    async def transcribe(client: httpx.AsyncClient, loudness: int) -> httpx.Response:
        audio = loudness.to_bytes(2, "little") * 16_000 * 6
        return await client.post("/v1/audio/transcriptions", files={"file": ("a", audio, "audio/pcm")})

    async def waiting(client: httpx.AsyncClient) -> tuple[int, int]:
        worker = (await client.get("/health")).json()["workers"][0]
        return worker["calls"], worker["waiting"]

    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        running = asyncio.create_task(transcribe(client, 1000))
        async with asyncio.timeout(10):
            while (await waiting(client))[0] == 0:
                await asyncio.sleep(0.01)
        queued = asyncio.create_task(transcribe(client, 2000))
        async with asyncio.timeout(10):
            while await waiting(client) != (1, 1):
                await asyncio.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        refused = await queued
        assert not running.done()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert int(refused.headers["retry-after"]) <= 60
        answer = await running
        assert answer.status_code == 200
        assert answer.json()["text"]
    assert service.process.wait(20) in {0, -signal.SIGTERM}
