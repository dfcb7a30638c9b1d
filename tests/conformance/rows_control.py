"""A1.1 several models at once: loading and unloading, pulling and deleting, and who stands in for whom."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.conformance import media
from tests.conformance.ask import SPEAK, TRANSCRIBE, speak, transcribe
from tests.conformance.checks import events, ok, refused, will_fail_again
from tests.conformance.rows import SPEECH, TRANSCRIPTIONS, Table
from tests.conformance.services import KEY, PULLED
from tests.conformance.target import Target

table = Table()
row = table.row

PS = "/api/ps"
LOADED, LOAD, UNLOAD = "GET /api/ps", "POST /api/ps/{id}", "DELETE /api/ps/{id}"
PULL, DELETE = "POST /v1/models/{id}", "DELETE /v1/models/{id}"
HEADER = "x-voice-stack-model"
BOTH = ["asr", "tts"]
CHANGES = [("POST", f"{PS}/fake"), ("DELETE", f"{PS}/fake"), ("POST", "/v1/models/fake"), ("DELETE", "/v1/models/fake")]
SECONDS = 60


def client_of(target: Target, which: str) -> httpx.Client:
    return target.special(f"{which}-models")


def told(client: httpx.Client) -> dict[str, Any]:
    """What is loaded, its shape checked."""
    body = ok(client.get(PS)).json()
    assert set(body) == {"models", "details"}
    for each in body["details"]:
        assert set(each) == {"id", "state", "pid", "rss_bytes", "device"}
        assert each["state"] in {"ready", "loading", "failed"}, each
    ready = [each for each in body["details"] if each["state"] == "ready"]
    assert set(body["models"]) == {each["id"] for each in ready}
    assert all(each["pid"] > 0 and each["device"] for each in ready)
    return dict(body)


def be(client: httpx.Client, model: str, *, loaded: bool) -> None:
    """Load or unload a model, whatever it was."""
    if (model in told(client)["models"]) is not loaded:
        ok(client.post(f"{PS}/{model}"), 201) if loaded else ok(client.delete(f"{PS}/{model}"))


@row("A1.1", "GET /api/ps of the {} service: the models that answer, and their processes", LOADED, each=BOTH)
def listing(target: Target, which: str) -> None:
    told(target.asr if which == "asr" else target.tts)


@row("A1.1", "{}: loaded 201, again 409, unloaded 200, again 404", LOAD, UNLOAD, LOADED, each=BOTH)
def loading(target: Target, which: str) -> None:
    client = client_of(target, which)
    be(client, "second", loaded=False)
    ok(client.post(f"{PS}/second"), 201)
    assert "second" in told(client)["models"]
    again = client.post(f"{PS}/second")
    refused(again, 409, "conflict", "model")
    will_fail_again(again)
    ok(client.delete(f"{PS}/second"))
    assert "second" not in told(client)["models"]
    refused(client.delete(f"{PS}/second"), 404, "not_found", "model")


@row("A1.1", "an alias loads its model", LOAD, UNLOAD)
def alias(target: Target) -> None:
    client = client_of(target, "asr")
    be(client, "second", loaded=False)
    assert ok(client.post(f"{PS}/another"), 201).json()["id"] == "second"
    assert ok(client.delete(f"{PS}/another")).json()["id"] == "second"


@row("A1.1", "two models are loaded, and `model` picks the one that answers", TRANSCRIPTIONS, SPEECH, LOADED)
def picking(target: Target) -> None:
    for which in BOTH:
        client = client_of(target, which)
        for model in ("fake", "second"):
            asked = transcribe(client, {"model": model}) if which == "asr" else speak(client, model=model)
            assert ok(asked).headers[HEADER] == model
        assert {"fake", "second"} <= set(told(client)["models"])


@row("A1.1", "409 conflict for a model in use", UNLOAD, DELETE)
def in_use(target: Target) -> None:
    client = client_of(target, "asr")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(transcribe, client, {"model": "slow"}, audio=media.tone(6))
        deadline = time.monotonic() + SECONDS
        while not any(each["id"] == "slow" and each["calls"] for each in client.get("/health").json()["workers"]):
            assert time.monotonic() < deadline
        refused(client.delete(f"{PS}/slow"), 409, "conflict", "model")
        refused(client.delete("/v1/models/slow"), 409, "conflict", "model")
        ok(asked.result(SECONDS))


NAMES = ["no-such-model", "whisper-1", "kokoro", "..%2Fsecond", "chained", "x" * 600]


@row("A1.1", "{} is the name of no model here", LOAD, UNLOAD, PULL, DELETE, each=NAMES)
def no_name(target: Target, name: str) -> None:
    client = client_of(target, "asr")
    for method in ("POST", "DELETE"):
        for path in (PS, "/v1/models"):
            refused(client.request(method, f"{path}/{name}"), 404, "model_not_found", "model")


@row("A1.1", "a model that is known but not pulled is not loaded, and the message says how to pull it", LOAD)
def not_pulled(target: Target) -> None:
    answer = client_of(target, "asr").post(f"{PS}/whisper-small")
    refused(answer, 404, "model_not_found", "model", says=("voice-stack models pull whisper-small",))


@row("A1.1", "pulled 201, again 200, deleted 200, again 404", PULL, DELETE)
def pulling(target: Target) -> None:
    client = client_of(target, "asr")
    model = f"/v1/models/{PULLED}"
    first = ok(client.post(model), 201).json()
    assert (first["id"], first["object"], type(first["size"])) == (PULLED, "model", int)
    assert ok(client.post(model)).json() == first
    assert PULLED in {each["id"] for each in ok(client.get("/v1/models")).json()["data"]}
    assert ok(client.delete(model)).json()["deleted"] is True
    refused(client.delete(model), 404, "model_not_found", "model")


@row("A1.1", "a pull is told of by {}", PULL, each=["stream=true", "Accept: text/event-stream"])
def pull_stream(target: Target, how: str) -> None:
    client = client_of(target, "asr")
    client.delete(f"/v1/models/{PULLED}")
    given: dict[str, Any] = {"params": {"stream": "true"}}
    if how.startswith("Accept"):
        given = {"headers": {"Accept": "text/event-stream"}}
    found = events(client.post(f"/v1/models/{PULLED}", **given))
    assert {each["model"] for each in found} == {PULLED}
    *steps, last = found
    progress = [each for each in steps if each["type"] == "model.pull.progress"]
    assert progress[-1]["completed"] == progress[-1]["total"] == last["size"]
    assert last["type"] == "model.pull.completed"


@row("A1.1", "403 licence_not_accepted until accept_licence=true", PULL)
def licence(target: Target) -> None:
    answer = client_of(target, "tts").post("/v1/models/xtts_v2")
    refused(answer, 403, "licence_not_accepted", "accept_licence", says=("accept_licence=true",))
    will_fail_again(answer)


@row("A1.1", "a flag that is none is 400", PULL)
def wrong_flag(target: Target) -> None:
    answer = client_of(target, "asr").post(f"/v1/models/{PULLED}", params={"stream": "maybe"})
    refused(answer, 400, "invalid_value", "stream")


@row("A1.1", "403 forbidden for what was not pulled", DELETE)
def not_ours(target: Target) -> None:
    client = client_of(target, "asr")
    be(client, "second", loaded=False)
    refused(client.delete("/v1/models/second"), 403, "forbidden", "model")


@row("A1.1", "401 invalid_api_key without a key", LOADED, LOAD, UNLOAD, PULL, DELETE)
def keys(target: Target) -> None:
    strict = target.special("asr-strict")
    for method, path in [("GET", PS), *CHANGES]:
        refused(strict.request(method, path), 401, "invalid_api_key")
    ok(strict.get(PS, headers={"Authorization": f"Bearer {KEY}"}))


@row("A1.1", "403 forbidden through an open address without keys", LOAD, UNLOAD, PULL, DELETE)
def open_address(target: Target) -> None:
    opened = target.special("tts-open")
    for method, path in CHANGES:
        refused(opened.request(method, path), 403, "forbidden")
    told(opened)


@row("A1.1", "the next of a chain answers when the first cannot, and the header says so", TRANSCRIPTIONS, SPEECH)
def chain(target: Target) -> None:
    for which in BOTH:
        client = client_of(target, which)
        for _ in range(2):
            asked = transcribe(client, {"model": "chained"}) if which == "asr" else speak(client, model="chained")
            assert ok(asked).headers[HEADER] == "second"


@row("A1.1", "the next of a chain streams when the first cannot", TRANSCRIPTIONS, SPEECH)
def chain_streams(target: Target) -> None:
    asked = {"model": "chained", "stream": "true"}
    answer = client_of(target, "asr").post(TRANSCRIBE, files={"file": media.tone(6)}, data=asked)
    assert events(answer)[-1]["type"] == "transcript.text.done"
    assert answer.headers[HEADER] == "second"
    asked = {"model": "chained", "input": "Hello there.", "stream_format": "sse"}
    answer = client_of(target, "tts").post(SPEAK, json=asked)
    assert events(answer)[-1]["type"] == "speech.audio.done"
    assert answer.headers[HEADER] == "second"


@row("A1.1", "Bazarr is answered by the next of a chain, too", "POST /asr", "POST /detect-language")
def chain_bazarr(target: Target) -> None:
    client = client_of(target, "asr")
    for path in ("/asr", "/detect-language"):
        answer = client.post(path, params={"model": "chained"}, files={"audio_file": media.tone(6)})
        assert ok(answer).headers[HEADER] == "second"
