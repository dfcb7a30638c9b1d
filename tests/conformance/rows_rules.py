"""A0: the rules that hold on every endpoint, and A0.1: every status with its type, code and headers."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import requests

from tests.conformance import media
from tests.conformance.ask import SPEAK, TRANSCRIBE, TRANSLATE, speak, transcribe
from tests.conformance.checks import envelope, events, frames, may_pass_later, ok, plain_error, refused, will_fail_again
from tests.conformance.rows import MODELS, SPEECH, TRANSCRIPTIONS, VOICES, Table
from tests.conformance.services import KEY
from tests.conformance.target import Target
from tests.full_service import calls, filled, recording, stopped, until, worker

table = Table()
row = table.row
HTTP_OK = 200
BAZARR = ("/asr", "/detect-language", "/bazarr")


# --- A0: paths


@row("A0", "GET {} also without /v1", MODELS, each=["/v1/models", "/v1/audio/models"])
def listings_without_prefix(target: Target, path: str) -> None:
    assert ok(target.asr.get(path.removeprefix("/v1"))).json() == ok(target.asr.get(path)).json()


@row("A0", "POST {} also without /v1", TRANSCRIPTIONS, each=[TRANSCRIBE, TRANSLATE])
def asr_without_prefix(target: Target, path: str) -> None:
    ok(transcribe(target.asr, path=path.removeprefix("/v1")))


@row("A0", "speech also at {}", SPEECH, each=["/audio/speech", "/tts"])
def speech_without_prefix(target: Target, path: str) -> None:
    assert ok(speak(target.tts, path=path)).headers["content-type"] == "audio/mpeg"


@row("A0", "voices and models of the TTS service also without /v1", VOICES)
def voices_without_prefix(target: Target) -> None:
    for path in ("/audio/voices", "/models", "/audio/models"):
        ok(target.tts.get(path))


@row("A0", "a slash at the end never redirects POST {}", each=[TRANSCRIBE, TRANSLATE, "/asr"])
def no_redirect(target: Target, path: str) -> None:
    answer = transcribe(target.asr, path=path + "/")
    assert not answer.is_redirect, answer.status_code
    assert answer.status_code in {HTTP_OK, 404}


@row("A0", "a slash at the end never redirects POST /v1/audio/speech")
def no_redirect_of_speech(target: Target) -> None:
    assert speak(target.tts, path=SPEAK + "/").status_code in {HTTP_OK, 404}


@row("A0", "a model id with / and :, {}", MODELS, each=["org/model:tag", "org%2Fmodel:tag", "org%2Fmodel%3Atag"])
def ids_with_slashes(target: Target, path: str) -> None:
    refused(target.asr.get(f"/v1/models/{path}"), 404, "model_not_found", "model", says=("org/model:tag",))


# --- A0: fields


@row("A0", "unknown form fields and query parameters are ignored", TRANSCRIPTIONS)
def unknown_form_fields(target: Target) -> None:
    extra = {"backend": "x", "enable_diarization": "false", "vad_filter": "false", "nobody[knows]": "1"}
    ok(transcribe(target.asr, extra, path=TRANSCRIBE + "?what=ever"))


@row("A0", "unknown JSON fields are ignored", SPEECH)
def unknown_json_fields(target: Target) -> None:
    ok(speak(target.tts, backend="x", stream=True, nested={"a": [1]}))


EMPTY = [
    "language", "temperature", "stream", "prompt", "response_format", "model", "chunking_strategy", "include[]",
    "timestamp_granularities[]", "languages[]", "keywords[]", "hotwords", "num_speakers", "sample_rate", "task",
    "known_speaker_names[]", "word_timestamps", "beam_size", "max_line_width",
]  # fmt: skip


@row("A0", "an empty {} is an absent one", TRANSCRIPTIONS, each=EMPTY)
def empty_is_absent(target: Target, name: str) -> None:
    assert "text" in ok(transcribe(target.asr, {name: ""})).json()


@row("A0", "stream={} is yes", TRANSCRIPTIONS, each=["true", "True", "TRUE", "1", "yes", "on", "On"])
def truths(target: Target, value: str) -> None:
    events(transcribe(target.asr, {"stream": value}))


@row("A0", "stream={} is no", TRANSCRIPTIONS, each=["false", "False", "0", "no", "off", "OFF"])
def falsehoods(target: Target, value: str) -> None:
    assert "text" in ok(transcribe(target.asr, {"stream": value})).json()


@row("A0", "temperature={} is a number", TRANSCRIPTIONS, each=["0", "0.2", "1", "0.0"])
def numbers(target: Target, value: str) -> None:
    ok(transcribe(target.asr, {"temperature": value}))


GRANULARITIES: list[tuple[str, dict[str, Any]]] = [
    ("x[] repeated", {"timestamp_granularities[]": ["word", "segment"]}),
    ("x repeated", {"timestamp_granularities": ["word", "segment"]}),
    ("x[0], x[1]", {"timestamp_granularities[0]": "word", "timestamp_granularities[1]": "segment"}),
    ("joined by commas", {"timestamp_granularities": "word,segment"}),
    ("a JSON array", {"timestamp_granularities": '["word", "segment"]'}),
    ("x[] with a JSON array", {"timestamp_granularities[]": '["word"]'}),
    ("x, one value", {"timestamp_granularities": "word"}),
]


@row("A0", "an array as {}", TRANSCRIPTIONS, each=GRANULARITIES)
def arrays(target: Target, given: tuple[str, dict[str, Any]]) -> None:
    body = ok(transcribe(target.asr, {"response_format": "verbose_json", **given[1]}, audio=target.speech)).json()
    assert body["words"]
    assert body["segments"]


STRATEGIES: list[tuple[str, dict[str, str]]] = [
    ("o[key]", {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "0.4"}),
    ("o.key", {"chunking_strategy.type": "server_vad", "chunking_strategy.silence_duration_ms": "300"}),
    ("JSON", {"chunking_strategy": '{"type": "server_vad", "prefix_padding_ms": 200}'}),
    ("auto", {"chunking_strategy": "auto"}),
]


@row("A0", "an object as {}", TRANSCRIPTIONS, each=STRATEGIES)
def objects(target: Target, given: tuple[str, dict[str, str]]) -> None:
    ok(transcribe(target.asr, given[1]))


@row("A0", "an object's spelling {} is read, not ignored", TRANSCRIPTIONS, each=STRATEGIES[:3])
def objects_are_read(target: Target, given: tuple[str, dict[str, str]]) -> None:
    wrong = {name: value.replace("server_vad", "magic") for name, value in given[1].items()}
    error = envelope(transcribe(target.asr, wrong))
    assert str(error["param"]).startswith("chunking_strategy"), error
    assert "server_vad" in error["message"], error


@row("A0", "the file first, last or in between", TRANSCRIPTIONS)
def field_order(target: Target) -> None:
    audio = ("file", ("a.wav", media.tone(), "audio/wav"))
    fields = [("response_format", (None, "verbose_json")), ("language", (None, "de"))]
    orders = ([audio, *fields], [*fields, audio], [fields[0], audio, fields[1]])
    for order in orders:
        assert ok(target.asr.post(TRANSCRIBE, files=order)).json()["language"] == "german"


@row("A0", "an upload in chunks without Content-Length", TRANSCRIPTIONS)
def chunked(target: Target) -> None:
    request = httpx.Request("POST", "http://x", files={"file": ("a.wav", media.tone(), "audio/wav")})
    body = request.read()

    def parts() -> Iterator[bytes]:
        for first in range(0, len(body), 10_000):
            yield body[first : first + 10_000]

    answer = target.asr.post(TRANSCRIBE, content=parts(), headers={"content-type": request.headers["content-type"]})
    assert "text" in ok(answer).json()


@row("A0", "a 2 MiB known_speaker_references[] is read", TRANSCRIPTIONS)
def large_field(target: Target) -> None:
    clip = media.data_url(media.wav(media.s16(25, rate=24_000), 24_000))
    fields = {"known_speaker_names[]": ["agent", "customer"], "known_speaker_references[]": [clip, clip]}
    assert len(clip) + len(clip) > 2 << 20
    assert "text" in ok(transcribe(target.asr, fields)).json()


@row("A0", "a 30 MB prompt is refused as too long or truncated, never a 500", TRANSCRIPTIONS)
def huge_prompt(target: Target) -> None:
    answer = transcribe(target.asr, {"prompt": "word " * 6_000_000})
    assert answer.status_code in {HTTP_OK, 400, 413}, answer.status_code
    if answer.status_code != HTTP_OK:
        envelope(answer)


# --- A0: load and leaving


@row("A0", "the work of a client that left ends, and the next request is served", TRANSCRIPTIONS)
def leaving(target: Target) -> None:
    slow = target.special("asr-slow")
    with contextlib.suppress(httpx.ReadTimeout):
        slow.post(TRANSCRIBE, files={"file": ("a", media.tone(300, 311))}, timeout=httpx.Timeout(30, read=0.7))
    until(lambda: calls(str(slow.base_url)) == (0, 0), seconds=10)  # all of it takes 15 s
    ok(transcribe(slow, audio=media.tone(0.5)))


@row("A0", "identical requests in flight share one run", TRANSCRIPTIONS)
def shared_work(target: Target) -> None:
    full = target.special("asr-full")
    with filled(str(full.base_url)):
        for number in range(5):
            with full.stream("POST", TRANSCRIBE, files=recording(number), data={"stream": "true"}) as shared:
                assert shared.status_code == HTTP_OK, "a request of its own would be refused"
                first = next(line for line in shared.iter_lines() if line.startswith("data: "))
                assert json.loads(first.removeprefix("data: "))["type"] == "transcript.text.delta"
        refused(transcribe(full, audio=media.tone(3, 333)), 429, "queue_full")


@row("A0", "HEARTBEAT_SECONDS keeps a waiting client, {}", TRANSCRIPTIONS, each=["json", "srt", "vtt", "text"])
def heartbeat(target: Target, wanted: str) -> None:
    slow = target.special("asr-slow")
    asked = {"files": {"file": media.tone(5, 300 + len(wanted))}, "data": {"response_format": wanted}}
    with contextlib.ExitStack() as waiting:
        waiting.enter_context(stopped(worker(str(slow.base_url))))
        with slow.stream("POST", TRANSCRIBE, **asked) as answer:
            assert answer.status_code == HTTP_OK
            parts = answer.iter_bytes()
            assert next(parts).isspace(), "there is no text yet"
            waiting.close()
            text = b"".join(parts)
    assert text.strip()
    if wanted == "json":
        assert json.loads(text)["text"]


@row("A0", "the body is read at once while the queue is full", "POST /asr")
def reading_under_load(target: Target) -> None:
    full = target.special("asr-full")
    with filled(str(full.base_url)):
        host, port = full.base_url.host, full.base_url.port or 80
        with socket.create_connection((host, port), timeout=5) as peer:
            body = bytes(20_000_000)
            head = f"POST {TRANSCRIBE} HTTP/1.1\r\nhost: {host}\r\ncontent-type: audio/wav\r\n"
            head += f"content-length: {len(body)}"
            started = time.monotonic()
            peer.sendall(head.encode() + b"\r\n\r\n" + body)
            assert time.monotonic() - started < 5
            assert peer.recv(64).startswith(b"HTTP/1.1 ")


# --- A0: headers, keys, origins


@row("A0", "x-request-id and openai-processing-ms on answers and errors", TRANSCRIPTIONS, SPEECH)
def identifying_headers(target: Target) -> None:
    answers = [transcribe(target.asr), transcribe(target.asr, {"language": "xx-nope"}), speak(target.tts)]
    for answer in answers:
        assert answer.headers["x-request-id"]
        assert float(answer.headers["openai-processing-ms"]) >= 0
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


@row("A0", "streams are neither cached, buffered nor compressed", TRANSCRIPTIONS, SPEECH)
def stream_headers(target: Target) -> None:
    for answer in (transcribe(target.asr, {"stream": "true"}), speak(target.tts, stream_format="sse")):
        frames(answer)
        assert "no-cache" in answer.headers["cache-control"]
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in answer.headers
    audio = ok(speak(target.tts, response_format="wav"))
    assert "content-encoding" not in audio.headers
    assert audio.headers["x-accel-buffering"] == "no"


@row("A0", "without keys any bearer is accepted: {!r}", MODELS, each=["Bearer anything", "Bearer ", "Bearer"])
def open_service(target: Target, value: str) -> None:
    # requests, because httpx refuses to send an empty bearer.
    url = str(target.special("asr").base_url).rstrip("/") + TRANSCRIBE
    answer = requests.post(url, files={"file": media.tone()}, headers={"Authorization": value}, timeout=60)
    assert answer.ok, answer.text


ACCEPTED = [
    ("Authorization: Bearer", {"Authorization": f"Bearer {KEY}"}),
    ("api-key", {"api-key": KEY}),
    ("x-api-key", {"x-api-key": KEY}),
    ("a second key", {"Authorization": "Bearer another-key"}),
]


@row("A0", "a key as {}", TRANSCRIPTIONS, SPEECH, each=ACCEPTED)
def accepted_keys(target: Target, given: tuple[str, dict[str, str]]) -> None:
    strict = target.special("asr-strict")
    ok(strict.post(TRANSCRIBE, files={"file": media.tone()}, headers=given[1]))
    ok(target.special("tts-strict").post(SPEAK, json={"input": "Hello."}, headers=given[1]))


@row("A0", "listings and health are never behind the key: {}", each=["/v1/models", "/v1/audio/models", "/health"])
def public_listings(target: Target, path: str) -> None:
    ok(target.special("asr-strict").get(path))
    ok(target.special("tts-strict").get(path))


@row("A0", "the voice list is never behind the key", VOICES)
def public_voices(target: Target) -> None:
    assert ok(target.special("tts-strict").get("/v1/audio/voices")).json()["voices"]


@row("A0", "a key as HTTP Basic password on Bazarr's routes, and only there", "POST /asr")
def basic_password(target: Target) -> None:
    strict = target.special("asr-strict")
    ok(strict.post("/asr?output=srt", files={"audio_file": media.tone()}, auth=("x", KEY)))
    assert strict.post(TRANSCRIBE, files={"file": media.tone()}, auth=("x", KEY)).status_code == 401
    plain_error(strict.post("/asr", files={"audio_file": media.tone()}, auth=("x", "wrong")), 401)


@row("A0", "CORS for configured origins only, without credentials, x-request-id exposed", MODELS)
def cors(target: Target) -> None:
    strict = target.special("asr-strict")
    ours = ok(strict.get("/v1/models", headers={"Origin": "https://app.example"}))
    assert ours.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-request-id" in ours.headers["access-control-expose-headers"].lower()
    assert "access-control-allow-credentials" not in ours.headers
    theirs = ok(strict.get("/v1/models", headers={"Origin": "https://evil.example"}))
    assert "access-control-allow-origin" not in theirs.headers
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization"
    assert strict.options(TRANSCRIBE, headers=asked).is_success
    assert strict.post(TRANSCRIBE, headers={"Origin": "https://app.example"}).status_code == 401


# --- A0.1: every status


@row("A0.1", "400 invalid_value names the field and the allowed values", TRANSCRIPTIONS)
def invalid_value(target: Target) -> None:
    answer = transcribe(target.asr, {"response_format": "mp4"})
    says = ("json", "text", "srt", "verbose_json", "vtt")
    error = refused(answer, 400, "invalid_value", "response_format", says=says)
    assert error["type"] == "invalid_request_error"
    will_fail_again(answer)


@row("A0.1", "400 missing_required_parameter", TRANSCRIPTIONS, SPEECH)
def missing(target: Target) -> None:
    answer = target.asr.post(TRANSCRIBE, data={"model": "whisper-1"})
    refused(answer, 400, "missing_required_parameter", "file")
    refused(target.tts.post(SPEAK, json={"voice": "alloy"}), 400, "missing_required_parameter", "input")
    will_fail_again(answer)


@row("A0.1", "400 invalid_audio", TRANSCRIPTIONS)
def invalid_audio(target: Target) -> None:
    answer = transcribe(target.asr, audio=b"RIFF$\x00\x00\x00WAVEfmt this is not audio" * 9)
    error = envelope(answer)
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_audio", "file"), error
    will_fail_again(answer)


@row("A0.1", "400 unsupported_format for diarized_json and diarize=true without a diarization model", TRANSCRIPTIONS)
def unsupported_format(target: Target) -> None:
    strict = target.special("asr-strict")
    for name, fields in (
        ("response_format", {"response_format": "diarized_json"}),
        ("diarize", {"diarize": "true", "response_format": "verbose_json"}),
        ("response_format", {"response_format": "diarized_json", "stream": "true"}),
    ):
        form: dict[str, Any] = {"files": {"file": ("a.wav", media.tone())}, "data": fields, "headers": {"api-key": KEY}}
        answer = strict.post(TRANSCRIBE, **form)
        refused(answer, 400, "unsupported_format", name)
        will_fail_again(answer)


@row("A0.1", "400 voice_not_found lists the voices", SPEECH)
def voice_not_found(target: Target) -> None:
    known = ok(target.tts.get("/v1/audio/voices")).json()["voices"][0]["id"]
    answer = speak(target.tts, voice="nobody")
    refused(answer, 400, "voice_not_found", "voice", says=(known,))
    will_fail_again(answer)


@row("A0.1", "400 string_above_max_length", SPEECH)
def too_long(target: Target) -> None:
    answer = speak(target.tts, "word " * 40_000)
    refused(answer, 400, "string_above_max_length", "input")
    will_fail_again(answer)


@row("A0.1", "401 invalid_api_key with {}", TRANSCRIPTIONS, each=[("no key", {}), ("a wrong key", {"api-key": "x"})])
def unauthorized(target: Target, given: tuple[str, dict[str, str]]) -> None:
    strict = target.special("asr-strict")
    answer = strict.post(TRANSCRIBE, files={"file": media.tone()}, headers=given[1])
    assert refused(answer, 401, "invalid_api_key")["type"] == "invalid_request_error"
    assert answer.headers["www-authenticate"] == "Bearer"
    refused(target.special("tts-strict").post(SPEAK, json={"input": "x"}, headers=given[1]), 401, "invalid_api_key")


@row("A0.1", "403 forbidden: changes through an open address without keys", "POST /v1/audio/voices")
def forbidden(target: Target) -> None:
    opened = target.special("tts-open")
    files = {"audio_sample": ("a.wav", media.tone(4), "audio/wav")}
    answer = opened.post("/v1/audio/voices", files=files, data={"name": "mine"})
    assert refused(answer, 403, "forbidden")["type"] == "permission_error"
    will_fail_again(answer)
    ok(speak(opened))


@row("A0.1", "404 model_not_found lists the ids", TRANSCRIPTIONS, SPEECH)
def model_not_found(target: Target) -> None:
    known = [each["id"] for each in ok(target.asr.get("/v1/models")).json()["data"]]
    answer = transcribe(target.asr, {"model": "no-such-model"})
    error = refused(answer, 404, "model_not_found", "model")
    assert error["type"] == "invalid_request_error"
    assert set(error["message"].replace(",", " ").replace(";", " ").split()) & set(known), (known, error["message"])
    refused(speak(target.tts, model="no-such-model"), 404, "model_not_found", "model")
    will_fail_again(answer)


@row("A0.1", "404 not_found for {}", each=["/v1/nothing", "/nothing", "/v1/audio/transcriptions/x/y"])
def not_found(target: Target, path: str) -> None:
    refused(target.asr.get(path), 404, "not_found")
    answer = target.tts.post(path)
    refused(answer, 404, "not_found")
    will_fail_again(answer)


@row("A0.1", "405 method_not_allowed with Allow: {} {}", each=[("GET", TRANSCRIBE), ("DELETE", TRANSCRIBE)])
def method_not_allowed(target: Target, given: tuple[str, str]) -> None:
    answer = target.asr.request(*given)
    refused(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


@row("A0.1", "405 method_not_allowed with Allow: speech and voices", SPEECH)
def method_not_allowed_tts(target: Target) -> None:
    refused(target.tts.get(SPEAK), 405, "method_not_allowed")
    answer = target.tts.put("/v1/audio/voices")
    refused(answer, 405, "method_not_allowed")
    assert {"GET", "POST"} <= {each.strip() for each in answer.headers["allow"].split(",")}


@row("A0.1", "409 already_exists", "POST /v1/audio/voices")
def already_exists(target: Target) -> None:
    files = {"audio_sample": ("a.wav", media.tone(4), "audio/wav")}
    tts = target.special("tts")
    made = ok(tts.post("/v1/audio/voices", files=files, data={"name": "conformance-twice"})).json()
    try:
        answer = tts.post("/v1/audio/voices", files=files, data={"name": "conformance-twice"})
        assert refused(answer, 409, "already_exists", "name")["type"] == "conflict"
        will_fail_again(answer)
    finally:
        ok(tts.delete(f"/v1/audio/voices/{made['id']}"))


@row("A0.1", "413 file_too_large, declared, counted, and in JSON", TRANSCRIPTIONS)
def file_too_large(target: Target) -> None:
    strict = target.special("asr-strict")
    key = {"api-key": KEY}
    body = bytes(3 << 20)
    declared = strict.post(TRANSCRIBE, files={"file": body}, headers=key)
    counted = strict.post(TRANSCRIBE, content=iter([body]), headers={**key, "content-type": "audio/wav"})
    audio = {"data": base64.b64encode(body).decode(), "format": "wav"}
    in_json = strict.post(TRANSCRIBE, json={"input_audio": audio}, headers=key)
    for answer in (declared, counted, in_json):
        error = envelope(answer)
        found = (answer.status_code, error["code"], error["type"])
        assert found == (413, "file_too_large", "invalid_request_error"), error
        will_fail_again(answer)


@row("A0.1", "413 within 50 ms of the headers, before the body is sent", TRANSCRIPTIONS)
def refused_at_once(target: Target) -> None:
    strict = target.special("asr-strict")
    host, port = strict.base_url.host, strict.base_url.port or 80
    head = (
        f"POST {TRANSCRIBE} HTTP/1.1\r\nhost: {host}\r\napi-key: {KEY}\r\n"
        "content-type: multipart/form-data; boundary=x\r\ncontent-length: 999999999\r\n\r\n"
    )
    took = []
    for _ in range(3):
        with socket.create_connection((host, port), timeout=5) as peer:
            started = time.monotonic()
            peer.sendall(head.encode())
            assert peer.recv(4096).startswith(b"HTTP/1.1 413")
            took.append(time.monotonic() - started)
    assert min(took) < 0.05, took


@row("A0.1", "413 audio_too_long", TRANSCRIPTIONS)
def audio_too_long(target: Target) -> None:
    strict = target.special("asr-strict")
    answer = strict.post(TRANSCRIBE, files={"file": media.tone(25)}, headers={"api-key": KEY})
    refused(answer, 413, "audio_too_long", "file")
    will_fail_again(answer)


@row("A0.1", "415 unsupported_media_type for {}", TRANSCRIPTIONS, each=["text/html", "application/xml", "image/png"])
def unsupported_media_type(target: Target, kind: str) -> None:
    answer = target.asr.post(TRANSCRIBE, content=b"<x/>", headers={"content-type": kind})
    refused(answer, 415, "unsupported_media_type")
    will_fail_again(answer)
    refused(target.tts.post(SPEAK, content=b"<x/>", headers={"content-type": kind}), 415, "unsupported_media_type")


@row("A0.1", "429 queue_full with Retry-After", TRANSCRIPTIONS)
def queue_full(target: Target) -> None:
    full = target.special("asr-full")
    with filled(str(full.base_url)):
        answer = transcribe(full, audio=media.tone(0.1, 500))
        assert refused(answer, 429, "queue_full")["type"] == "rate_limit_error"
        may_pass_later(answer)
    ok(transcribe(full, audio=media.tone(0.1, 500)))


@row("A0.1", "500 internal_error tells nothing of the inside", TRANSCRIPTIONS)
def internal_error(target: Target) -> None:
    answer = transcribe(target.special("asr"), {"prompt": "fake:error"})
    error = refused(answer, 500, "internal_error")
    assert error["type"] == "server_error"
    assert "Traceback" not in error["message"]
    assert "told to fail" not in error["message"]


@row("A0.1", "503 insufficient_memory or 500 out_of_memory is not sent again", TRANSCRIPTIONS)
def out_of_memory(target: Target) -> None:
    answer = transcribe(target.special("asr"), {"prompt": "fake:out_of_memory"})
    error = envelope(answer)
    assert (answer.status_code, error["code"]) in {(503, "insufficient_memory"), (500, "out_of_memory")}, error
    assert error["type"] == "server_error"
    if answer.status_code == 500:
        assert answer.headers["x-should-retry"] == "false"


@row("A0.1", "503 engine_crashed, then 400 unprocessable_audio for the same file", TRANSCRIPTIONS)
def crashed(target: Target) -> None:
    asr, audio = target.fresh("asr-fragile"), media.tone(1, 601)
    first = transcribe(asr, {"prompt": "fake:crash"}, audio=audio)
    assert refused(first, 503, "engine_crashed")["type"] == "server_error"
    assert first.headers["retry-after"] == "2"
    second = transcribe(asr, {"prompt": "fake:crash"}, audio=audio)
    refused(second, 400, "unprocessable_audio", envelope(second)["param"])
    will_fail_again(second)
    ok(transcribe(asr))


@row("A0.1", "503 model_loading with Retry-After", TRANSCRIPTIONS)
def model_loading(target: Target) -> None:
    answer = transcribe(target.special("asr-loading"))
    assert refused(answer, 503, "model_loading")["type"] == "server_error"
    may_pass_later(answer)


@row("A0.1", "504 deadline_exceeded is not sent again", TRANSCRIPTIONS)
def deadline(target: Target) -> None:
    answer = transcribe(target.special("asr-busy"), audio=media.tone(12, 612))
    error = refused(answer, 504, "deadline_exceeded")
    assert error["type"] in {"timeout", "server_error"}
    will_fail_again(answer)


BROKEN = ["{", '{"input": "a",}', "[]", '"x"', "nul", "\ufeff{}", '{"a":NaN}']


@row("A0.1", "malformed JSON is 400: {!r}", SPEECH, each=BROKEN)
def malformed_json(target: Target, body: str) -> None:
    answer = target.tts.post(SPEAK, content=body.encode(), headers={"content-type": "application/json"})
    envelope(answer)
    assert answer.status_code == 400


WRONG = [
    ("input", {"input": 5}),
    ("input", {"input": ["a"]}),
    ("input", {"input": None}),
    ("speed", {"input": "a", "speed": "fast"}),
    ("speed", {"input": "a", "speed": 9}),
    ("response_format", {"input": "a", "response_format": "exe"}),
    ("stream_format", {"input": "a", "stream_format": "ws"}),
    ("voice", {"input": "a", "voice": 7}),
    ("sample_rate", {"input": "a", "sample_rate": 7}),
    ("language", {"input": "a", "language": "klingon"}),
    ("timestamps", {"input": "a", "timestamps": "letter"}),
]


@row("A0.1", "400, never 422, with the param {}: {}", SPEECH, each=WRONG)
def never_422(target: Target, given: tuple[str, dict[str, Any]]) -> None:
    answer = target.tts.post(SPEAK, json=given[1])
    error = envelope(answer)
    assert (answer.status_code, error["param"]) == (400, given[0]), error
    will_fail_again(answer)


@row("A0.1", "every route answers a wrong method and an empty body in the envelope: {}", each=["asr", "tts"])
def every_route(target: Target, which: str) -> None:
    client = target.asr if which == "asr" else target.tts
    for path, methods in ok(client.get("/openapi.json")).json()["paths"].items():
        filled = path.replace("{model_id}", "x").replace("{", "").replace("}", "")
        for method in {"POST", "PUT", "PATCH"} - ({"PATCH"} if "patch" in methods else set()):
            answer = client.request(method, filled)
            if answer.is_success or answer.is_redirect:
                continue
            if path.startswith(BAZARR) and "openapi" not in path:
                plain_error(answer, answer.status_code)
            elif envelope(answer)["code"] == "not_supported":
                assert answer.status_code == 501
                continue
            assert answer.status_code < 500, (method, path, answer.text)


@row("A0.1", "a broken request line or header never ends in a traceback", TRANSCRIPTIONS)
def broken_http(target: Target) -> None:
    url = target.asr.base_url
    for raw in (b"NONSENSE\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection((url.host, url.port or 80), timeout=5) as peer:
            peer.sendall(raw)
            peer.shutdown(socket.SHUT_WR)
            assert b"Traceback" not in peer.recv(4096)


@row("A0.1", "an error before the body was read reaches a client that sends 40 MB", TRANSCRIPTIONS)
def readable_errors(target: Target) -> None:
    strict = target.special("asr-strict")
    answer = strict.post(TRANSCRIBE, files={"file": bytes(40 << 20)})
    assert answer.status_code in {401, 413}
    envelope(answer)
    for path, status in (("/v1/nothing", 404), ("/v1/models", 405)):
        assert target.asr.post(path, files={"file": bytes(40 << 20)}).status_code == status


@row("A0.1", "/livez answers while the engine is busy", "GET /livez")
def alive(target: Target) -> None:
    full = target.special("asr-full")
    with filled(str(full.base_url)):
        for path in ("/livez", "/health", "/v1/models"):
            assert full.get(path, timeout=10).status_code == HTTP_OK  # the engine is busy for a minute
