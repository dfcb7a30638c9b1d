"""The engine that asks an OpenAI-compatible server: another instance of our service, and stubs of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from asr.engines import openai as module
from asr.engines.openai import OpenAiEngine
from asr.engines.remote_answer import Answer, HeardWord, fitted, whole_words, window_text
from asr.transcript import Segment, TranscribeOptions
from core.engines import EngineContext
from core.errors import ModelBroken, NotSupported, Unavailable, UnsupportedParameter
from tests.remote_stubs import Answered, Asked, in_json, serving
from utils.audio.pcm import Audio

RATE = 16_000
NOISE = Audio(np.random.default_rng(0).normal(0, 0.1, 8 * RATE).clip(-1, 1).astype(np.float32), RATE)
KEY = "sk-the-right-one"
MADE: list[OpenAiEngine] = []


def engine(url: str, **options: Any) -> OpenAiEngine:
    made = OpenAiEngine(EngineContext(model_id="remote", options={"url": url, **options}))
    MADE.append(made)
    made.load()
    return made


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what the tests made: connections that are left to the garbage collector are warnings."""
    yield
    while MADE:
        MADE.pop().close()


def hear(made: OpenAiEngine, **options: Any) -> list[Segment]:
    return list(made.transcribe(NOISE, TranscribeOptions(vad=None, **options)).segments)


def test_the_other_service_is_heard_word_for_word(fake_asr: Any) -> None:
    made = engine(fake_asr.url)
    plain, timed = hear(made), hear(made, word_timestamps=True)
    assert plain
    assert [each.text for each in plain] == [each.text for each in timed]
    assert all(each.words == () for each in plain)
    for segment in timed:
        assert "".join(word.word for word in segment.words) == segment.text
    translated = hear(made, task="translate")
    assert [each.text for each in translated] != [each.text for each in plain]
    made.close()


def test_one_service_asks_another(start_service: Any, fake_asr: Any) -> None:
    near = start_service(
        "asr",
        {"ASR_ENGINE": "openai", "ASR_MODEL": "openai/whisper-1", "ASR_ENGINE_OPTIONS__URL": fake_asr.url},
    )
    sound = NOISE.to_s16()
    answers = [
        httpx.post(
            f"{service.url}/v1/audio/transcriptions",
            files={"file": ("a.pcm", sound, "audio/pcm")},
            data={"vad_filter": "false"},
            timeout=60,
        )
        for service in (near, fake_asr)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    # Not word for word: a sample of 16 bits may change by one on its way, and the fake engine hears that.
    near_text, far_text = (answer.json()["text"] for answer in answers)
    assert len(near_text.split()) == len(far_text.split()) > 0


def test_a_service_that_wants_a_key(start_service: Any) -> None:
    far = start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "API_KEYS": KEY, "PUBLIC_LISTINGS": "false"})
    assert hear(engine(far.url, api_key=KEY))
    with pytest.raises(ModelBroken) as caught:
        engine(far.url, api_key="sk-a-wrong-one")
    assert "sk-" not in caught.value.message


def asked(service: Any, **fields: str) -> httpx.Response:
    return httpx.post(
        f"{service.url}/v1/audio/{fields.pop('path', 'transcriptions')}",
        files={"file": ("a.pcm", NOISE.to_s16(), "audio/pcm")},
        data={"vad_filter": "false", **fields},
        timeout=60,
    )


def test_a_service_tells_what_is_wrong_with_the_other_and_works_again_when_it_does(
    start_service: Any, tmp_path: Path
) -> None:
    answers: list[Answered] = []

    def answer(request: Asked) -> Answered:
        if request.method == "GET":
            return in_json({"data": []})
        if not answers:
            raise ConnectionError
        return answers.pop()

    with serving(answer) as stub:
        url, port = stub.url, int(stub.url.rpartition(":")[2])
        (tmp_path / "models.toml").write_text(
            f'[models.far]\nengine = "openai"\ntask = "asr"\nurl = "{url}/v1"\ntranslates = false\n'
            f'options = {{ api_key = "{KEY}", read_timeout = 5 }}\n',
            encoding="utf-8",
        )
        near = start_service("asr", {"ASR_MODEL": "far", "MODELS_FILE": str(tmp_path / "models.toml")})
        told = []
        for status in (401, 429, 500, 400):
            answers.append(in_json({"error": {"message": f"the key {KEY}"}}, status, **{"Retry-After": "17"}))
            told.append(asked(near))
        told += [asked(near), asked(near, path="translations")]
    told.append(asked(near))
    assert [each.status_code for each in told] == [503, 429, 503, 400, 503, 400, 503]
    assert [each.headers.get("Retry-After") for each in told] == [None, "17", "17", None, "2", None, "2"]
    assert [each.headers.get("x-should-retry") for each in told].count("false") == 3
    messages = [each.json()["error"]["message"] for each in told]
    assert "broke off" in messages[4]
    assert "cannot be reached" in messages[6]
    with serving(answer, port):
        answers.append(in_json({"text": "Here again."}))
        assert asked(near).json()["text"] == "Here again."
    seen = "".join([*(each.text for each in told), httpx.get(f"{near.url}/api/ps").text])
    assert "far" in seen
    assert KEY not in seen


def openai(answer: dict[str, Any]) -> Callable[[Asked], Answered]:
    return lambda asked: in_json({"data": []} if asked.method == "GET" else answer)


def test_words_beside_the_segments_as_openai_sends_them() -> None:
    answer = {
        "language": "english",
        "text": "Well, I'm here. Twenty-one?",
        "segments": [
            {"id": 0, "start": 0.0, "end": 2.0, "text": " Well, I'm here."},
            {"id": 1, "start": 2.0, "end": 4.0, "text": " Twenty-one?"},
        ],
        "words": [
            {"word": "Well", "start": 0.1, "end": 0.5},
            {"word": "I'm", "start": 0.6, "end": 0.9},
            {"word": "here", "start": 1.0, "end": 1.9},
            {"word": "Twenty", "start": 2.1, "end": 2.5},
            {"word": "one", "start": 2.6, "end": 3.5},
        ],
    }
    with serving(openai(answer)) as stub:
        found = hear(engine(f"{stub.url}/v1"), word_timestamps=True)
    assert [[word.word for word in each.words] for each in found] == [
        [" Well,", " I'm", " here."],
        [" Twenty-", "one?"],
    ]
    assert found[1].words[0].start == pytest.approx(2.1)
    asked = stub.asked[-1]
    assert asked.path == "/v1/audio/transcriptions"
    assert asked.form["response_format"] == b"verbose_json"
    assert b"word" in asked.body


def test_words_as_localai_sends_them() -> None:
    words = [{"text": "Hello", "start": 0.5, "end": 1.0}, {"text": " there.", "start": 1.0, "end": 2.0}]
    segments = [{"id": 0, "start": 0.0, "end": 2.0, "text": "Hello there.", "words": words}]
    with serving(openai({"text": "Hello there.", "segments": segments})) as stub:
        found = hear(engine(stub.url), word_timestamps=True)
    assert [(word.word, word.start) for word in found[0].words] == [(" Hello", 0.5), (" there.", 1.0)]


@pytest.mark.parametrize(
    "odd",
    [
        {"words": [{"start": 0.0, "end": 1.0}]},
        {"words": "none"},
        {"words": [{"word": None, "start": 0.1}]},
        {"language_probabilities": {"en": None, "de": 0.2}},
        {"language_probabilities": ["en"], "language_probability": "high"},
        {"segments": [{"text": None}, {"text": "Hello there.", "words": [7]}]},
    ],
)
def test_what_is_odd_beside_the_text_does_not_cost_it(odd: dict[str, Any]) -> None:
    with serving(openai({"text": "Hello there.", "language": "en", **odd})) as stub:
        found = hear(engine(stub.url), word_timestamps=True)
    assert [each.text for each in found] == [" Hello there."]
    assert "".join(word.word for word in found[0].words) == " Hello there."


@pytest.mark.parametrize("answer", [{}, {"error": "no"}, {"text": 7}, {"text": "", "segments": "all"}])
def test_what_is_no_transcript_is_no_silence(answer: dict[str, Any]) -> None:
    with serving(openai(answer)) as stub, pytest.raises(Unavailable, match="no transcript") as caught:
        hear(engine(stub.url))
    assert caught.value.is_final


def test_text_alone_is_one_segment() -> None:
    with serving(openai({"text": "Hello there."})) as stub:
        found = hear(engine(stub.url), word_timestamps=True)
    assert [each.text for each in found] == [" Hello there."]
    assert (found[0].start, found[0].end) == (0.0, 8.0)
    assert [word.word for word in found[0].words] == [" Hello", " there."]


def test_servers_with_fewer_formats_are_asked_for_less_and_only_once() -> None:
    def answer(asked: Asked) -> Answered:
        if asked.method == "GET":
            return in_json({"data": []})
        if asked.form["response_format"] == b"verbose_json":
            message = "response_format 'verbose_json' is not compatible with model 'gpt-4o-transcribe'."
            return in_json({"error": {"message": message, "param": "response_format"}}, 400)
        return in_json({"text": "Hello."})

    with serving(answer) as stub:
        made = engine(stub.url)
        assert [hear(made)[0].text for _ in range(3)] == [" Hello."] * 3
    formats = [asked.form["response_format"] for asked in stub.asked if asked.method == "POST"]
    assert formats == [b"verbose_json", b"json", b"json", b"json"]


def test_what_is_sent() -> None:
    with serving(openai({"text": "x", "language": "de"})) as stub:
        made = engine(stub.url, model="big", window_seconds=5)
        hear(made, language="de", prompt="Before.", hotwords=("Ada", "Grace"), temperature=(0.4,))
    first, second = (asked.form for asked in stub.asked[1:])
    assert (first["model"], first["language"], first["temperature"]) == (b"big", b"de", b"0.4")
    assert first["prompt"] == b"Ada, Grace Before."
    assert second["prompt"] == b"Ada, Grace"
    assert first["file"][:4] == b"RIFF"
    assert "timestamp_granularities[]" not in first


def test_what_cannot_be_done_is_refused() -> None:
    with serving(openai({"text": "x"})) as stub:
        made = engine(stub.url, languages="en, german")
        assert made.languages == ("en", "de")
        for options in ({"languages": ("en", "de")}, {"beam_size": 5}, {"best_of": 2}, {"language": "fr"}):
            with pytest.raises(UnsupportedParameter) as caught:
                hear(made, **options)
            assert caught.value.param == next(iter(options))
        with pytest.raises(NotSupported):
            engine(stub.url, languages="en").detect_language(NOISE)


def test_the_language_is_named_in_many_ways() -> None:
    for language, code in (("english", "en"), ("de", "de")):
        with serving(openai({"text": "x", "language": language, "duration": "8.0"})) as stub:
            assert engine(stub.url).detect_language(NOISE).language == code


def test_a_server_that_tells_no_language_has_not_heard_silence() -> None:
    for told in ({}, {"language": None}, {"language": "Klingon"}):
        with serving(openai({"text": "x", **told})) as stub, pytest.raises(NotSupported, match="does not tell"):
            engine(stub.url).detect_language(NOISE)
    with serving(openai({"text": ""})) as stub:
        assert engine(stub.url).detect_language(NOISE).language is None


def test_the_language_of_a_translation_goes_to_all_but_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(openai({"text": "x"})) as stub:
        made = engine(stub.url)
        hear(made, task="translate", language="de")
        assert (stub.asked[-1].path, stub.asked[-1].form["language"]) == ("/v1/audio/translations", b"de")
        monkeypatch.setattr(module, "VENDOR", "127.0.0.1")
        with pytest.raises(UnsupportedParameter) as caught:
            hear(made, task="translate", language="de")
        assert caught.value.param == "language"
        hear(made, task="translate")
        assert "language" not in stub.asked[-1].form


@pytest.mark.parametrize("words", [["a", "b"], ["one", "two"], [], ["", " "]])
def test_joined_words_are_always_the_text(words: list[str]) -> None:
    text = ' "One, two" \u2014 three four... '
    found = fitted(text, [HeardWord(word=word, start=0, end=1) for word in words])
    assert "".join(word.word for word in found) in {"", text}


def texts() -> Iterator[tuple[list[str], list[str]]]:
    yield [" walk", "ing", ",", " on"], [" walking,", " on"]
    yield ["a", " b"], ["a", " b"]
    yield [], []


@pytest.mark.parametrize(("tokens", "words"), list(texts()))
def test_tokens_become_words(tokens: list[str], words: list[str]) -> None:
    assert [each.word for each in whole_words([HeardWord(word=token) for token in tokens])] == words


def test_times_and_numbers_that_are_none() -> None:
    data = {
        "text": "a",
        "segments": [{"text": " a", "start": None, "end": 99.0, "avg_logprob": None, "no_speech_prob": float("nan")}],
    }
    found = window_text(Answer.model_validate(data), 2.0, language=None, words=False)
    assert [(each.start, each.end, each.avg_logprob, each.no_speech_prob) for each in found.segments] == [(0, 2, 0, 0)]


def test_chinese_gets_no_blanks() -> None:
    answer = Answer(text="\u4f60\u597d", language="chinese")
    assert window_text(answer, 1.0, language=None, words=False).segments[0].text == "\u4f60\u597d"
