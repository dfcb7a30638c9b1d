"""A9: who speaks when, where somebody speaks, the vector of a voice, and the voices of people."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import httpx
import numpy as np

from tests.conformance import media
from tests.conformance.ask import transcribe
from tests.conformance.checks import ok, refused, will_fail_again
from tests.conformance.rows import TRANSCRIPTIONS, Table
from tests.conformance.services import KEY
from tests.conformance.target import Target

table = Table()
row = table.row
DIARIZE, VAD, TIMESTAMPS = "/v1/audio/diarization", "/v1/vad", "/v1/audio/speech/timestamps"
EMBED = "/v1/audio/speech/embedding"
DIARIZATION, VOICE = f"POST {DIARIZE}", "POST /v1/voice/{}"
TEXT = b"this is no audio at all " * 99


def diarize(target: Target, audio: bytes | None = None, **fields: Any) -> httpx.Response:
    target.diarizing()
    return transcribe(target.asr, fields, audio=target.speech if audio is None else audio, path=DIARIZE)


def reference(audio: bytes) -> dict[str, str]:
    return {"known_speaker_names[]": "Ada", "known_speaker_references[]": media.data_url(audio)}


# --- who speaks when


def check_turns(body: dict[str, Any], *fields: str) -> None:
    """Turns in order and inside the audio; whoever speaks first is SPEAKER_00."""
    assert body["task"] == "diarize"
    turns = body["segments"]
    assert turns
    for number, each in enumerate(turns):
        assert set(each) == {"id", "speaker", "label", "start", "end", *fields}, each
        assert each["id"] == number
        assert isinstance(each["label"], str)
        assert 0 <= each["start"] < each["end"] <= body["duration"] + 0.05, each
    assert all(first["start"] <= second["start"] for first, second in itertools.pairwise(turns))
    names = list(dict.fromkeys(each["speaker"] for each in turns))
    assert names == [f"SPEAKER_{number:02d}" for number in range(body["num_speakers"])]


@row("A9", "json, the default: each turn and who has it", DIARIZATION)
def turns(target: Target) -> None:
    body = ok(diarize(target)).json()
    assert set(body) == {"task", "duration", "num_speakers", "segments"}
    check_turns(body)


@row("A9", "verbose_json sums up each speaker", DIARIZATION)
def summed_up(target: Target) -> None:
    body = ok(diarize(target, response_format="verbose_json")).json()
    check_turns(body)
    assert [each["id"] for each in body["speakers"]] == [f"SPEAKER_{n:02d}" for n in range(body["num_speakers"])]
    for each in body["speakers"]:
        own = [turn for turn in body["segments"] if turn["label"] == each["label"]]
        assert each["segment_count"] == len(own)
        assert abs(each["total_speech_duration"] - sum(turn["end"] - turn["start"] for turn in own)) < 0.01


@row("A9", "rttm: ten fields a line, the same turns", DIARIZATION)
def as_rttm(target: Target) -> None:
    found = ok(diarize(target, response_format="rttm"))
    assert found.headers["content-type"] == "text/plain; charset=utf-8"
    lines = [line.split(" ") for line in found.text.splitlines()]
    for line in lines:
        assert [line[at] for at in (0, 1, 2, 5, 6, 8, 9)] == ["SPEAKER", "audio", "1", *["<NA>"] * 4], line
    said = [(each["speaker"], each["start"]) for each in ok(diarize(target)).json()["segments"]]
    assert [(line[7], float(line[3])) for line in lines] == said
    assert all(float(line[4]) > 0 for line in lines)


@row("A9", "include_text: what is said in each turn", DIARIZATION)
def with_text(target: Target) -> None:
    body = ok(diarize(target, include_text="true", language="en")).json()
    check_turns(body, "text")
    assert "".join(each["text"] for each in body["segments"]).strip()


@row("A9", "LocalAI's fields; 0 is what it sends for a number that was not said", DIARIZATION)
def localai(target: Target) -> None:
    fields = {"min_duration_on": "0.1", "min_duration_off": "0.1", "clustering_threshold": "0", "include_text": "false"}
    check_turns(ok(diarize(target, **fields)).json())


@row("A9", "num_speakers=1 is one speaker", DIARIZATION)
def one_speaker(target: Target) -> None:
    assert ok(diarize(target, num_speakers="1")).json()["num_speakers"] == 1


@row("A9", "a known voice has its name", DIARIZATION)
def known_voice(target: Target) -> None:
    body = ok(diarize(target, **reference(target.speech))).json()
    assert "Ada" in {each["speaker"] for each in body["segments"]}


@row("A9", "no speech: nobody has a turn", DIARIZATION)
def nobody(target: Target) -> None:
    body = ok(diarize(target, media.silence(3))).json()
    assert (body["num_speakers"], body["segments"]) == (0, [])
    assert ok(diarize(target, media.silence(3), response_format="rttm")).text == ""


COUNTS = [
    ("num_speakers=0", {"num_speakers": "0"}, "num_speakers"),
    ("num_speakers=-1", {"num_speakers": "-1"}, "num_speakers"),
    ("num_speakers=1e9", {"num_speakers": "1e9"}, "num_speakers"),
    ("num_speakers=1000000000", {"num_speakers": "1000000000"}, "num_speakers"),
    ("min > max speakers", {"min_speakers": "3", "max_speakers": "2"}, "min_speakers"),
]
OTHERS = [
    ("clustering_threshold=nan", {"clustering_threshold": "nan"}, "clustering_threshold"),
    ("min_duration_on=-1", {"min_duration_on": "-1"}, "min_duration_on"),
    ("response_format=srt", {"response_format": "srt"}, "response_format"),
    ("a name without its clip", {"known_speaker_names[]": "Ada"}, "known_speaker_names"),
]


@row("A9", "400 with its param: {}", DIARIZATION, each=COUNTS + OTHERS)
def refusals(target: Target, given: tuple[str, dict[str, str], str]) -> None:
    answer = diarize(target, **given[1])
    refused(answer, 400, "invalid_value", given[2])
    will_fail_again(answer)


@row("A2.2", "diarized_json, 400 with its param: {}", TRANSCRIPTIONS, each=COUNTS)
def refused_counts(target: Target, given: tuple[str, dict[str, str], str]) -> None:
    answer = transcribe(target.asr, {"response_format": "diarized_json", **given[1]})
    refused(answer, 400, "invalid_value", given[2])
    will_fail_again(answer)


CLIPS = [
    ("silent", media.silence(3)),
    ("of 0.3 s", media.tone(0.3)),
    ("of 40 s", media.tone(40)),
    ("that is no audio", TEXT),
    ("that is empty", b""),
]


@row("A9", "a reference {} is refused, streamed or not", DIARIZATION, TRANSCRIPTIONS, each=CLIPS)
def bad_references(target: Target, given: tuple[str, bytes]) -> None:
    fields = {"response_format": "diarized_json", **reference(given[1])}
    for answer in (
        diarize(target, **reference(given[1])),
        transcribe(target.asr, fields),
        transcribe(target.asr, {**fields, "stream": "true"}),
    ):
        refused(answer, 400, "invalid_audio", "known_speaker_references")
        will_fail_again(answer)


@row(
    "A9",
    "501 without a diarization model at {}",
    DIARIZATION,
    f"POST {EMBED}",
    each=[DIARIZE, EMBED],
)
def no_model(target: Target, path: str) -> None:
    form: dict[str, Any] = {"files": {"file": media.tone()}, "headers": {"api-key": KEY}}
    refused(
        target.special("asr-strict").post(path, **form),
        501,
        "not_supported",
        says=(
            "the default diarization model is not there",
            "none-is-installed",
        ),
    )


@row("A9", "an unknown model is 404 at {}", DIARIZATION, f"POST {EMBED}", f"POST {VAD}", each=[DIARIZE, EMBED, VAD])
def unknown_model(target: Target, path: str) -> None:
    target.diarizing()
    refused(transcribe(target.asr, {"model": "nope"}, path=path), 404, "model_not_found", "model")


@row("A9", "what is no audio is 400 at {}", each=[DIARIZE, EMBED, VAD, TIMESTAMPS])
def no_audio(target: Target, path: str) -> None:
    target.diarizing()
    refused(transcribe(target.asr, audio=b"", path=path), 400, "invalid_audio", "file")
    refused(transcribe(target.asr, audio=TEXT, path=path), 400, "unsupported_format", "file")
    refused(target.asr.post(path, data={"model": ""}), 400, "missing_required_parameter", "file")


@row("A9", "the vector of a voice is OpenAI's list of one embedding", f"POST {EMBED}")
def embedding(target: Target) -> None:
    target.diarizing()
    body = ok(transcribe(target.asr, audio=target.speech, path=EMBED)).json()
    assert body["object"] == "list"
    (one,) = body["data"]
    assert (one["object"], one["index"]) == ("embedding", 0)
    assert abs(np.linalg.norm(one["embedding"]) - 1) < 1e-3
    assert isinstance(body["model"], str)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    refused(transcribe(target.asr, audio=media.silence(3), path=EMBED), 400, "invalid_audio", "file")


# --- where somebody speaks


@row("A9", "samples as numbers, seconds back; {}", f"POST {VAD}", each=[VAD, "/vad"])
def spans(target: Target, path: str) -> None:
    samples = np.frombuffer(target.samples, dtype="<i2") / 32768
    sent = {"model": "silero-vad", "audio": samples.round(5).tolist()}
    found = ok(target.asr.post(path, json=sent)).json()["segments"]
    assert all(0 <= each["start"] < each["end"] <= len(samples) / media.RATE for each in found)
    assert all(first["end"] <= second["start"] for first, second in itertools.pairwise(found))
    assert ok(target.asr.post(path, json={"audio": [0.0] * 32_000})).json() == {"segments": []}


@row(
    "A9",
    "a file is heard as its samples are, in milliseconds for speaches' clients",
    f"POST {VAD}",
    f"POST {TIMESTAMPS}",
)
def stamps(target: Target) -> None:
    fields = {"threshold": "0.5", "min_silence_duration_ms": "100", "speech_pad_ms": "30"}
    seconds = ok(transcribe(target.asr, audio=target.speech, path=VAD)).json()["segments"]
    found = ok(transcribe(target.asr, fields, audio=target.speech, path=TIMESTAMPS)).json()
    assert found == [{name: round(value * 1000) for name, value in each.items()} for each in seconds]
    assert all(type(value) is int for each in found for value in each.values())
    assert ok(transcribe(target.asr, audio=media.silence(3), path=TIMESTAMPS)).json() == []


@row("A9", "numbers that make no sense are 400 at {}", each=[VAD, TIMESTAMPS])
def bad_numbers(target: Target, path: str) -> None:
    for name, value in (("threshold", "2"), ("min_silence_duration_ms", "-1"), ("max_speech_duration_s", "nan")):
        refused(transcribe(target.asr, {name: value}, path=path), 400, "invalid_value", name)


@row("A9", "samples that are none are 400", f"POST {VAD}")
def bad_samples(target: Target) -> None:
    given: list[list[Any]] = [["loud"], [None], [[0.1]], [1e9], [32767, -32768]]
    for samples in given:
        refused(target.asr.post(VAD, json={"audio": samples}), 400, "invalid_value", "audio")
    refused(target.asr.post(VAD, json={"audio": []}), 400, "invalid_audio", "audio")


# --- voices of people: LocalAI's contract

ADA, BEN = media.tone(3, 300), media.tone(3, 1200)


def as_text(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


def ask(client: httpx.Client, what: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/voice/{what}", json=body)


@row("A9", "a vector, as an upload, base64 or a data URI", VOICE.format("embed"))
def voice_embed(target: Target) -> None:
    target.diarizing()
    files = {"audio": ("a.wav", target.speech, "audio/wav")}
    body = ok(target.asr.post("/v1/voice/embed", files=files)).json()
    assert len(body["embedding"]) == body["dim"]
    assert isinstance(body["model"], str)
    for text in (as_text(target.speech), media.data_url(target.speech)):
        again = ok(ask(target.asr, "embed", audio=text)).json()
        assert np.allclose(again["embedding"], body["embedding"], atol=1e-4)


@row("A9", "one person or two", VOICE.format("verify"))
def voice_verify(target: Target) -> None:
    target.diarizing()
    clip = as_text(target.speech)
    body = ok(ask(target.asr, "verify", audio1=clip, audio2=clip)).json()
    assert {"verified", "distance", "threshold", "confidence", "model", "processing_time_ms"} <= set(body)
    assert body["verified"] is True
    assert body["distance"] < 1e-3 < body["threshold"]
    if target.engine == "fake":
        assert ok(ask(target.asr, "verify", audio1=as_text(ADA), audio2=as_text(BEN))).json()["verified"] is False


@row("A9", "a URL is refused, not fetched", VOICE.format("embed"), VOICE.format("verify"))
def no_urls(target: Target) -> None:
    target.diarizing()
    url = "http://127.0.0.1:9/voice.wav"
    refused(ask(target.asr, "embed", audio=url), 400, "invalid_value", "audio")
    refused(ask(target.asr, "verify", audio1=as_text(ADA), audio2=url), 400, "invalid_value", "audio2")


@row("A9", "age and gender: 501, no engine tells them", VOICE.format("analyze"))
def voice_analyze(target: Target) -> None:
    refused(ask(target.asr, "analyze", audio=as_text(ADA)), 501, "not_supported")


KEPT: list[tuple[str, dict[str, str]]] = [
    ("register", {"name": "Ada", "audio": as_text(ADA)}),
    ("identify", {"audio": as_text(ADA)}),
    ("forget", {"id": "nobody"}),
]


@row("A9", "{} is 403 until VOICEPRINTS=on", VOICE.format("register"), each=KEPT)
def voiceprints_off(target: Target, given: tuple[str, dict[str, str]]) -> None:
    target.fake()
    answer = ask(target.asr, given[0], **given[1])
    refused(answer, 403, "voiceprints_disabled")
    will_fail_again(answer)


@row("A9", "nobody is listed or recognised until VOICEPRINTS=on", "GET /v1/voice/speakers", DIARIZATION, TRANSCRIPTIONS)
def nobody_recognised(target: Target) -> None:
    target.fake()
    refused(target.asr.get("/v1/voice/speakers"), 403, "voiceprints_disabled")
    refused(diarize(target, identify_speakers="true"), 403, "voiceprints_disabled")
    wanted = {"response_format": "diarized_json", "identify_speakers": "true"}
    refused(transcribe(target.asr, wanted), 403, "voiceprints_disabled")


@row("A9", "register, identify, recognise, forget", *(VOICE.format(what) for what, _ in KEPT))
def a_person(target: Target) -> None:
    asr = target.special("asr-people")
    person = ok(ask(asr, "register", name="Ada", audio=as_text(ADA))).json()
    assert {"id", "name", "registered_at"} <= set(person)
    listed = ok(asr.get("/v1/voice/speakers")).json()["data"]
    assert [(each["id"], each["name"]) for each in listed] == [(person["id"], "Ada")]
    (match,) = ok(ask(asr, "identify", audio=as_text(ADA))).json()["matches"]
    assert (match["id"], match["name"], match["match"]) == (person["id"], "Ada", True)
    assert match["distance"] < 0.01
    (other,) = ok(ask(asr, "identify", audio=as_text(BEN))).json()["matches"]
    assert other["match"] is False
    wanted = {"num_speakers": "1", "identify_speakers": "true"}
    turns = ok(transcribe(asr, wanted, audio=ADA, path=DIARIZE)).json()["segments"]
    assert {each["speaker"] for each in turns} == {"Ada"}
    assert ok(ask(asr, "forget", id=person["id"]), 204).content == b""
    assert ok(asr.get("/v1/voice/speakers")).json()["data"] == []
    refused(ask(asr, "forget", id=person["id"]), 404, "not_found", "id")


@row("A9", "a person without a name or a voice is refused", VOICE.format("register"), VOICE.format("forget"))
def no_person(target: Target) -> None:
    asr = target.special("asr-people")
    refused(ask(asr, "register", audio=as_text(ADA)), 400, "missing_required_parameter", "name")
    refused(ask(asr, "register", name="Ada"), 400, "missing_required_parameter", "audio")
    refused(ask(asr, "register", name="Ada", audio=as_text(media.silence(3))), 400, "invalid_audio", "audio")
    refused(ask(asr, "register", name="Ada", audio="http://127.0.0.1:9/a.wav"), 400, "invalid_value", "audio")
    refused(ask(asr, "forget"), 400, "missing_required_parameter", "id")
    assert ok(asr.get("/v1/voice/speakers")).json()["data"] == []
