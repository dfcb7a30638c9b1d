"""A8: voices and consents."""

from __future__ import annotations

import io
import json
import uuid
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from tests.conformance import media
from tests.conformance.ask import speak
from tests.conformance.checks import envelope, ok, refused, will_fail_again
from tests.conformance.rows import VOICES, Table
from tests.conformance.services import KEY
from tests.conformance.target import Target

table = Table()
row = table.row
PATH = "/v1/audio/voices"
CONSENTS = "/v1/audio/voice_consents"
ADD, CONSENT = f"POST {PATH}", f"POST {CONSENTS}"


def post(
    client: httpx.Client, sample: bytes | None = None, part: str = "audio_sample", **fields: str
) -> httpx.Response:
    content = media.tone(4) if sample is None else sample
    return client.post(PATH, files={part: ("sample.wav", content, "audio/wav")}, data=fields)


@contextmanager
def added(client: httpx.Client, sample: bytes | None = None, **fields: str) -> Iterator[dict[str, Any]]:
    """A voice that is deleted again."""
    voice = ok(post(client, sample, **{"name": a_name(), **fields})).json()
    try:
        yield voice
    finally:
        client.delete(f"{PATH}/{voice['id']}")


def a_name() -> str:
    return f"conformance-{uuid.uuid4().hex[:12]}"


def listed(client: httpx.Client) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in ok(client.get(PATH)).json()["voices"]}


@row("A8", "the list: both id and name in every item", VOICES)
def listing(target: Target) -> None:
    body = ok(target.tts.get(PATH)).json()
    assert body["object"] == "list"
    assert body["voices"]
    for voice in body["voices"]:
        assert {"id", "name", "language", "gender", "model", "type", "created_at"} <= set(voice), voice
        assert isinstance(voice["id"], str)
        assert isinstance(voice["name"], str)
        assert voice["type"] in {"builtin", "cloned"}


@row("A8", "?legacy=true is a list of names", VOICES)
def legacy(target: Target) -> None:
    found = ok(target.tts.get(PATH, params={"legacy": "true"})).json()["voices"]
    assert found
    assert all(isinstance(each, str) for each in found)


@row("A8", "a voice is added, listed, spoken with, fetched, heard and deleted", ADD, VOICES)
def whole_life(target: Target) -> None:
    tts = target.tts
    name = a_name()
    voice = ok(post(tts, media.tone(5), name=name, type="audio_sample", language="en", reference_text="A tone.")).json()
    assert voice["object"] == "audio.voice"
    assert voice["id"].startswith("voice_")
    assert (voice["name"], voice["type"]) == (name, "audio_sample")
    assert type(voice["created_at"]) is int
    assert listed(tts)[voice["id"]]["name"] == name
    assert listed(tts)[voice["id"]]["type"] == "cloned"
    found = ok(tts.get(f"{PATH}/{voice['id']}")).json()
    assert (found["id"], found["name"]) == (voice["id"], name)
    with wave.open(io.BytesIO(ok(tts.get(f"{PATH}/{voice['id']}/audio")).content)) as clip:
        assert (clip.getnchannels(), clip.getsampwidth()) == (1, 2)
        assert 3 <= clip.getnframes() / clip.getframerate() <= 6
    if target.engine == "fake":
        for spelling in (voice["id"], name, {"id": voice["id"]}):
            ok(speak(tts, voice=spelling))
    gone = ok(tts.delete(f"{PATH}/{voice['id']}")).json()
    assert gone == {"id": voice["id"], "object": "audio.voice.deleted", "deleted": True}
    assert voice["id"] not in listed(tts)
    again = tts.delete(f"{PATH}/{voice['id']}")
    refused(again, 404, "not_found")
    refused(tts.get(f"{PATH}/{voice['id']}"), 404, "not_found")
    assert speak(tts, voice=voice["id"]).status_code == 400


@row("A8", "the sample may be named {}", ADD, each=["audio_sample", "file", "audio"])
def part_names(target: Target, part: str) -> None:
    voice = ok(post(target.tts, part=part, name=a_name())).json()
    ok(target.tts.delete(f"{PATH}/{voice['id']}"))


@row("A8", "a sample as {}", ADD, each=["mp3", "ogg", "aac", "flac", "webm", "mp4", "wav"])
def containers(target: Target, name: str) -> None:
    with added(target.tts, media.encoded(name, 4.0)) as voice:
        assert ok(target.tts.get(f"{PATH}/{voice['id']}/audio")).content.startswith(b"RIFF")


NAMES = ["", " ", "Upper", "-dash", "_low", "a b", "a/b", "..", "../x", "ä", "x" * 65, "a.b", "a\x00b", "voice\n"]


@row("A8", "a name that is refused: {!r:.20}", ADD, each=NAMES)
def bad_names(target: Target, name: str) -> None:
    before = set(listed(target.tts))
    answer = post(target.tts, name=name)
    assert (answer.status_code, envelope(answer)["param"]) == (400, "name"), answer.text
    will_fail_again(answer)
    assert set(listed(target.tts)) == before


@row("A8", "names of 1 and of 64 letters", ADD)
def good_names(target: Target) -> None:
    for name in ("q", "0" + "a-_9" * 15 + "abc"):
        with added(target.tts, name=name) as voice:
            assert voice["name"] == name


CLIPS = [
    ("of 2 s", media.tone(2)),
    ("of 61 s", media.tone(61)),
    ("that is silent", media.silence(5)),
    ("that is clipped", media.wav((b"\xff\x7f" * 40 + b"\x01\x80" * 40) * 1000)),
    ("that is empty", b""),
    ("that is no audio", b"text, nothing but text " * 500),
]


@row("A8", "a sample {} is 400", ADD, each=CLIPS)
def bad_samples(target: Target, given: tuple[str, bytes]) -> None:
    before = set(listed(target.tts))
    answer = post(target.tts, given[1], name=a_name())
    assert (answer.status_code, envelope(answer)["param"]) == (400, "audio_sample"), answer.text
    assert set(listed(target.tts)) == before


@row("A8", "a sample over 10 MiB is refused", ADD)
def large_sample(target: Target) -> None:
    answer = post(target.tts, media.wav(media.s16(59, rate=96_000), 96_000), name=a_name())
    assert answer.status_code in {400, 413}, answer.text
    envelope(answer)


@row("A8", "no sample, no name, type=prompt, an unknown type", ADD)
def wrong_fields(target: Target) -> None:
    refused(target.tts.post(PATH, data={"name": a_name()}), 400, "missing_required_parameter", "audio_sample")
    answer = post(target.tts)
    assert (answer.status_code, envelope(answer)["param"]) == (400, "name"), answer.text
    for fields in ({"type": "prompt", "prompt": "an old man"}, {"type": "magic"}):
        answer = post(target.tts, name=a_name(), **fields)
        assert (answer.status_code, envelope(answer)["param"]) == (400, "type"), answer.text
    as_json = target.tts.post(PATH, json={"type": "prompt", "name": a_name(), "prompt": "an old man"})
    assert (as_json.status_code, envelope(as_json)["param"]) == (400, "type"), as_json.text


@row("A8", "a name is taken once: 409, also for five at once", ADD)
def once(target: Target) -> None:
    name = a_name()
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda _: post(target.tts, name=name), range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    voice = next(answer.json() for answer in answers if answer.status_code == 200)
    refused(post(target.tts, name=name), 409, "already_exists", "name")
    ok(target.tts.delete(f"{PATH}/{voice['id']}"))


@row("A8", "PATCH renames", f"PATCH {PATH}/{{id}}")
def rename(target: Target) -> None:
    with added(target.tts) as voice, added(target.tts) as other:
        new = a_name()
        found = ok(target.tts.patch(f"{PATH}/{voice['id']}", json={"name": new})).json()
        assert (found["id"], found["name"]) == (voice["id"], new)
        assert listed(target.tts)[voice["id"]]["name"] == new
        taken = target.tts.patch(f"{PATH}/{voice['id']}", json={"name": other["name"]})
        refused(taken, 409, "already_exists", "name")
        answer = target.tts.patch(f"{PATH}/{voice['id']}", json={"name": "../x"})
        assert (answer.status_code, envelope(answer)["param"]) == (400, "name")
    refused(target.tts.patch(f"{PATH}/voice_nobody", json={"name": a_name()}), 404, "not_found")


@row("A8", "a built-in voice is neither deleted nor renamed: 403", f"DELETE {PATH}/{{id}}")
def builtin(target: Target) -> None:
    voice = next(each["id"] for each in listed(target.tts).values() if each["type"] == "builtin")
    answer = target.tts.delete(f"{PATH}/{voice}")
    refused(answer, 403, "forbidden")
    will_fail_again(answer)
    assert target.tts.patch(f"{PATH}/{voice}", json={"name": a_name()}).status_code == 403
    assert voice in listed(target.tts)


ELSEWHERE = ["..%2f..%2fetc%2fpasswd", "%2e%2e", "..%5cx", "a%00b", "x" * 3000]


@row("A8", "no id is a path: {:.24}", f"DELETE {PATH}/{{id}}", each=ELSEWHERE)
def no_paths(target: Target, path: str) -> None:
    for method in ("GET", "DELETE"):
        answer = target.tts.request(method, f"{PATH}/{path}")
        assert answer.status_code in {400, 404, 414}, answer.text
        envelope(answer)


@row("A8", "a file dropped into the folder is a voice without a restart, of its language", VOICES)
def dropped(target: Target) -> None:
    tts = target.special("tts")
    assert target.services is not None
    folder = target.services.voices_folder("tts")
    for stem in ("conformance_en", "conformance_es"):
        (folder / f"{stem}.wav").write_bytes(media.tone(4))
    try:
        found = listed(tts)
        assert found["conformance_en"]["language"].startswith("en")
        assert found["conformance_es"]["type"] == "cloned"
        for voice in ("conformance_en", "conformance"):
            ok(speak(tts, voice=voice))
    finally:
        for stem in ("conformance_en", "conformance_es"):
            (folder / f"{stem}.wav").unlink(missing_ok=True)
    assert "conformance_en" not in listed(tts)


@row("A8", "nothing outside the folder is touched through a link", f"DELETE {PATH}/{{id}}")
def links(target: Target) -> None:
    tts = target.special("tts")
    assert target.services is not None
    folder = target.services.voices_folder("tts")
    outside = folder.parent / "outside.wav"
    outside.write_bytes(media.tone(4))
    link = folder / "linked_en.wav"
    link.symlink_to(outside)
    try:
        tts.delete(f"{PATH}/linked_en")
        tts.patch(f"{PATH}/linked_en", json={"name": a_name()})
        assert outside.read_bytes() == media.tone(4)
    finally:
        link.unlink(missing_ok=True)


# --- consents


def consent(client: httpx.Client, name: str = "Ada", language: str = "en-US", **more: Any) -> httpx.Response:
    files = {"recording": ("consent.wav", media.tone(4), "audio/wav")}
    return client.post(CONSENTS, files=files, data={"name": name, "language": language}, **more)


def check_consent(found: dict[str, Any]) -> None:
    assert found["id"].startswith("cons_")
    assert found["object"] == "audio.voice_consent"
    assert type(found["created_at"]) is int
    assert isinstance(found["name"], str)
    assert isinstance(found["language"], str)


@row("A8", "a consent is added, fetched, renamed and deleted", CONSENT)
def consent_life(target: Target) -> None:
    tts = target.tts
    made = ok(consent(tts)).json()
    check_consent(made)
    assert (made["name"], made["language"]) == ("Ada", "en-US")
    assert ok(tts.get(f"{CONSENTS}/{made['id']}")).json() == made
    renamed = ok(tts.post(f"{CONSENTS}/{made['id']}", json={"name": "Grace"})).json()
    assert renamed == {**made, "name": "Grace"}
    gone = ok(tts.delete(f"{CONSENTS}/{made['id']}")).json()
    assert gone == {"id": made["id"], "object": "audio.voice_consent", "deleted": True}
    for answer in (
        tts.get(f"{CONSENTS}/{made['id']}"),
        tts.delete(f"{CONSENTS}/{made['id']}"),
        tts.post(f"{CONSENTS}/{made['id']}", json={"name": "x"}),
    ):
        refused(answer, 404, "not_found")


@row("A8", "consents by pages", f"GET {CONSENTS}")
def pages(target: Target) -> None:
    tts = target.tts
    made = [ok(consent(tts, f"page {number}")).json()["id"] for number in range(3)]
    try:
        seen: list[str] = []
        after = ""
        while True:
            page = ok(tts.get(CONSENTS, params={"limit": 2, **({"after": after} if after else {})})).json()
            assert page["object"] == "list"
            ids = [each["id"] for each in page["data"]]
            assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])
            seen += ids
            if not page["has_more"]:
                break
            assert len(ids) == 2
            after = page["last_id"]
        assert len(seen) == len(set(seen))
        assert set(made) <= set(seen)
        for limit in ("0", "101", "x"):
            refused(tts.get(CONSENTS, params={"limit": limit}), 400, "invalid_value", "limit")
    finally:
        for each in made:
            tts.delete(f"{CONSENTS}/{each}")


@row("A8", "what a consent lacks is named", CONSENT)
def wrong_consents(target: Target) -> None:
    tts = target.tts
    files = {"recording": ("a.wav", media.tone(4), "audio/wav")}
    for param, answer in (
        ("recording", tts.post(CONSENTS, data={"name": "a", "language": "en"})),
        ("name", tts.post(CONSENTS, files=files, data={"language": "en"})),
        ("language", tts.post(CONSENTS, files=files, data={"name": "a"})),
        ("language", consent(tts, language="klingon!")),
        ("recording", tts.post(CONSENTS, files={"recording": b"text" * 999}, data={"name": "a", "language": "en"})),
    ):
        assert (answer.status_code, envelope(answer)["param"]) == (400, param), (param, answer.text)


@row("A8", "VOICE_CONSENT=required: 400 without a valid consent; deleting the voice keeps it", ADD, CONSENT)
def required(target: Target) -> None:
    strict = target.special("tts-strict")
    with httpx.Client(base_url=strict.base_url, headers={"api-key": KEY}, timeout=60) as client:
        for fields in ({}, {"consent": "cons_nobody"}):
            answer = post(client, name=a_name(), **fields)
            assert (answer.status_code, envelope(answer)["param"]) == (400, "consent"), answer.text
        given = ok(consent(client)).json()["id"]
        voice = ok(post(client, name=a_name(), consent=given)).json()
        ok(client.delete(f"{PATH}/{voice['id']}"))
        ok(client.get(f"{CONSENTS}/{given}"))


@row("A8", "VOICE_CONSENT=optional: a consent that is given must exist", ADD)
def optional(target: Target) -> None:
    answer = post(target.tts, name=a_name(), consent="cons_nobody")
    assert (answer.status_code, envelope(answer)["param"]) == (400, "consent"), answer.text


@row("A8", "keys guard voices and consents, not the list", ADD, CONSENT)
def guarded(target: Target) -> None:
    strict = target.special("tts-strict")
    for answer in (
        post(strict, name=a_name()),
        consent(strict),
        strict.get(CONSENTS),
        strict.delete(f"{PATH}/x"),
    ):
        refused(answer, 401, "invalid_api_key")
    ok(strict.get(PATH))


@row("A8", "VOICE_CLONING=false or an open address without keys: 403", ADD, CONSENT)
def closed(target: Target) -> None:
    opened = target.special("tts-open")
    for answer in (post(opened, name=a_name()), consent(opened), opened.delete(f"{PATH}/x")):
        error = envelope(answer)
        assert (answer.status_code, error["type"], error["code"]) == (403, "permission_error", "forbidden"), error


@row("A8", "JSON where a form is due, and a broken form, are 4xx", ADD)
def wrong_bodies(target: Target) -> None:
    for path in (PATH, CONSENTS):
        for kind, body in (("application/json", json.dumps({"name": 5}).encode()), ("multipart/form-data", b"x")):
            answer = target.tts.post(path, content=body, headers={"content-type": kind})
            assert answer.status_code in {400, 415}, answer.text
            envelope(answer)
