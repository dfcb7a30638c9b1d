"""Chains of models.toml over HTTP, with fake engines: who answers when the first cannot, and how the client is told."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from core.answers import MODEL_HEADER

pytestmark = pytest.mark.e2e
SPEECH, TRANSCRIPTIONS = "/v1/audio/speech", "/v1/audio/transcriptions"
MODELS = """
[models.unloadable]
engine = "fake"
task = "{task}"
options = {{ load_fails = true }}

[models.crashing]
engine = "fake"
task = "{task}"
options = {{ fail = "crash" }}

[models.sound]
engine = "fake"
task = "{task}"

[models.spare]
engine = "fake"
task = "{task}"

[models.dying-diarizer]
engine = "fake-diarizer"
task = "diarization"
options = {{ fail = "crash" }}

[chains]
usual = ["unloadable", "crashing", "sound"]
crash_first = ["crashing", "sound"]
refusing = ["sound", "crashing"]
hopeless = ["unloadable", "crashing"]
hearing = ["sound", "spare"]
"""


@pytest.fixture(scope="module")
def client(start_service: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that returns a client of the service of a name, started once."""
    clients: dict[str, httpx.Client] = {}

    def open_(name: str) -> httpx.Client:
        if name not in clients:
            file: Path = tmp_path_factory.mktemp("chains") / "models.toml"
            file.write_text(MODELS.format(task=name), encoding="utf-8")
            env = {f"{name.upper()}_MODEL": "sound", f"{name.upper()}_ENGINE": "fake", "MODELS_FILE": str(file)}
            url = start_service(name, {**env, "MODEL_SLOTS": "3", "DIARIZATION_MODEL": "dying-diarizer"}).url
            clients[name] = httpx.Client(base_url=url, timeout=60)
        return clients[name]

    yield open_
    for each in clients.values():
        each.close()


def noise(seed: int = 5) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(np.random.default_rng(seed).integers(-9000, 9000, 6 * 16_000).astype("<i2").tobytes())
    return file.getvalue()


@pytest.mark.parametrize("stream", [{}, {"stream_format": "sse"}, {"stream": False}])
def test_the_first_that_can_speaks(client: Any, stream: dict[str, Any]) -> None:
    asked = {"model": "usual", "input": "Hello there.", "response_format": "pcm", **stream}
    answer = client("tts").post(SPEECH, json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers[MODEL_HEADER] == "sound"
    assert len(answer.content) > 1000


def test_a_stand_in_speaks_in_its_own_voice_where_it_lacks_the_one_asked_for(client: Any) -> None:
    asked = {"model": "usual", "input": "Hello.", "voice": "fake_ben", "response_format": "pcm"}
    assert client("tts").post(SPEECH, json=asked).headers["x-voice-stack-voice"] == "fake_ben"
    asked["voice"] = "nobody"
    answer = client("tts").post(SPEECH, json=asked)
    assert (answer.status_code, answer.headers["x-voice-stack-voice"]) == (200, "fake_anna")
    asked["model"] = "refusing"
    answer = client("tts").post(SPEECH, json=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "voice_not_found")


@pytest.mark.parametrize("response_format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_the_head_of_a_file_is_no_answer_yet(client: Any, response_format: str) -> None:
    text = "Hello there. This is a second sentence, and here is a third. " * 3
    answer = client("tts").post(
        SPEECH, json={"model": "crash_first", "input": text, "response_format": response_format}
    )
    assert (answer.status_code, answer.headers[MODEL_HEADER]) == (200, "sound"), answer.text


@pytest.mark.parametrize(("name", "path"), [("tts", SPEECH), ("asr", TRANSCRIPTIONS)])
def test_where_nobody_can_the_error_is_the_last_ones(client: Any, name: str, path: str) -> None:
    if name == "tts":
        answer = client(name).post(path, json={"model": "hopeless", "input": "Hello."})
    else:
        answer = client(name).post(path, data={"model": "hopeless"}, files={"file": ("a.wav", noise())})
    assert answer.json()["error"]["code"] in {"engine_crashed", "unprocessable_audio", "unavailable"}
    assert answer.status_code in {400, 503}


@pytest.mark.parametrize("model", ["unloadable", "crashing"])
def test_a_model_that_is_named_itself_has_no_stand_in(client: Any, model: str) -> None:
    assert client("tts").post(SPEECH, json={"model": model, "input": "Hello."}).status_code >= 500


def test_the_first_that_can_transcribes(client: Any) -> None:
    files = {"file": ("a.wav", noise())}
    answer = client("asr").post(TRANSCRIPTIONS, data={"model": "usual"}, files=files)
    assert answer.status_code == 200, answer.text
    assert answer.headers[MODEL_HEADER] == "sound"
    assert answer.json()["text"]


def test_the_first_that_can_transcribes_a_stream_from_its_beginning(client: Any) -> None:
    files = {"file": ("a.wav", noise())}
    text = client("asr").post(TRANSCRIPTIONS, data={"model": "sound"}, files=files).json()["text"]
    answer = client("asr").post(TRANSCRIPTIONS, data={"model": "usual", "stream": "true"}, files=files)
    assert answer.status_code == 200, answer.text
    assert answer.headers[MODEL_HEADER] == "sound"
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert [event["type"] for event in events][-1] == "transcript.text.done"
    assert "error" not in {event["type"] for event in events}
    deltas = "".join(event["delta"] for event in events if event["type"] == "transcript.text.delta")
    assert deltas == events[-1]["text"] == text


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, "/asr"])
def test_a_diarizer_that_dies_is_no_failure_of_the_model_beside_it(client: Any, path: str) -> None:
    asr, asked = client("asr"), {"model": "hearing", "diarize": "true"}
    name, seed = ("audio_file", 6) if path == "/asr" else ("file", 7)
    send: dict[str, Any] = {"params": asked} if path == "/asr" else {"data": asked}
    answers = [asr.post(path, files={name: ("a.wav", noise(seed))}, **send) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 400], "it died once for each request"
    assert "spare" not in asr.get("/api/ps").json()["models"]
    # The model is not at rest: it answers, and nobody stands in for it.
    plain = asr.post(TRANSCRIPTIONS, data={"model": "hearing"}, files={"file": ("a.wav", noise())})
    assert (plain.status_code, plain.headers[MODEL_HEADER]) == (200, "sound")
