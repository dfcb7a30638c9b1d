"""Voices made by request speak: through a real service, and through OpenAI's own client."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

pytestmark = pytest.mark.e2e
VOICES = "/v1/audio/voices"


def recording(hertz: float) -> bytes:
    times = np.arange(4 * 16_000) / 16_000
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(np.rint(9000 * np.sin(2 * np.pi * hertz * times)).astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def tts(start_service: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    place = tmp_path_factory.mktemp("made-voices")
    environment = {
        "TTS_MODEL": "fake",
        "TTS_ENGINE": "fake",
        "TTS_VOICE_DIR": str(place / "voices"),
        "VOICE_STACK_STATE": str(place / "state"),
    }
    with httpx.Client(base_url=start_service("tts", environment).url, timeout=30) as client:
        yield client


def make(tts: httpx.Client, name: str, hertz: float = 180) -> httpx.Response:
    return tts.post(VOICES, data={"name": name}, files={"audio_sample": ("a.wav", recording(hertz))})


def speak(tts: httpx.Client, voice: str) -> httpx.Response:
    request = {"input": "Good morning.", "voice": voice, "response_format": "pcm"}
    return tts.post("/v1/audio/speech", json=request)


def test_a_made_voice_speaks_until_it_is_deleted(tts: httpx.Client) -> None:
    one, other = make(tts, "anna", 180).json()["id"], make(tts, "ben", 300).json()["id"]
    spoken = speak(tts, "anna")
    assert spoken.status_code == 200, spoken.text
    assert spoken.content == speak(tts, one).content
    assert spoken.content != speak(tts, other).content
    tts.patch(f"{VOICES}/{one}", json={"name": "ana"})
    assert speak(tts, "ana").content == spoken.content
    tts.delete(f"{VOICES}/ana")
    for voice in (one, "ana"):
        assert speak(tts, voice).json()["error"]["code"] == "voice_not_found"


def test_the_voices_of_a_model_stay_as_they_are(tts: httpx.Client) -> None:
    assert tts.get(f"{VOICES}/fake_anna").json()["type"] == "builtin"
    assert tts.get(f"{VOICES}/fake_anna/audio").status_code == 404
    assert make(tts, "fake_anna").json()["error"]["code"] == "already_exists"
    for answer in (
        tts.patch(f"{VOICES}/fake_anna", json={"name": "other"}),
        tts.delete(f"{VOICES}/fake_anna"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_openais_own_client(tts: httpx.Client) -> None:
    sound = ("anna.wav", recording(180))
    url = str(tts.base_url.join("/v1"))
    with openai.OpenAI(base_url=url, api_key="x", _strict_response_validation=True) as client:
        consents = [
            client.audio.voice_consents.create(name=f"{number}", language="en-US", recording=sound)
            for number in range(3)
        ]
        found = [each.id for each in client.audio.voice_consents.list(limit=1)]
        assert found == [each.id for each in reversed(consents)]
        assert client.audio.voice_consents.update(found[0], name="Anna").name == "Anna"
        assert client.audio.voice_consents.retrieve(found[0]).name == "Anna"
        voice = client.audio.voices.create(name="carla", audio_sample=sound, consent=found[0])
        assert voice.id.startswith("voice_")
        with pytest.raises(openai.ConflictError):
            client.audio.voices.create(name="carla", audio_sample=sound, consent=found[0])
        assert client.audio.voices.delete(voice.id).deleted
        assert client.audio.voice_consents.delete(found[0]).deleted
        with pytest.raises(openai.NotFoundError):
            client.audio.voices.delete(voice.id)
