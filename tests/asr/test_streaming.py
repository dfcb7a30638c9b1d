"""Streamed transcriptions, event by event, with the fake engine and with a real one."""

from __future__ import annotations

import io
import json
import time
import wave
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import openai
import pytest
import soundfile
from openai.types.audio import TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent

from asr.api import events as streamed
from asr.result import TranscriptResult
from asr.service import Transcript
from asr.transcript import Segment
from core.errors import EngineCrashed
from core.metrics import Metrics

PATH = "/v1/audio/transcriptions"


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


NOISE = wav(np.random.default_rng(5).integers(-9000, 9000, 20 * 16_000))
SILENCE = wav(np.zeros(16_000))


@pytest.fixture(scope="session")
def asr(fake_asr: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fake_asr.url, timeout=30) as client:
        yield client


def events(asr: httpx.Client, audio: bytes = NOISE, path: str = PATH, **data: str) -> list[dict[str, Any]]:
    """The events of a stream, each of which has both lines and says nothing that is null."""
    answer = asr.post(path, files={"file": ("a", audio)}, data={"stream": "true", **data})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    frames = [frame for frame in answer.text.split("\n\n") if frame and not frame.startswith(":")]
    assert frames[-1] == "data: [DONE]"
    found = []
    for frame in frames[:-1]:
        name, _, data_line = frame.partition("\n")
        event = json.loads(data_line.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert None not in event.values()
        found.append(event)
    return found


@pytest.mark.parametrize("name", ["json", "text", "srt", "vtt", "verbose_json", "tsv", "jsonl"])
def test_every_format_streams_the_same_events(asr: httpx.Client, name: str) -> None:
    *deltas, done = events(asr, response_format=name)
    assert len(deltas) == 4
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert done["type"] == "transcript.text.done"
    assert "".join(event["delta"] for event in deltas) == done["text"]
    assert done["text"] == asr.post(PATH, files={"file": ("a", NOISE)}).json()["text"]


def test_done_tells_all_that_the_long_answer_tells(asr: httpx.Client) -> None:
    fields = {"timestamp_granularities[]": "word", "include[]": "logprobs"}
    done = events(asr, **fields)[-1]
    whole = asr.post(PATH, files={"file": ("a", NOISE)}, data={"response_format": "verbose_json", **fields}).json()
    same = ("text", "language", "language_code", "languages", "duration", "segments", "words", "logprobs")
    assert {name: done[name] for name in same} == {name: whole[name] for name in same}
    usage = done["usage"]
    assert usage["type"] == "tokens"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert not {"words", "logprobs"} & set(events(asr)[-1])


@pytest.mark.parametrize(
    ("text", "tokens", "written"),
    [(" Four score and seven years ago.", (1, 2, 3), 3), (" Four score and seven years ago.", (), 8), ("", (), 0)],
)
def test_where_the_engine_tells_no_tokens_they_are_estimated(text: str, tokens: tuple[int, ...], written: int) -> None:
    segments = (Segment(start=0.0, end=2.0, text=text, tokens=tokens),) if text else ()
    frame = streamed._done(TranscriptResult(segments=segments, duration=2.0), text.strip())
    usage = json.loads(frame.partition(b"data: ")[2])["usage"]
    assert usage == {"type": "tokens", "input_tokens": 100, "output_tokens": written, "total_tokens": 100 + written}


def test_logprobs_come_with_their_deltas(asr: httpx.Client) -> None:
    *deltas, done = events(asr, **{"include[]": "logprobs"})
    assert [token for event in deltas for token in event["logprobs"]] == done["logprobs"]
    assert all(event["logprobs"] for event in deltas)
    assert not any("logprobs" in event for event in events(asr))


def test_events_have_openais_types(asr: httpx.Client) -> None:
    *deltas, done = events(asr, **{"include[]": "logprobs", "timestamp_granularities[]": "word"})
    for event in deltas:
        TranscriptionTextDeltaEvent.model_validate_json(json.dumps(event), strict=True)
    TranscriptionTextDoneEvent.model_validate_json(json.dumps(done), strict=True)


def test_silence_is_only_done(asr: httpx.Client) -> None:
    (done,) = events(asr, SILENCE)
    assert (done["type"], done["text"], done["segments"], done["languages"]) == ("transcript.text.done", "", [], [])
    assert not {"language", "language_code"} & set(done)


def test_a_translation_streams(asr: httpx.Client) -> None:
    assert events(asr, path="/v1/audio/translations")[-1]["language"] == "english"


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        ({"temperature": "9"}, 400, "invalid_value"),
        ({"response_format": "diarized_json", "num_speakers": "0"}, 400, "invalid_value"),
        ({"model": "no-such-model"}, 404, "model_not_found"),
        ({"prompt": "fake:error"}, 500, "internal_error"),
    ],
)
def test_what_fails_before_the_first_segment_has_its_status(
    asr: httpx.Client, data: dict[str, str], status: int, code: str
) -> None:
    answer = asr.post(PATH, files={"file": ("a", NOISE)}, data={"stream": "true", **data})
    assert answer.headers["content-type"] == "application/json"
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_an_error_in_the_middle_is_an_event_that_the_sdk_raises(start_service: Any) -> None:
    """The service gives a request three seconds; its first segment comes after 0.1 seconds, its last after 40."""
    options = {"ASR_ENGINE_OPTIONS__DELAY": "2", "ASR_ENGINE_OPTIONS__SEGMENT_SECONDS": "0.05", "ASR_TIMEOUT": "3"}
    service = start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", **options})
    client = openai.OpenAI(api_key="x", base_url=f"{service.url}/v1", max_retries=0)
    heard: list[Any] = []
    with pytest.raises(openai.APIError) as caught:
        heard += client.audio.transcriptions.create(model="whisper-1", file=("a.wav", NOISE), stream=True)
    assert caught.value.code == "deadline_exceeded"
    assert {event.type for event in heard} == {"transcript.text.delta"}


@pytest.mark.e2e
def test_the_first_text_comes_early(real_asr: Any, speech_data: Path) -> None:
    """Of a minute of speech, on the model as users have it: before 40 % of the time that all of it takes."""
    samples, rate = soundfile.read(speech_data / "en" / "two_cities_16k.wav", dtype="int16")
    assert rate == 16_000
    audio = wav(np.tile(samples, 2)[: 60 * rate])
    first = None
    began = time.monotonic()
    with httpx.stream(
        "POST", f"{real_asr.url}{PATH}", files={"file": ("a.wav", audio)}, data={"stream": "true"}, timeout=300
    ) as answer:
        for line in answer.iter_lines():
            if first is None and line == "event: transcript.text.delta":
                first = time.monotonic() - began
    assert first is not None
    assert first < 0.4 * (time.monotonic() - began)


async def test_an_error_inside_a_stream_is_counted() -> None:
    async def segments() -> AsyncGenerator[Segment | None, None]:
        yield None
        raise EngineCrashed("gone")

    metrics, nothing = Metrics(), cast("Any", None)
    transcript = Transcript(events=nothing, duration=1.0)
    found = [frame async for frame in streamed.frames(nothing, transcript, None, segments(), metrics)]
    assert found[-1].startswith(b"event: error")
    assert b'voice_stack_errors_total{code="engine_crashed"} 1.0' in metrics.text()
