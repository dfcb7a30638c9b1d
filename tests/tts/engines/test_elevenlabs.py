"""The engine for elevenlabs.io, against a stub that speaks its API: there is no key to test it with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from core.engines import EngineContext
from core.errors import InvalidRequest, ModelBroken, UnsupportedParameter
from tests.remote_stubs import ELEVEN_VOICES, KEY, Stub, elevenlabs, serving
from tts.engines import elevenlabs as module
from tts.engines.elevenlabs import ElevenLabsEngine
from tts.voice import SpeechOptions, Voice
from tts.worker import TtsWorker

RACHEL, DREW = (str(each["voice_id"]) for each in ELEVEN_VOICES)

MADE: list[ElevenLabsEngine] = []


@pytest.fixture
def server() -> Iterator[Stub]:
    with serving(elevenlabs) as stub:
        yield stub


def engine(url: str, **options: Any) -> ElevenLabsEngine:
    context = EngineContext(model_id="eleven", options={"url": url, "api_key": KEY, **options})
    made = ElevenLabsEngine(context)
    MADE.append(made)
    made.load()
    return made


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what the tests made: connections that are left to the garbage collector are warnings."""
    yield
    while MADE:
        MADE.pop().close()


def speak(made: ElevenLabsEngine, text: str = "Hello there.", **options: Any) -> np.ndarray:
    return np.concatenate(
        [chunk.samples for chunk in made.synthesize(text, made.voices()[0], SpeechOptions(**options))]
    )


def test_voices_and_sound(server: Stub) -> None:
    made = engine(server.url)
    assert [(voice.id, voice.name, voice.gender) for voice in made.voices()] == [
        (RACHEL, "Rachel", "female"),
        (DREW, "Drew", "male"),
    ]
    sound = speak(made)
    assert len(sound) == round(0.06 * 12 * 24_000)
    assert 0.2 < np.abs(sound).max() < 0.3
    assert len(speak(made, speed=1.2)) < len(sound) < len(speak(made, speed=0.7))


def test_what_is_sent(server: Stub) -> None:
    speak(engine(server.url, sample_rate="44100"), seed=7, language="en-US")
    asked = server.asked[-1]
    assert asked.path == f"/v1/text-to-speech/{RACHEL}/stream"
    assert asked.query == {"output_format": ["pcm_44100"]}
    assert asked.json == {"text": "Hello there.", "model_id": "eleven_multilingual_v2", "seed": 7}
    assert asked.headers["xi-api-key"] == KEY
    assert "authorization" not in asked.headers
    speak(engine(server.url, model="eleven_flash_v2_5", stability=0.3, voices="Drew"), speed=1.1, language="pt-BR")
    asked = server.asked[-1]
    assert asked.path == f"/v1/text-to-speech/{DREW}/stream"
    assert asked.json["language_code"] == "pt"
    assert asked.json["voice_settings"] == {"stability": 0.3, "speed": 1.1}


def test_what_it_has_not_is_refused(server: Stub) -> None:
    made = engine(server.url)
    for options in ({"temperature": 0.5}, {"instructions": "whisper"}, {"seed": 2**32}):
        with pytest.raises(UnsupportedParameter) as caught:
            speak(made, **options)
        assert caught.value.param == next(iter(options))


def test_a_language_that_it_cannot_be_told_is_refused(server: Stub) -> None:
    def said(model: str, **options: Any) -> list[Any]:
        given = {"url": server.url, "api_key": KEY, "model": model}
        worker = TtsWorker({"engine": "elevenlabs", "engine_options": given, "auto_lang": True})
        worker.load()
        try:
            voice = asdict(Voice(id=RACHEL, name="Rachel"))
            return list(worker.call("synthesize", {"text": "Guten Tag.", "voice": voice, "options": options}))
        finally:
            worker.close()

    with pytest.raises(UnsupportedParameter) as caught:
        said("eleven_multilingual_v2", language="de")
    assert caught.value.param == "language"
    assert said("eleven_multilingual_v2"), "one that was only detected is no wish of the client"
    assert said("eleven_flash_v2_5", language="de")
    assert server.asked[-1].json["language_code"] == "de"


def test_a_wrong_key_is_told_of_without_it(server: Stub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ModelBroken) as caught:
        engine(server.url, api_key="xi-wrong-key")
    assert "401" in caught.value.message
    assert "xi-wrong-key" not in caught.value.message + caplog.text


def test_no_key_is_as_final_as_a_wrong_one(server: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELEVENLABS_API_KEY", KEY)
    with pytest.raises(ModelBroken, match="ELEVENLABS_API_KEY"):
        # The variable is for the vendor's own host.
        engine(server.url, api_key=None)
    engine(server.url, api_key=None, api_key_env="ELEVENLABS_API_KEY")


def test_the_words_of_a_refusal_are_passed_on(server: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TAKES_LANGUAGE", "")
    with pytest.raises(InvalidRequest, match="does not support language_code"):
        speak(engine(server.url), language="en")


@pytest.mark.parametrize("options", [{"sample_rate": 12_345}, {"stability": 2}, {"voice": "Rachel"}])
def test_options_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ElevenLabsEngine(EngineContext(options={"api_key": KEY, **options}))
