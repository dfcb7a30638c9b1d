"""The engine that asks an OpenAI-compatible server to speak: another instance of our service, and stubs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import httpx
import numpy as np
import pytest

from core.engines import EngineContext
from core.errors import ModelBroken, Unavailable, UnsupportedParameter, VoiceNotFound
from tests.remote_stubs import Answered, Asked, in_json, serving
from tts.engines.openai import VENDOR_VOICES, OpenAiTtsEngine
from tts.voice import SpeechOptions, Voice
from tts.worker import TtsWorker
from utils.audio.pcm import Audio

TEXT = "The other service says this."
MADE: list[OpenAiTtsEngine] = []


def engine(url: str, **options: Any) -> OpenAiTtsEngine:
    made = OpenAiTtsEngine(EngineContext(model_id="remote", options={"url": url, **options}))
    MADE.append(made)
    made.load()
    return made


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what the tests made: connections that are left to the garbage collector are warnings."""
    yield
    while MADE:
        MADE.pop().close()


def speak(made: OpenAiTtsEngine, text: str = TEXT, **options: Any) -> np.ndarray:
    chunks = list(made.synthesize(text, made.voices()[0], SpeechOptions(**options)))
    return np.concatenate([chunk.samples for chunk in chunks] or [np.zeros(0, np.float32)])


def test_the_other_service_speaks(fake_tts: Any) -> None:
    made = engine(fake_tts.url, extended="true")
    assert [voice.id for voice in made.voices()] == ["fake_anna", "fake_ben", "fake_carla", "fake_diego"]
    assert (made.languages, made.sample_rate) == (("en", "es"), 24_000)
    whole = httpx.post(
        f"{fake_tts.url}/v1/audio/speech",
        json={"input": TEXT, "voice": "fake_anna", "response_format": "pcm", "language": "en", "seed": 3},
        timeout=60,
    )
    expected = np.frombuffer(whole.content, "<i2").astype(np.float32) / 32768
    assert np.array_equal(speak(made, language="en", seed=3), expected)
    assert not np.array_equal(speak(made, language="en", seed=4), expected)
    made.close()
    made.close()


def test_one_service_asks_another(start_service: Any, fake_tts: Any) -> None:
    near = start_service(
        "tts", {"TTS_ENGINE": "openai", "TTS_MODEL": "openai", "TTS_ENGINE_OPTIONS__URL": f"{fake_tts.url}/v1"}
    )
    voices = httpx.get(f"{near.url}/v1/audio/voices", timeout=60).json()["voices"]
    assert "fake_ben" in [voice["id"] for voice in voices]
    answer = httpx.post(
        f"{near.url}/v1/audio/speech",
        json={"input": TEXT, "voice": "fake_ben", "response_format": "wav"},
        timeout=60,
    )
    assert answer.status_code == 200
    assert len(answer.content) > 24_000
    missing = httpx.post(f"{near.url}/v1/audio/speech", json={"input": TEXT, "voice": "nobody"}, timeout=60)
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "voice_not_found")


def speaking(voices: Any, sound: Callable[[], Answered]) -> Callable[[Asked], Answered]:
    def answer(asked: Asked) -> Answered:
        if asked.method == "POST":
            return sound()
        return Answered(404) if voices is None and asked.path.endswith("voices") else in_json(voices)

    return answer


def pcm() -> Answered:
    return Answered(body=b"\x00\x10" * 12_000)


@pytest.mark.parametrize(
    ("listed", "ids"),
    [
        ({"voices": ["af_heart", "am_adam"]}, ["af_heart", "am_adam"]),
        ({"object": "list", "data": [{"voice_id": "x", "name": "Ex"}, {"no": "id"}]}, ["x"]),
        (["a"], ["a"]),
        (None, list(VENDOR_VOICES)),
    ],
)
def test_lists_of_voices(listed: Any, ids: list[str]) -> None:
    with serving(speaking(listed, pcm)) as stub:
        assert [voice.id for voice in engine(stub.url).voices()] == ids


def test_voices_that_are_named_come_first_and_unseen() -> None:
    with serving(speaking({"voices": ["a", "b"]}, pcm)) as stub:
        assert [voice.id for voice in engine(stub.url, voices="b, mine").voices()] == ["b", "mine"]
    with serving(speaking({}, pcm)) as stub:
        assert [voice.id for voice in engine(stub.url, voices="mine").voices()] == ["mine"]
        with pytest.raises(ModelBroken):
            engine(stub.url)


def test_what_is_sent() -> None:
    with serving(speaking(None, pcm)) as stub:
        made = engine(stub.url, model="gpt-4o-mini-tts")
        speak(made, speed=1.5, instructions="Whisper.", language="en")
        for option in ("seed", "temperature"):
            with pytest.raises(UnsupportedParameter) as caught:
                speak(made, **{option: 1})
            assert caught.value.param == option
    assert stub.asked[-1].path == "/v1/audio/speech"
    assert stub.asked[-1].json == {
        "model": "gpt-4o-mini-tts",
        "input": TEXT,
        "voice": "alloy",
        "response_format": "pcm",
        "speed": 1.5,
        "instructions": "Whisper.",
    }


def test_nothing_to_say_and_nobody_to_say_it() -> None:
    with serving(speaking(None, pcm)) as stub:
        made = engine(stub.url)
        assert speak(made, "...").size == 0
        assert not [asked for asked in stub.asked if asked.method == "POST"]
        with pytest.raises(VoiceNotFound):
            list(made.synthesize("Hello.", Voice(id="nobody", name="nobody"), SpeechOptions()))


def test_texts_of_several_calls_are_spoken_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=20)

    def sound() -> Answered:
        both.wait()
        return pcm()

    with serving(speaking(None, sound)) as stub:
        worker = TtsWorker({"engine": "openai", "engine_options": {"url": stub.url}, "auto_lang": False})
        worker.load()
        params = [{"text": f"Hello {name}.", "voice": asdict(Voice(id="alloy", name="alloy"))} for name in "ab"]
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda each: list(worker.call("synthesize", each)), params))
        worker.close()
    assert all(any(event.name == "audio" for event in events) for events in answers)


def test_a_language_that_the_server_cannot_be_told_is_refused() -> None:
    with serving(speaking([{"id": "a", "language": "de-AT"}, {"id": "b", "language": "fr"}], pcm)) as stub:
        worker = TtsWorker({"engine": "openai", "engine_options": {"url": stub.url}, "auto_lang": False})
        worker.load()
        voice = {"id": "a", "name": "a", "language": "de-AT"}
        for wanted in (None, "de", "de-DE"):
            assert list(worker.call("synthesize", {"text": "Ja.", "voice": voice, "options": {"language": wanted}}))
        with pytest.raises(UnsupportedParameter) as caught:
            list(worker.call("synthesize", {"text": "Oui.", "voice": voice, "options": {"language": "fr"}}))
        assert caught.value.param == "language"
        worker.close()


def test_samples_in_odd_pieces_are_put_together() -> None:
    sound = np.arange(-5_000, 5_000, dtype="<i2").tobytes()

    def pieces() -> Answered:
        return Answered(chunks=(sound[at : at + 777] for at in range(0, len(sound), 777)))

    with serving(speaking(None, pieces)) as stub:
        assert np.array_equal(speak(engine(stub.url)), np.arange(-5_000, 5_000, dtype=np.float32) / 32_768)


@pytest.mark.parametrize("body", [b"RIFF" + b"\x00" * 100, b"ID3\x04" + b"\x00" * 100, b"", b"\x00"])
def test_what_is_no_pcm_is_no_noise(body: bytes) -> None:
    with serving(speaking(None, lambda: Answered(body=body))) as stub, pytest.raises(Unavailable) as caught:
        speak(engine(stub.url))
    assert caught.value.is_final


def test_sound_comes_before_the_end_and_closing_closes_the_connection() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"\x00\x10" * 24_000

    with serving(speaking(None, lambda: Answered(chunks=endless()))) as stub:
        made = engine(stub.url)
        chunks = made.synthesize("Hello.", made.voices()[0], SpeechOptions())
        assert isinstance(next(chunks), Audio)
        chunks.close()  # type: ignore[attr-defined]
        assert stub.gone.wait(10)
        assert next(chunks, None) is None
