"""What a speech request can ask for beyond OpenAI's fields, over HTTP with the fake engine."""

from __future__ import annotations

import base64
import io
import json
import math
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.e2e
SPEECH = "/v1/audio/speech"
RATE = 24_000
TEXT = "Hello there, world. It is a fine day!"


@pytest.fixture(scope="session")
def tts(fake_tts: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fake_tts.url, timeout=60) as client:
        yield client


def pcm(client: httpx.Client, text: str = TEXT, **more: Any) -> np.ndarray:
    answer = client.post(SPEECH, json={"input": text, "response_format": "pcm", **more})
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, "<i2")


def refused(answer: httpx.Response, status: int, code: str, param: str | None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param), error
    return str(error["message"])


def frames(answer: httpx.Response) -> list[dict[str, Any]]:
    found = [frame for frame in answer.text.split("\n\n") if frame and not frame.startswith(":")]
    assert found.pop() == "data: [DONE]"
    events = []
    for frame in found:
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def recording(seconds: float = 4.0, *, hertz: float = 200.0, level: float = 0.4) -> bytes:
    """A voice-like sound: a buzz that swells and fades a few times a second."""
    time = np.arange(round(seconds * RATE)) / RATE
    sound = level * np.sin(2 * math.pi * hertz * time) * (0.6 + 0.4 * np.sin(2 * math.pi * 3 * time))
    with io.BytesIO() as file:
        with wave.open(file, "wb") as out:
            out.setparams((1, 2, RATE, 0, "NONE", ""))
            out.writeframes((sound * 32767).astype("<i2").tobytes())
        return file.getvalue()


def data_url(data: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(data).decode()}"


# ---------------------------------------------------------------- how it sounds


def test_the_volume_is_multiplied_and_clipped(tts: httpx.Client) -> None:
    plain = pcm(tts).astype(int)
    assert np.abs(pcm(tts, volume_multiplier=0.5) - plain / 2).max() <= 1
    assert np.array_equal(pcm(tts, volume_multiplier=4), np.clip(plain * 4.0, -32767, 32767).round().astype(int)) or (
        np.abs(pcm(tts, volume_multiplier=4) - np.clip(plain * 4, -32767, 32767)).max() <= 4
    )
    assert not pcm(tts, volume_multiplier=0).any()


def test_pauses_between_sentences_are_as_long_as_asked(tts: httpx.Client) -> None:
    text = "One two. Three four! Five six? Seven."
    short, long = pcm(tts, text, pause_between_sentences_ms=100), pcm(tts, text, pause_between_sentences_ms=1100)
    assert len(long) - len(short) == 3 * RATE
    quiet = (np.abs(long) < 100).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet, [0]])))
    runs = (edges[1::2] - edges[::2]) / RATE
    assert sorted(runs)[-3:] == pytest.approx([1.1] * 3, abs=0.01)
    assert sorted(runs)[-4] < 0.2


def test_normalising_can_be_switched_off(tts: httpx.Client) -> None:
    marked = "**Hello** _there_"
    assert np.array_equal(pcm(tts, marked), pcm(tts, "Hello there"))
    assert np.array_equal(pcm(tts, marked, normalize="true"), pcm(tts, "Hello there"))
    assert len(pcm(tts, marked, normalize=False)) > len(pcm(tts, marked))
    assert np.array_equal(
        pcm(tts, "See https://www.example.com/a/b?c=d#e, please"), pcm(tts, "See example.com, please")
    )
    refused(tts.post(SPEECH, json={"input": "*** 😀"}), 400, "invalid_value", "input")


def test_instructions_seed_and_temperature_reach_an_engine_that_has_them(tts: httpx.Client) -> None:
    plain = pcm(tts)
    for field in ({"instructions": "whisper"}, {"seed": 3}, {"temperature": 0.3}):
        assert not np.array_equal(pcm(tts, **field), plain)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 48_000])
def test_pcm_says_at_which_rate_it_is(tts: httpx.Client, rate: int) -> None:
    answer = tts.post(SPEECH, json={"input": TEXT, "response_format": "pcm", "sample_rate": rate})
    assert answer.headers["content-type"] == f"audio/pcm;rate={rate};channels=1;bits=16"
    assert len(answer.content) / rate == pytest.approx(len(pcm(tts)) * 2 / RATE, rel=0.01)


# ---------------------------------------------------------------- mixes


def test_a_mix_of_voices_is_a_voice_of_its_own(tts: httpx.Client) -> None:
    answer = tts.post(SPEECH, json={"input": TEXT, "voice": "fake_anna(2)+fake_ben(1)", "response_format": "pcm"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-voice-stack-voice"] == "fake_anna(2)+fake_ben(1)"
    mixed = np.frombuffer(answer.content, "<i2")
    assert not np.array_equal(mixed, pcm(tts, voice="fake_anna"))
    assert np.array_equal(mixed, pcm(tts, voice="fake_anna(4)+fake_ben(2)"))
    assert not np.array_equal(mixed, pcm(tts, voice="fake_anna+fake_ben"))


@pytest.mark.parametrize(
    ("voice", "code"),
    [
        ("fake_anna+nobody", "voice_not_found"),
        ("fake_anna(0)", "invalid_value"),
        ("fake_anna+", "invalid_value"),
        ("../etc+passwd", "voice_not_found"),
    ],
)
def test_a_mix_that_cannot_be_is_an_error_of_the_voice(tts: httpx.Client, voice: str, code: str) -> None:
    refused(tts.post(SPEECH, json={"input": TEXT, "voice": voice}), 400, code, "voice")


def test_of_a_mix_the_voice_that_is_missing_is_told(tts: httpx.Client) -> None:
    answer = tts.post(SPEECH, json={"input": TEXT, "voice": "fake_anna+zzz"})
    assert "no voice 'zzz'" in refused(answer, 400, "voice_not_found", "voice")


# ---------------------------------------------------------------- bodies


def test_a_form_says_everything_that_json_says(tts: httpx.Client) -> None:
    fields = {"text": TEXT, "voice[id]": "fake_ben", "response_format": "PCM", "stream": "no", "speed": "1", "seed": ""}
    wanted = pcm(tts, voice="fake_ben").tobytes()
    assert tts.post(SPEECH, data=fields).content == wanted
    parts = {name: (None, value) for name, value in fields.items()}
    assert tts.post(SPEECH, files=parts).content == wanted
    as_json = {"input": TEXT, "voice": '{"id": "fake_ben"}', "response_format": "pcm"}
    assert tts.post(SPEECH, data=as_json).content == wanted
    assert tts.post("/audio/speech", json={"text": TEXT, "voice": {"id": "fake_ben"}, "response_format": "pcm"}).content


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"speed": 5}, "speed", "from 0.25 to 4"),
        ({"speed": 0}, "speed", "from 0.25 to 4"),
        ({"sample_rate": 96_000}, "sample_rate", "from 8000 to 48000"),
        ({"volume_multiplier": -1}, "volume_multiplier", "from 0 to 4"),
        ({"pause_between_sentences_ms": 1e9}, "pause_between_sentences_ms", "from 0 to 10000"),
        ({"timestamps": "phoneme"}, "timestamps", "'none' or 'word'"),
        ({"stream_format": "ws"}, "stream_format", "'audio' or 'sse'"),
        ({"stream": "maybe"}, "stream", "boolean"),
        ({"voice": {"name": "x"}}, "voice", ""),
        ({"voice": 7}, "voice", ""),
        ({"voice": "v" * 513}, "voice", "512"),
        ({"voice": {"id": "v" * 513}}, "voice", ""),
        ({"input": "Hi. " * 1000, "pause_between_sentences_ms": 10_000}, "pause_between_sentences_ms", "3603"),
        ({"language": "xx-nowhere"}, "language", ""),
        ({"input": ["x"]}, "input", "string"),
        ({"model": "m" * 600}, "model", ""),
    ],
)
def test_a_bad_value_is_told_with_what_would_be_good(
    tts: httpx.Client, body: dict[str, Any], param: str, told: str
) -> None:
    assert told in refused(tts.post(SPEECH, json={"input": TEXT, **body}), 400, "invalid_value", param)


def test_strict_means_openais_limit(start_service: Any) -> None:
    service = start_service("tts", {"TTS_MODEL": "fake", "TTS_ENGINE": "fake", "TTS_MAX_INPUT": "strict"})
    with httpx.Client(base_url=service.url, timeout=60) as client:
        assert client.post(SPEECH, json={"input": "a " * 2048}).status_code == 200
        answer = client.post(SPEECH, json={"input": "a " * 2048 + "b"})
    assert "4096" in refused(answer, 400, "string_above_max_length", "input")


# ---------------------------------------------------------------- containers


@pytest.mark.parametrize("name", ["wav", "pcm", "mp3", "opus", "aac", "flac"])
def test_a_complete_answer_has_its_length_and_no_stream_is_longer(tts: httpx.Client, name: str) -> None:
    text = "One sentence follows another. " * 30
    whole = tts.post(SPEECH, json={"input": text, "response_format": name, "stream": False, "speed": 1.1})
    assert int(whole.headers["content-length"]) == len(whole.content)
    assert "transfer-encoding" not in whole.headers
    streamed = tts.post(SPEECH, json={"input": text, "response_format": name, "speed": 1.1})
    assert streamed.headers["transfer-encoding"] == "chunked"
    if name not in {"wav", "flac"}:  # whose headers tell the length, where it is known
        assert streamed.content == whole.content


def test_one_sentence_has_true_sizes_even_when_it_is_many_pieces(tts: httpx.Client) -> None:
    sentence = "and so on and on, as long sentences do, " * 7 + "to the end."
    answer = tts.post(SPEECH, json={"input": sentence, "response_format": "wav"})
    assert int(answer.headers["content-length"]) == len(answer.content)
    with wave.open(io.BytesIO(answer.content)) as sound:
        assert sound.getnframes() * 2 + 44 == len(answer.content)
    streamed = tts.post(SPEECH, json={"input": f"{sentence} {sentence}", "response_format": "wav"}).content
    assert struct.unpack_from("<I", streamed, 4) == struct.unpack_from("<I", streamed, 40) == (0xFFFFFFFF,)
    with wave.open(io.BytesIO(streamed)) as sound:  # wyoming_openai opens the first chunk like this
        assert sound.getframerate() == RATE


@pytest.mark.parametrize("name", ["wav", "pcm", "mp3", "opus", "aac", "flac", "ogg"])
def test_what_fails_before_the_first_sound_is_an_ordinary_error_in_every_format(tts: httpx.Client, name: str) -> None:
    refused(tts.post(SPEECH, json={"input": "fake:error", "response_format": name}), 500, "internal_error", None)
    refused(
        tts.post(SPEECH, json={"input": "fake:error", "response_format": name, "stream_format": "sse"}),
        500,
        "internal_error",
        None,
    )


def test_an_encoder_that_cannot_be_started_is_unavailable(start_service: Any, tmp_path: Path) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_bytes(b"no program")
    broken.chmod(0o755)
    service = start_service("tts", {"TTS_MODEL": "fake", "TTS_ENGINE": "fake", "PATH": str(tmp_path)})
    refused(httpx.post(f"{service.url}{SPEECH}", json={"input": TEXT}), 503, "unavailable", None)


# ---------------------------------------------------------------- words


def test_words_come_with_their_times_in_json(tts: httpx.Client) -> None:
    answer = tts.post(SPEECH, json={"input": TEXT, "response_format": "wav", "timestamps": "word"})
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"audio", "format", "sample_rate", "words"}
    assert (body["format"], body["sample_rate"]) == ("wav", RATE)
    assert [word["word"] for word in body["words"]] == ["Hello", "there", "world", "It", "is", "a", "fine", "day"]
    with wave.open(io.BytesIO(base64.b64decode(body["audio"]))) as sound:
        samples = np.frombuffer(sound.readframes(1 << 30), "<i2")
    for word, following in zip(body["words"], [*body["words"][1:], None], strict=True):
        spoken = samples[round(word["start"] * RATE) : round(word["end"] * RATE)]
        assert np.abs(spoken).max() > 3000
        if following:
            gap = samples[round(word["end"] * RATE) + 30 : round(following["start"] * RATE) - 30]
            assert gap.size
            assert np.abs(gap).max() < 100


@pytest.mark.parametrize("name", ["pcm", "mp3", "opus", "flac"])
def test_json_with_words_is_a_stream_of_the_same_sound(tts: httpx.Client, name: str) -> None:
    body = {"input": TEXT * 20, "response_format": name, "stream": False}
    answer = tts.post(SPEECH, json={**body, "timestamps": "word"})
    assert answer.headers["transfer-encoding"] == "chunked"
    assert base64.b64decode(answer.json()["audio"], validate=True) == tts.post(SPEECH, json=body).content


@pytest.mark.parametrize("speed", [0.25, 4])
def test_times_of_words_fit_stretched_speech(tts: httpx.Client, speed: float) -> None:
    fast = tts.post(SPEECH, json={"input": TEXT, "timestamps": "word", "speed": speed}).json()["words"]
    plain = tts.post(SPEECH, json={"input": TEXT, "timestamps": "word"}).json()["words"]
    assert [word["end"] * speed for word in fast] == pytest.approx([word["end"] for word in plain], abs=0.02)


def test_words_are_events_among_the_deltas(tts: httpx.Client) -> None:
    text = f"{TEXT} " * 30
    body = {"input": text, "response_format": "pcm", "stream_format": "sse", "timestamps": "word"}
    events = frames(tts.post(SPEECH, json=body))
    assert events[-1]["type"] == "speech.audio.done"
    words = [event for event in events if event["type"] == "speech.word"]
    assert len(words) == 8 * 30
    edges = [edge for word in words for edge in (word["start"], word["end"])]
    assert edges == sorted(edges)
    audio = b"".join(base64.b64decode(event["audio"]) for event in events if event["type"] == "speech.audio.delta")
    assert edges[-1] <= len(audio) / 2 / RATE
    assert audio == pcm(tts, text).tobytes()
    kinds = [event["type"] for event in events]
    assert kinds.index("speech.word") < len(kinds) - kinds[::-1].index("speech.audio.delta") - 1


def test_an_engine_without_times_and_no_service_to_ask_refuses(start_service: Any) -> None:
    service = start_service(
        "tts", {"TTS_MODEL": "fake", "TTS_ENGINE": "fake", "TTS_ENGINE_OPTIONS__TIMES_WORDS": "false"}
    )
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for more in ({}, {"stream_format": "sse"}):
            answer = client.post(SPEECH, json={"input": TEXT, "timestamps": "word", **more})
            assert "TTS_ALIGN_URL" in refused(answer, 400, "unsupported_parameter", "timestamps")
        assert client.post(SPEECH, json={"input": TEXT, "timestamps": "none"}).status_code == 200


# ---------------------------------------------------------------- recordings


def test_a_recording_is_a_voice_for_one_request(tts: httpx.Client, fake_tts: Any) -> None:
    first = pcm(tts, reference_audio=data_url(recording()), reference_text="What was said.")
    again = pcm(tts, ref_audio=data_url(recording()), ref_text="What was said.")
    other = pcm(tts, reference_audio=data_url(recording(hertz=300)))
    bare = pcm(tts, reference_audio=base64.b64encode(recording()).decode())
    assert np.array_equal(first, again)
    assert np.array_equal(first, bare)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, pcm(tts))
    voices = tts.get("/v1/audio/voices").json()["voices"]
    assert not [voice for voice in voices if voice["id"].startswith("reference")]


def test_a_recording_may_be_a_part_of_a_form(tts: httpx.Client) -> None:
    answer = tts.post(
        SPEECH,
        data={"input": TEXT, "response_format": "pcm"},
        files={"reference_audio": ("me.wav", recording(), "audio/wav")},
    )
    assert answer.status_code == 200, answer.text
    assert answer.content == pcm(tts, reference_audio=data_url(recording())).tobytes()


def test_an_unused_file_input_of_a_browser_is_no_recording(tts: httpx.Client) -> None:
    fields = {"input": TEXT, "response_format": "pcm"}
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    unused = 'Content-Disposition: form-data; name="reference_audio"; filename=""'
    parts.append(f"--x\r\n{unused}\r\nContent-Type: application/octet-stream\r\n\r\n")
    body = "\r\n".join([*parts, "--x--\r\n"]).encode()
    answer = tts.post(SPEECH, content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 200, answer.text
    assert answer.content == pcm(tts).tobytes()
    empty = tts.post(SPEECH, data={"input": TEXT}, files={"reference_audio": ("me.wav", b"", "audio/wav")})
    refused(empty, 400, "invalid_audio", "reference_audio")


@pytest.mark.parametrize(
    ("audio", "status", "code"),
    [
        ("not base64!", 400, "invalid_value"),
        ("https://example.com/a.wav", 400, "invalid_value"),
        ("data:audio/wav,plain", 400, "invalid_value"),
        (data_url(b"not audio at all"), 400, None),
        (data_url(recording(1.0)), 400, "invalid_audio"),
        (data_url(recording(70.0)), 400, "invalid_audio"),
        (data_url(recording(level=0.0)), 400, "invalid_audio"),
        ("A" * (15 << 20), 413, "file_too_large"),
    ],
)
def test_a_bad_recording_is_refused(tts: httpx.Client, audio: str, status: int, code: str | None) -> None:
    answer = tts.post(SPEECH, json={"input": TEXT, "reference_audio": audio})
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == "reference_audio"
    assert code in {error["code"], None}


def test_nothing_is_left_of_recordings(tts: httpx.Client, fake_tts: Any) -> None:
    pcm(tts, reference_audio=data_url(recording()))
    tts.post(SPEECH, json={"input": TEXT, "reference_audio": data_url(recording(1.0))})
    for _ in range(100):
        if not fake_tts.leftovers():
            break
        pcm(tts, "Hi.")
    assert fake_tts.leftovers() == []


def test_cloning_can_be_switched_off_and_consent_be_required(start_service: Any, tmp_path: Path) -> None:
    fake = {"TTS_MODEL": "fake", "TTS_ENGINE": "fake", "VOICE_STACK_STATE": str(tmp_path)}
    body = {"input": TEXT, "reference_audio": data_url(recording()), "consent_attestation": "yes"}
    off = start_service("tts", {**fake, "VOICE_CLONING": "false"})
    refused(httpx.post(f"{off.url}{SPEECH}", json=body), 403, "forbidden", "reference_audio")
    assert httpx.post(f"{off.url}{SPEECH}", json={"input": TEXT}).status_code == 200
    strict = start_service("tts", {**fake, "VOICE_CONSENT": "required"})
    refused(httpx.post(f"{strict.url}{SPEECH}", json=body), 400, "missing_required_parameter", "consent")
    refused(httpx.post(f"{strict.url}{SPEECH}", json={**body, "consent": "cons_x"}), 400, "invalid_value", "consent")


# ---------------------------------------------------------------- slow listeners


def kilobytes(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:"))


def test_long_speech_with_words_costs_no_memory(start_service: Any) -> None:
    service = start_service("tts", {"TTS_MODEL": "fake", "TTS_ENGINE": "fake"})
    body = {"input": "Much is said in this sentence. " * 1000, "response_format": "pcm", "timestamps": "word"}
    with httpx.Client(base_url=service.url, timeout=120) as client:
        client.post(SPEECH, json={**body, "input": TEXT})
        before = kilobytes(service.pid, "VmHWM")
        with client.stream("POST", SPEECH, json=body) as answer:
            size = sum(map(len, answer.iter_raw()))
    assert size > 80 << 20
    assert kilobytes(service.pid, "VmHWM") - before < 50 << 10


def test_a_listener_who_does_not_read_costs_no_memory(start_service: Any) -> None:
    service = start_service("tts", {"TTS_MODEL": "fake", "TTS_ENGINE": "fake"})

    def rss() -> int:
        return kilobytes(service.pid, "VmRSS")

    text = "Nobody reads this sentence while it is made. " * 1100
    with httpx.Client(base_url=service.url, timeout=120) as client:
        client.post(SPEECH, json={"input": TEXT, "response_format": "wav"})
        before = rss()
        with client.stream("POST", SPEECH, json={"input": text, "response_format": "wav"}) as answer:
            parts = answer.iter_raw()
            first = next(parts)
            # Another request is answered when the engine is done with the first one.
            assert client.post(SPEECH, json={"input": "Next."}).status_code == 200
            grown = rss() - before
            size = len(first) + sum(map(len, parts))
    assert size > 100 << 20
    assert grown < 40 << 10, f"{grown} kB more for a backlog of {size >> 20} MiB"
