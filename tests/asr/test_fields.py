"""The fields of a transcription request: what each spelling means, and what is said of a bad one."""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from asr.api.schemas import FIELD_CHARS, PROMPT_CHARS, TranscriptionRequest
from asr.api.speakers import read_references, read_speakers
from asr.diarization.engine import DiarizeOptions
from asr.service import AsrService
from asr.settings import AsrSettings
from asr.transcript import TEMPERATURE_LADDER, TranscribeOptions, VadOptions
from core.disconnect import ClientLeft
from core.errors import InsufficientStorage, InvalidAudio, InvalidRequest, Unavailable
from core.settings import Places
from utils.forms import Form

PATH = "/v1/audio/transcriptions"
SETTINGS = AsrSettings()


def asked(*fields: tuple[str, str], **more: str) -> TranscriptionRequest:
    return TranscriptionRequest.from_form(Form([*fields, *more.items()]))


def options(*fields: tuple[str, str], **more: str) -> TranscribeOptions:
    return asked(*fields, **more).options(SETTINGS)


def bad(*fields: tuple[str, str], **more: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        asked(*fields, **more)
    return caught.value


# --- meaning


def test_empty_fields_are_absent() -> None:
    assert asked(**dict.fromkeys(TranscriptionRequest.model_fields, "")) == asked()
    assert asked(**dict.fromkeys(TranscriptionRequest.model_fields, " ")) == asked()


@pytest.mark.parametrize("key", ["timestamp_granularities", "timestamp_granularities[]"])
def test_choices_may_be_one_comma_list_in_either_spelling(key: str) -> None:
    assert asked((key, "word, segment")).timestamp_granularities == ("word", "segment")


def test_the_words_of_a_choice_count_in_any_case() -> None:
    given = asked(
        ("timestamp_granularities[]", "Word"), ("include[]", "LogProbs"), response_format="SRT", task="Translate"
    )
    assert (given.response_format, given.task, given.shows_words, given.logprobs) == ("srt", "translate", True, True)
    assert asked(("chunking_strategy[type]", "Server_VAD")) == asked(("chunking_strategy[type]", "server_vad"))


def test_one_name_with_a_comma_is_one_name() -> None:
    assert asked(("keywords[]", "Smith, John")).keywords == ("Smith, John",)


def test_unknown_fields_are_ignored() -> None:
    assert asked(backend="x", enable_diarization="true", stream_options="{") == asked()


@pytest.mark.parametrize(("text", "ladder"), [("0", TEMPERATURE_LADDER), ("0.0", TEMPERATURE_LADDER), ("0.2", (0.2,))])
def test_a_temperature_of_zero_is_the_ladder(text: str, ladder: tuple[float, ...]) -> None:
    assert options(temperature=text).temperature == ladder


@pytest.mark.parametrize("text", ["auto", "und", "null", "AUTO"])
def test_a_language_that_means_detect(text: str) -> None:
    assert options(language=text).language is None
    assert options(("languages[]", text), ("languages[]", "de")).languages == ("de",)


def test_candidates_are_a_set_and_one_is_the_language() -> None:
    both = options(("languages[]", "english"), ("languages[]", "pt-BR"))
    assert (both.language, both.languages) == (None, ("en", "pt"))
    assert options(languages="ger").language == "de"


def test_keywords_and_hotwords_are_one() -> None:
    found = options(("keywords[]", "Ann"), ("keywords[]", "Bo"), ("hotwords", "Cy, Di"))
    assert found.hotwords == ("Ann", "Bo", "Cy", "Di")


def test_of_a_long_prompt_the_end_counts() -> None:
    assert options(prompt="a" * 100_000 + "end").prompt == "a" * (PROMPT_CHARS - 3) + "end"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, False),
        ({"response_format": "text"}, False),
        ({"response_format": "verbose_json"}, True),
        ({"response_format": "srt"}, True),
        ({"stream": "true"}, True),
        ({"timestamp_granularities[]": "word"}, True),
        ({"word_timestamps": "true"}, True),
        ({"diarize": "true"}, True),
        ({"diarize": "true", "response_format": "text"}, True),
        ({"response_format": "diarized_json"}, True),
    ],
)
def test_times_are_asked_for_where_the_answer_has_any(fields: dict[str, str], shown: bool) -> None:
    assert asked(**fields).shows_times is shown


def test_a_stream_wants_its_first_text_early() -> None:
    assert options(stream="yes").early
    assert not options().early


def test_a_stream_with_speakers_has_the_text_of_any_other_answer() -> None:
    assert options(stream="yes", response_format="diarized_json") == options(response_format="diarized_json")


@pytest.mark.parametrize("name", ["include", "include[]"])
def test_logprobs_are_asked_for_by_include(name: str) -> None:
    assert options((name, "logprobs")).logprobs
    assert not options().logprobs


@pytest.mark.parametrize(
    "fields",
    [
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[silence_duration_ms]", "500")],
        [("chunking_strategy.type", "server_vad"), ("chunking_strategy.silence_duration_ms", "500")],
        [("chunking_strategy", '{"type": "server_vad", "silence_duration_ms": 500, "other": null}')],
    ],
)
def test_a_chunking_strategy_is_the_vad(fields: list[tuple[str, str]]) -> None:
    wanted = VadOptions(threshold=0.5, min_silence_ms=500, speech_pad_ms=300)
    assert options(*fields).vad == wanted
    assert options(*fields, vad_filter="false").vad == wanted


def test_automatic_chunking_has_a_vad_and_amplifies() -> None:
    for text in ("auto", '"auto"'):
        found = options(chunking_strategy=text, vad_filter="false")
        assert (found.vad, found.amplify) == (VadOptions(), True)
    assert options(chunking_strategy="null") == options()
    assert options(vad_filter="off").vad is None
    assert not options().amplify


# --- refusals


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("temperature", "2.1", "less than or equal to 2"),
        ("temperature", "-0.1", "greater than or equal to 0"),
        ("temperature", "warm", "number"),
        ("temperature", "nan", "finite"),
        ("language", "klingon", "'en'"),
        ("languages", "en,klingon", "'en'"),
        ("keywords", json.dumps(["x" * 81]), "80"),
        ("keywords", json.dumps(["x"] * 101), "100"),
        ("hotwords", json.dumps(["x"] * 101), "100"),
        ("keywords", '[["x"]]', "list of strings"),
        ("timestamp_granularities", "letter", "'word' or 'segment'"),
        ("include", "usage", "'logprobs'"),
        ("stream", "maybe", "true or false"),
        ("diarize", "maybe", "true or false"),
        ("vad_filter", "maybe", "true or false"),
        ("word_timestamps", "maybe", "true or false"),
        ("translate", "maybe", "true or false"),
        ("task", "sing", "'transcribe' or 'translate'"),
        ("identify_speakers", "maybe", "true or false"),
        ("num_speakers", "0", "greater than or equal to 1"),
        ("num_speakers", "-1", "greater than or equal to 1"),
        ("num_speakers", "1e9", "integer"),
        ("num_speakers", "1000000000", "less than or equal to 100"),
        ("min_speakers", "-1", "greater than or equal to 1"),
        ("max_speakers", "two", "integer"),
        ("beam_size", "0", "greater than or equal to 1"),
        ("best_of", "99", "less than or equal to 20"),
        ("max_line_width", "1", "greater than or equal to 10"),
        ("max_line_count", "0", "greater than or equal to 1"),
        ("sample_rate", "1", "greater than or equal to 4000"),
        ("audio_track", "-1", "greater than or equal to 0"),
        ("chunking_strategy", "none", '"auto" or an object'),
        ("chunking_strategy", '{"type": "client_vad"}', "'server_vad'"),
        ("chunking_strategy", "{}", "type"),
        ("chunking_strategy", '{"type": "server_vad", "threshold": 2}', "less than or equal to 1"),
        ("chunking_strategy", '{"type": "server_vad", "silence_duration_ms": -1}', "greater than or equal to 0"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    error = bad((name, value))
    assert (error.param, error.code, error.status) == (name, "invalid_value", 400)
    assert allowed in error.message


@pytest.mark.parametrize(
    ("name", "value", "ends"),
    [
        ("temperature", "3", "from 0 to 2"),
        ("beam_size", "0", "from 1 to 20"),
        ("sample_rate", "1", "from 4000 to 192000"),
    ],
)
def test_both_ends_of_a_range_are_named(name: str, value: str, ends: str) -> None:
    assert ends in bad((name, value)).message


@pytest.mark.parametrize("name", ["language", "keywords[]", "timestamp_granularities", "chunking_strategy[type]"])
def test_a_field_of_megabytes_is_named_and_not_read(name: str) -> None:
    error = bad((name, "x" * (FIELD_CHARS + 1)))
    assert error.param == name.partition("[")[0]
    assert len(error.message) < 200
    assert asked(prompt="x" * (FIELD_CHARS + 1), unknown="x" * (FIELD_CHARS + 1)).prompt


def test_at_least_is_not_more_than_at_most() -> None:
    assert bad(min_speakers="3", max_speakers="2").param == "min_speakers"
    assert asked(min_speakers="2", max_speakers="2", num_speakers="2").num_speakers == 2


def test_speakers_need_a_name_and_a_recording_each() -> None:
    two = [("known_speaker_names[]", "Ann"), ("known_speaker_names[]", "Bo")]
    assert bad(*two).param == "known_speaker_names"
    assert bad(*two, ("known_speaker_references[]", "data:,"), ("known_speaker_names[]", "Cy")).param
    assert bad(known_speaker_references="data:audio/wav;base64,AAAA").param == "known_speaker_references"
    assert "16" in bad(*[("known_speaker_names[]", str(index)) for index in range(17)]).message


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, False),
        ({"response_format": "diarized_json"}, True),
        ({"diarize": "true"}, True),
        ({"diarize": "true", "response_format": "srt"}, True),
        ({"model": "gpt-4o-transcribe-diarize"}, False),
        ({"identify_speakers": "true"}, False),
    ],
)
def test_speakers_are_told_where_they_are_asked_for(fields: dict[str, str], wanted: bool) -> None:
    assert asked(**fields).diarizes is wanted
    # By the times of words it is told who says them, whether they are shown or not.
    assert options(**fields).word_timestamps is wanted
    assert not asked(**fields).shows_words


def test_what_is_known_of_the_speakers_reaches_the_diarizer() -> None:
    found = asked(num_speakers="3", min_speakers="2", max_speakers="4", diarize="yes").diarization
    assert found == DiarizeOptions(num_speakers=3, min_speakers=2, max_speakers=4)
    assert asked(diarize="yes").diarization == DiarizeOptions()


# --- over HTTP


def wav(seconds: float = 2.0) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(np.random.default_rng(3).integers(-9000, 9000, round(seconds * 16_000), np.int16).tobytes())
    return file.getvalue()


def data_url(content: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(content).decode()}"


@pytest.fixture(scope="session")
def asr(fake_asr: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fake_asr.url, timeout=30) as client:
        yield client


def post(asr: httpx.Client, **data: Any) -> httpx.Response:
    return asr.post(PATH, files={"file": ("a.wav", wav())}, data=data)


def test_logprobs_belong_to_the_text(asr: httpx.Client) -> None:
    for form in ("json", "verbose_json"):
        body = post(asr, response_format=form, **{"include[]": "logprobs"}).json()
        tokens = body["logprobs"]
        assert bytes(byte for token in tokens for byte in token["bytes"]).decode().strip() == body["text"]
        assert all(token["logprob"] <= 0 and token["token"] for token in tokens)
        assert "logprobs" not in post(asr, response_format=form).json()


def test_a_translation_is_english_and_says_what_was_spoken(asr: httpx.Client) -> None:
    data = {"language": "de", "response_format": "verbose_json"}
    body = asr.post("/v1/audio/translations", files={"file": ("a", wav())}, data=data).json()
    assert (body["task"], body["language"], body["languages"]) == ("translate", "english", [{"code": "de"}])


def test_references_of_speakers_are_checked_and_not_needed(asr: httpx.Client) -> None:
    clips = [data_url(wav(1.5)), data_url(wav(12.0))]
    answer = post(asr, **{"known_speaker_names[]": ["Ann", "Bo"], "known_speaker_references[]": clips})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, InsufficientStorage), (errno.EACCES, Unavailable)])
async def test_a_disk_that_takes_no_reference_is_told(
    number: int, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, "no")

    places = Places.model_construct(cache=tmp_path, state=tmp_path, tmp=tmp_path, models=None)
    service = AsrService(AsrSettings(engine="fake", model="fake", preload=False, places=places))
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(error):
        await read_references(service, (data_url(wav(1.5)),), tmp_path)


@pytest.fixture
def service(tmp_path: Path) -> AsrService:
    fakes = {"engine": "fake", "model": "fake", "diarization_engine": "fake-diarizer"}
    places = Places.model_construct(cache=tmp_path, state=tmp_path, tmp=tmp_path, models=None)
    return AsrService(AsrSettings(**fakes, diarization_model="fake-diarizer", preload=False, places=places))


async def test_of_a_long_reference_only_the_beginning_is_decoded(service: AsrService, tmp_path: Path) -> None:
    packed = io.BytesIO()
    soundfile.write(packed, np.zeros(120 * 16_000), 16_000, format="FLAC")
    with pytest.raises(InvalidAudio, match="more than 30 s"):
        await read_references(service, (data_url(packed.getvalue()),), tmp_path)
    (decoded,) = tmp_path.rglob("*.s16")
    assert decoded.stat().st_size < 35 * 16_000 * 2


async def test_nothing_is_decoded_for_a_client_who_left(
    service: AsrService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def decode(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def left() -> dict[str, str]:
        return {"type": "http.disconnect"}

    monkeypatch.setattr(service, "decode", decode)
    wanted = asked(
        known_speaker_names="Ann", known_speaker_references=data_url(wav(1.5)), response_format="diarized_json"
    )
    async with asyncio.timeout(10):
        with pytest.raises(ClientLeft):
            await read_speakers(service, wanted, tmp_path, left)


@pytest.mark.parametrize(
    "reference",
    [
        data_url(wav(0.5)),
        data_url(wav(31.0)),
        data_url(b""),
        data_url(b"no audio at all" * 50),
        "data:audio/wav,plain",
        "data:audio/wav;base64,!!!",
        "https://example.org/voice.wav",
    ],
    ids=["short", "long", "empty", "text", "plain", "not base64", "address"],
)
def test_a_reference_that_is_none_is_refused(asr: httpx.Client, reference: str) -> None:
    answer = post(asr, **{"known_speaker_names[]": "Ann", "known_speaker_references[]": reference})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_audio", "known_speaker_references")
    assert "known_speaker_references[0]" in error["message"]
