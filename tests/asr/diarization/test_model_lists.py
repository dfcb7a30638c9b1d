"""The diarization models in the lists of the ASR service, and what it says it can do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from asr.app import create_app
from asr.settings import AsrSettings
from core.settings import Places

pytestmark = pytest.mark.anyio
FAKE_DIARIZER = {"diarization_engine": "fake-diarizer", "diarization_model": "fake-diarizer"}


@asynccontextmanager
async def client_of(tmp_path: Path, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    places = Places.model_construct(
        cache=tmp_path / "cache", state=tmp_path / "state", tmp=tmp_path / "tmp", models=None
    )
    app = create_app(AsrSettings(engine="fake", model="fake", preload=False, places=places, **more))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client
    await app.state.service.close()


async def ids(client: httpx.AsyncClient, path: str = "/v1/models", key: str = "data", **params: str) -> list[str]:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return [model["id"] for model in answer.json()[key]]


async def test_both_tasks_are_listed_with_transcription_first(tmp_path: Path) -> None:
    async with client_of(tmp_path, **FAKE_DIARIZER) as client:
        every = await ids(client)
        assert every[0] == "fake"
        assert "fake-diarizer" in every
        assert await ids(client, task="automatic-speech-recognition") == ["fake"]
        assert (await ids(client, task="speaker-diarization"))[0] == "fake-diarizer"
        assert await ids(client, "/v1/audio/models", "models") == ["fake"], "what Open WebUI transcribes with"


async def test_a_diarization_model_is_shown_by_its_name(tmp_path: Path) -> None:
    async with client_of(tmp_path, **FAKE_DIARIZER) as client:
        shown = (await client.get("/v1/models/fake-diarizer")).json()
        assert (shown["id"], shown["task"], shown["loaded"]) == ("fake-diarizer", "speaker-diarization", False)
        assert (await client.get("/v1/models/fake")).json()["task"] == "automatic-speech-recognition"
        missing = await client.get("/v1/models/diarization-community1")
        assert missing.status_code == 404
        assert "models pull diarization-community1" in missing.json()["error"]["message"]
        assert (await client.get("/v1/models/nonsense")).status_code == 404


async def test_with_fallback_a_name_is_still_that_of_its_own_model(tmp_path: Path) -> None:
    async with client_of(tmp_path, model_fallback=True, **FAKE_DIARIZER) as client:
        assert (await client.get("/v1/models/fake-diarizer")).json()["id"] == "fake-diarizer"
        assert (await client.get("/v1/models/nonsense")).json()["id"] == "fake"


async def test_capabilities_tell_what_the_default_can_do(tmp_path: Path) -> None:
    async with client_of(tmp_path, voiceprints="on", **FAKE_DIARIZER) as client:
        can = (await client.get("/v1/capabilities")).json()
    told = {name: can["features"][name] for name in ("diarization", "speaker_embeddings", "voiceprints")}
    assert told == {"diarization": True, "speaker_embeddings": True, "voiceprints": True}
    assert can["diarization"]["default_model"] == "fake-diarizer"
    (model,) = [each for each in can["diarization"]["models"] if each["id"] == "fake-diarizer"]
    assert "streaming" not in model
    assert (model["engine"], model["overlap"], model["speaker_embeddings"]) == ("fake-diarizer", True, True)
    licences = {each["id"]: each["licence"] for each in can["diarization"]["models"]}
    assert licences == {"fake-diarizer": "unknown", "channels": "MIT"}
    assert "diarized_json" in can["response_formats"]


async def test_capabilities_promise_nothing_that_is_not_installed(tmp_path: Path) -> None:
    async with client_of(tmp_path, voiceprints="on") as client:
        can = (await client.get("/v1/capabilities")).json()
    told = {name: can["features"][name] for name in ("diarization", "speaker_embeddings", "voiceprints")}
    assert told == {"diarization": False, "speaker_embeddings": False, "voiceprints": False}
    assert can["diarization"]["default_model"] is None
    assert "diarized_json" not in can["response_formats"]
