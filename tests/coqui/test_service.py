"""Coqui behind the real service, as a folder of weights: formats, streaming, cloning, the latent cache, cancelling.

The weights are tiny and random: what is proven is that sound is made, encoded, streamed and stopped, not how it sounds.
"""

from __future__ import annotations

import io
import json
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from utils.audio.pcm import Audio

SPEECH = "/v1/audio/speech"
TEXT = "One sentence follows another."
ENDLESS = "One sentence follows another. " * 1500
RATE = 24_000


def write_recording(path: Path, seed: int) -> None:
    """A WAV of noise, which stands for somebody speaking; every seed is another speaker."""
    samples = np.random.default_rng(seed).normal(scale=0.1, size=16_000 * 4).clip(-1, 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(Audio(samples.astype(np.float32), 16_000).to_s16())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The voices folder and the cache of the XTTS service."""
    root = tmp_path_factory.mktemp("service")
    (root / "voices").mkdir()
    return root


@pytest.fixture(scope="module")
def xtts_http(start_service: Any, xtts_dir: Path, folders: Path) -> Iterator[httpx.Client]:
    service = start_service(
        "tts",
        {
            "TTS_MODEL": str(xtts_dir),
            "TTS_DEVICE": "cpu",
            "TTS_THREADS": "1",
            "TTS_VOICE_DIR": str(folders / "voices"),
            "VOICE_STACK_CACHE": str(folders / "cache"),
        },
    )
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def vits_http(
    start_service: Any, vits_many_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    cache = tmp_path_factory.mktemp("cache")
    service = start_service(
        "tts",
        {
            "TTS_MODEL": str(vits_many_dir),
            "TTS_DEVICE": "cpu",
            "TTS_THREADS": "1",
            "VOICE_STACK_CACHE": str(cache),
        },
    )
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


def speak(client: httpx.Client, text: str = TEXT, **more: Any) -> httpx.Response:
    answer = client.post(SPEECH, json={"input": text, **more})
    assert answer.status_code == 200, answer.text
    return answer


def samples_of(content: bytes, name: str) -> np.ndarray:
    """Decode an answer with FFmpeg's own demuxers and decoders; bare PCM has none."""
    if name == "pcm":
        return np.frombuffer(content, dtype="<i2") / 32768
    with av.open(io.BytesIO(content)) as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        decoded = np.concatenate(frames)
    return decoded / 32768 if decoded.dtype == np.int16 else decoded


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    waiter = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        waiter.wait(0.05)


def calls(client: httpx.Client) -> int:
    return int(client.get("/health").json()["workers"][0]["calls"])


def latents(folders: Path) -> dict[str, int]:
    """Files of speaker latents and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (folders / "cache").rglob("*.npz")}


@pytest.mark.parametrize("name", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_xtts_in_six_formats(xtts_http: httpx.Client, name: str) -> None:
    decoded = samples_of(speak(xtts_http, voice="ada_lovelace", response_format=name).content, name)
    rate = 48_000 if name == "opus" else RATE
    assert 0.6 < len(decoded) / rate < 1.2
    assert np.sqrt(np.mean(np.square(decoded, dtype=float))) > 0.005


@pytest.mark.parametrize("name", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_vits_in_six_formats(vits_http: httpx.Client, name: str) -> None:
    decoded = samples_of(speak(vits_http, voice="p225", response_format=name).content, name)
    assert len(decoded) > 5000
    assert np.sqrt(np.mean(np.square(decoded, dtype=float))) > 0.001


def test_voices_and_languages_of_vits_are_picked_by_name(vits_http: httpx.Client) -> None:
    listed = vits_http.get("/v1/audio/voices").json()["voices"]
    assert [(voice["id"], voice["type"]) for voice in listed] == [
        ("ed", "builtin"),
        ("p225", "builtin"),
        ("p225_2", "builtin"),
    ]
    ways = [{"voice": "ed"}, {"voice": "p225"}, {"voice": "ed", "language": "pt"}]
    spoken = {speak(vits_http, response_format="pcm", seed=1, **way).content for way in ways}
    assert len(spoken) == 3
    refused = vits_http.post(SPEECH, json={"input": TEXT, "language": "de"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "language")


def test_an_option_that_vits_cannot_honour_is_refused(vits_http: httpx.Client) -> None:
    refused = vits_http.post(SPEECH, json={"input": TEXT, "temperature": 0.5})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_parameter")


def test_xtts_streams_and_a_client_that_leaves_stops_it(xtts_http: httpx.Client) -> None:
    """The first bytes of minutes of speech are there while the model works on, and it stops when nobody listens."""
    with xtts_http.stream("POST", SPEECH, json={"input": ENDLESS, "response_format": "mp3"}) as answer:
        assert answer.status_code == 200
        assert len(next(answer.iter_raw())) > 0
        assert calls(xtts_http) == 1
    eventually(lambda: calls(xtts_http) == 0)
    assert speak(xtts_http, response_format="wav").content


def test_chunks_of_one_sentence_arrive_one_by_one(xtts_http: httpx.Client) -> None:
    """XTTS hands over four chunks of a single piece; each is an event of its own."""
    answer = speak(xtts_http, response_format="pcm", stream_format="sse")
    deltas = [line for line in answer.text.splitlines() if line.startswith("data: {") and "delta" in line]
    assert len([json.loads(line.removeprefix("data: "))["audio"] for line in deltas]) >= 3


def test_a_recording_in_the_voices_folder_is_a_voice(xtts_http: httpx.Client, folders: Path) -> None:
    write_recording(folders / "voices" / "anna_en.wav", seed=1)
    write_recording(folders / "voices" / "ben.wav", seed=2)
    listed = {voice["id"]: voice for voice in xtts_http.get("/v1/audio/voices").json()["voices"]}
    assert listed["ada_lovelace"]["type"] == "builtin"
    assert (listed["anna_en"]["type"], listed["anna_en"]["language"]) == ("cloned", "en")
    greedy = {"response_format": "pcm", "temperature": 0}
    spoken = [speak(xtts_http, voice=name, **greedy).content for name in ("ada_lovelace", "anna", "ben")]
    assert len(set(spoken)) == 3
    assert speak(xtts_http, voice="anna_en", **greedy).content == spoken[1]


def test_the_latents_of_a_recording_are_computed_once(xtts_http: httpx.Client, folders: Path) -> None:
    before = set(latents(folders))
    write_recording(folders / "voices" / "cora.wav", seed=3)
    speak(xtts_http, voice="cora", response_format="pcm")
    first = latents(folders)
    assert len(set(first) - before) == 1

    # The same recording under another name.
    write_recording(folders / "voices" / "dora.wav", seed=3)
    speak(xtts_http, voice="dora", response_format="pcm")
    assert latents(folders) == first

    write_recording(folders / "voices" / "cora.wav", seed=4)
    speak(xtts_http, voice="cora", response_format="pcm")
    assert len(latents(folders)) == len(first) + 1


def test_a_recording_without_a_voice_is_the_clients_problem(xtts_http: httpx.Client, folders: Path) -> None:
    with wave.open(str(folders / "voices" / "silence.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(64_000))
    refused = xtts_http.post(SPEECH, json={"input": TEXT, "voice": "silence"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_audio")
