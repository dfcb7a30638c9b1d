"""The whisper engine behind the real service, with a folder that holds a checkpoint of openai-whisper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

TRANSCRIPTIONS = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def http(start_service: Any, checkpoint: Callable[[str], Path]) -> Iterator[httpx.Client]:
    env = {
        "ASR_MODEL": str(checkpoint("whisper-base")),
        "ASR_ENGINE": "whisper",
        "ASR_DEVICE": "cpu",
        "DIARIZATION_MODEL": "fake-diarizer",
        "DIARIZATION_ENGINE": "fake-diarizer",
    }
    with httpx.Client(base_url=start_service("asr", env).url, timeout=120) as client:
        yield client


def ask(http: httpx.Client, path: Path, **fields: Any) -> httpx.Response:
    with path.open("rb") as file:
        return http.post(TRANSCRIPTIONS, files={"file": file}, data={"model": "whisper-1", **fields})


def test_words_and_language(http: httpx.Client, speech_data: Path) -> None:
    answer = ask(
        http,
        speech_data / "en" / "jfk.wav",
        response_format="verbose_json",
        **{"timestamp_granularities[]": ["word", "segment"]},
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["language"] == "english"
    assert "country" in found["text"]
    assert found["words"][-1]["end"] <= found["duration"]


def test_an_unknown_language_is_refused(http: httpx.Client, speech_data: Path) -> None:
    answer = ask(http, speech_data / "en" / "jfk.wav", language="yue")
    assert answer.status_code == 200  # Chinese stands in for Cantonese
    answer = ask(http, speech_data / "en" / "jfk.wav", language="klingon")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "language"


def test_streamed_text_is_the_whole_text(http: httpx.Client, speech_data: Path) -> None:
    whole = ask(http, speech_data / "en" / "jfk.wav", language="en").json()["text"]
    streamed = ask(http, speech_data / "en" / "jfk.wav", language="en", stream="true").text
    assert "transcript.text.done" in streamed
    assert whole in streamed
