"""The engine that asks whisper.cpp's server, against a stub that speaks its API: no such server can be had here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from asr.engines.whisper_server import WhisperServerEngine
from asr.transcript import Segment, TranscribeOptions
from core.engines import EngineContext
from core.errors import ModelBroken, Unavailable
from tests.remote_stubs import Answered, Asked, Stub, in_json, serving, under, whisper_cpp
from utils.audio.pcm import Audio

RATE = 16_000
NOISE = Audio(np.random.default_rng(0).normal(0, 0.1, 11 * RATE).clip(-1, 1).astype(np.float32), RATE)

MADE: list[WhisperServerEngine] = []


@pytest.fixture
def server() -> Iterator[Stub]:
    with serving(whisper_cpp) as stub:
        yield stub


def engine(url: str, **options: Any) -> WhisperServerEngine:
    made = WhisperServerEngine(EngineContext(model_id="remote", options={"url": url, **options}))
    MADE.append(made)
    made.load()
    return made


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what the tests made: connections that are left to the garbage collector are warnings."""
    yield
    while MADE:
        MADE.pop().close()


def hear(made: WhisperServerEngine, **options: Any) -> list[Segment]:
    return list(made.transcribe(NOISE, TranscribeOptions(vad=None, **options)).segments)


def test_segments_and_words_made_of_tokens(server: Stub) -> None:
    found = hear(engine(server.url), word_timestamps=True)
    assert found[0].text == " And so my fellow Americans And so my."
    assert [word.word for word in found[0].words][3:6] == [" fellow", " Americans", " And"]
    for segment in found:
        assert "".join(word.word for word in segment.words) == segment.text
    assert found[0].words[1].start == pytest.approx(0.5)
    assert found[0].avg_logprob == -0.2


def test_what_is_sent(server: Stub) -> None:
    hear(engine(server.url), task="translate", prompt="Before.", beam_size=5, best_of=3, language="de")
    assert [asked.path for asked in server.asked] == ["/health", "/inference"]
    form = server.asked[1].form
    assert (form["translate"], form["language"], form["beam_size"], form["best_of"]) == (b"true", b"de", b"5", b"3")
    assert (form["temperature"], form["temperature_inc"], form["prompt"]) == (b"0.0", b"0.2", b"Before.")
    assert form["no_language_probabilities"] == b"true"
    assert len(form["file"]) == 44 + 2 * len(NOISE.samples)
    hear(engine(server.url), temperature=(0.0,))
    form = server.asked[-1].form
    assert (form["temperature_inc"], form["language"]) == (b"0.0", b"auto")


def test_the_language_and_how_sure_it_is(server: Stub) -> None:
    made = engine(server.url)
    found = made.transcribe(NOISE, TranscribeOptions(vad=None))
    assert (found.language, found.language_probability) == ("en", 0.93)
    guess = made.detect_language(NOISE)
    assert (guess.language, guess.probability) == ("en", 0.93)
    assert server.asked[-1].form["detect_language"] == b"true"


def test_the_likeliest_candidate_is_taken(server: Stub) -> None:
    found = engine(server.url).transcribe(NOISE, TranscribeOptions(vad=None, languages=("nl", "de", "fr")))
    assert (found.language, found.language_probability) == ("de", 0.04)
    assert server.asked[-1].form["language"] == b"de"


def test_a_model_is_loaded_when_one_is_named(server: Stub) -> None:
    engine(server.url, model="models/ggml-base.bin")
    assert [asked.path for asked in server.asked] == ["/load", "/health"]
    with pytest.raises(ModelBroken, match="model not found!"):
        engine(server.url, model="elsewhere.bin")


def test_a_model_that_is_refused_with_status_200_is_not_taken_for_loaded() -> None:
    with serving(lambda _: in_json({"error": "model not found!"})) as stub, pytest.raises(ModelBroken):
        engine(stub.url, model="elsewhere.bin")


def test_an_error_with_status_200_is_no_silence() -> None:
    failing = lambda asked: in_json({"status": "ok"} if asked.method == "GET" else {"error": "failed"})  # noqa: E731
    with serving(failing) as stub, pytest.raises(Unavailable):
        hear(engine(stub.url))


def test_all_paths_of_a_server_may_have_a_prefix() -> None:
    with serving(under("/api", whisper_cpp)) as stub:
        assert hear(engine(f"{stub.url}/api", model="models/ggml-base.bin"))
        assert [asked.path for asked in stub.asked] == ["/api/load", "/api/health", "/api/inference"]


def test_older_servers_have_no_health() -> None:
    def answer(asked: Asked) -> Answered:
        return Answered(404) if asked.path == "/health" else whisper_cpp(asked)

    with serving(answer) as stub:
        assert hear(engine(stub.url))


def test_a_server_that_is_still_loading_is_tried_again() -> None:
    with serving(lambda _: in_json({"status": "loading model"}, 503)) as stub, pytest.raises(Unavailable) as caught:
        engine(stub.url)
    assert type(caught.value) is Unavailable
    assert caught.value.retry


def test_a_failure_in_the_middle() -> None:
    def answer(asked: Asked) -> Answered:
        failed = sum(each.path == "/inference" for each in stub.asked) > 1
        return in_json({"error": "failed to process audio"}, 500) if failed else whisper_cpp(asked)

    with serving(answer) as stub:
        found = engine(stub.url, window_seconds=5).transcribe(NOISE, TranscribeOptions(vad=None))
        assert next(found.segments).text
        with pytest.raises(Unavailable):
            list(found.segments)
