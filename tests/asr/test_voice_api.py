"""Voices of people over HTTP; the app runs in the test, with an ear that tells voices by their tones."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import re
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from asr.app import create_app
from asr.diarization.engine import EncoderFacts, Vector, Voiceprint
from asr.settings import AsrSettings
from core.errors import InvalidAudio
from core.model_entry import ModelRef
from tests.folders import contents
from utils.audio.pcm import PcmFile

VOICE = "/v1/voice"
FACTS = EncoderFacts(model="ear", size=2, verify=0.3, identify=0.3)
KEPT = ("register", "identify", "forget")
Connect = Callable[..., httpx.AsyncClient]


def tone(hertz: float, seconds: float = 3.0) -> bytes:
    times = np.arange(round(seconds * 16_000)) / 16_000
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(np.rint(9000 * np.sin(2 * np.pi * hertz * times)).astype("<i2").tobytes())
    return file.getvalue()


ANNA, ANNA_AGAIN, BEN = tone(200), tone(300), tone(900)
SILENCE = tone(0)


def vector(hertz: float) -> Vector:
    """The direction of a tone; voices that are 506 Hz apart have the distance 0.3."""
    angle = hertz / 1000 * np.pi / 2
    return np.asarray([np.cos(angle), np.sin(angle)], dtype=np.float32)


async def listen(audio: PcmFile, *, model: ModelRef) -> Voiceprint:
    """Stands for Diarizer.embed."""
    samples = audio.read()
    if not samples.any():
        raise InvalidAudio("there is too little speech", param="file")
    hertz = np.argmax(np.abs(np.fft.rfft(samples))) / audio.duration
    return Voiceprint(vector(float(hertz)), audio.duration, FACTS)


@pytest.fixture
async def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    """A function that gives a client of a service with these settings."""
    opened: list[tuple[httpx.AsyncClient, Any]] = []
    for name in ("STATE", "TMP", "CACHE"):
        monkeypatch.setenv(f"VOICE_STACK_{name}", str(tmp_path / name.lower()))
    fakes = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake"}
    fakes |= {"DIARIZATION_MODEL": "fake-diarizer", "DIARIZATION_ENGINE": "fake-diarizer", "VOICEPRINTS": "on"}

    def start(*, key: str = "", hears: bool = True, **environment: str) -> httpx.AsyncClient:
        for name, value in {**fakes, **environment}.items():
            monkeypatch.setenv(name, value)
        app = create_app(AsrSettings())
        if hears:
            monkeypatch.setattr(app.state.service.diarizer, "embed", listen)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://asr", headers=headers)
        opened.append((client, app.state.service))
        return client

    yield start
    for client, service in opened:
        await client.aclose()
        await service.close()


@pytest.fixture
def client(connect: Connect) -> httpx.AsyncClient:
    return connect()


def text(recording: bytes) -> str:
    return base64.b64encode(recording).decode()


async def post(client: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    return await client.post(f"{VOICE}/{path}", json=body)


async def register(client: httpx.AsyncClient, name: str, recording: bytes, **fields: Any) -> dict[str, Any]:
    answer = await post(client, "register", name=name, audio=text(recording), **fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def speakers(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await client.get(f"{VOICE}/speakers")
    assert answer.json()["object"] == "list"
    return list(answer.json()["data"])


def told(answer: httpx.Response, status: int, code: str, param: str | None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    assert answer.headers.get("x-should-retry") == "false"
    return str(error["message"])


# --- answers


async def test_a_person_from_beginning_to_end(client: httpx.AsyncClient) -> None:
    made = await register(client, "Anna", ANNA, labels={"team": "blue"})
    assert re.fullmatch(r"spk_[0-9a-f]{24}", made["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["registered_at"])
    assert (made["name"], made["labels"], made["samples"]) == ("Anna", {"team": "blue"}, 1)
    await register(client, "Ben", BEN)
    answer = await post(client, "identify", audio=text(ANNA_AGAIN))
    assert answer.headers["x-voice-stack-model"] == "fake-diarizer"
    first, second = answer.json()["matches"]
    assert (first["id"], first["name"], first["labels"], first["match"]) == (made["id"], "Anna", {"team": "blue"}, True)
    assert 0 < first["distance"] < 0.3 < second["distance"]
    assert 0 < first["confidence"] < 100
    assert (second["name"], second["match"], second["confidence"]) == ("Ben", False, 0)
    assert [person["name"] for person in await speakers(client)] == ["Anna", "Ben"]
    gone = await post(client, "forget", id=made["id"])
    assert (gone.status_code, gone.content) == (204, b"")
    told(await post(client, "forget", id=made["id"]), 404, "not_found", "id")
    left = (await post(client, "identify", audio=text(ANNA))).json()["matches"]
    assert [match["name"] for match in left] == ["Ben"]


async def test_the_same_name_again_is_another_sample(client: httpx.AsyncClient) -> None:
    one = await register(client, "Anna", ANNA)
    other = await register(client, "anna", ANNA_AGAIN)
    assert (other["id"], other["name"], other["samples"]) == (one["id"], "Anna", 2)
    (person,) = await speakers(client)
    assert (person["object"], person["samples"], person["models"]) == ("voice.speaker", 2, ["ear"])
    (match,) = (await post(client, "identify", audio=text(tone(250)))).json()["matches"]
    assert match["distance"] == pytest.approx(0, abs=1e-5)


async def test_identify_takes_the_number_and_the_distance_that_are_asked_for(client: httpx.AsyncClient) -> None:
    assert (await post(client, "identify", audio=text(ANNA))).json()["matches"] == []
    for number in range(7):
        await register(client, f"person {number}", tone(200 + 100 * number))
    for asked, count in (({}, 5), ({"top_k": 2}, 2), ({"top_k": "7"}, 7), ({"top_k": 0}, 5)):
        matches = (await post(client, "identify", audio=text(ANNA), **asked)).json()["matches"]
        assert [match["name"] for match in matches] == [f"person {number}" for number in range(count)]
    strict = (await post(client, "identify", audio=text(tone(230)), threshold=0.0001)).json()["matches"]
    assert not any(match["match"] for match in strict)


async def test_two_recordings_are_of_one_person_or_not(client: httpx.AsyncClient) -> None:
    same = (await post(client, "verify", audio1=text(ANNA), audio2=text(ANNA_AGAIN))).json()
    assert (same["verified"], same["threshold"], same["model"], same["low_confidence"]) == (True, 0.3, "ear", False)
    assert same["confidence"] == pytest.approx((1 - same["distance"] / 0.3) * 100)
    assert same["processing_time_ms"] > 0
    files = {"audio1": ("a.wav", ANNA), "audio2": ("b.wav", BEN)}
    other = (await client.post(f"{VOICE}/verify", files=files)).json()
    assert (other["verified"], other["confidence"]) == (False, 0)
    assert other["distance"] == pytest.approx(1 - float(vector(200) @ vector(900)), abs=1e-3)
    lax = await client.post(f"{VOICE}/verify", files=files, data={"threshold": "1.5"})
    assert (lax.json()["verified"], lax.json()["threshold"]) == (True, 1.5)
    unsaid = await post(client, "verify", audio1=text(ANNA), audio2=text(BEN), threshold=0)
    assert unsaid.json()["threshold"] == 0.3


async def test_a_recording_may_come_in_any_body(client: httpx.AsyncClient) -> None:
    url = f"{VOICE}/embed"
    uri = f"data:audio/wav;base64,{text(ANNA)}"
    answers = [
        await client.post(url, files={"audio": ("a.wav", ANNA)}),
        await client.post(url, files={"file": ("a.wav", ANNA)}),
        await client.post(url, files={"audio": (None, uri.encode())}),
        await client.post(url, data={"audio": text(ANNA)}),
        await client.post(url, json={"audio": uri, "model": None}),
        await client.post(url, json={"file": text(ANNA)}),
        await client.post(url, content=ANNA, headers={"content-type": "audio/wav"}),
        await client.post(url, content=ANNA, headers={"content-type": "video/mp4"}),
        await client.post(url, content=ANNA[44:], headers={"content-type": "audio/pcm; rate=16000"}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        told_of = answer.json()
        assert told_of["embedding"] == pytest.approx(vector(200).tolist(), abs=1e-3)
        assert (told_of["dim"], told_of["model"], told_of["low_confidence"]) == (2, "ear", False)
        assert told_of["seconds"] == pytest.approx(3.0)


async def test_little_speech_is_an_uncertain_voice(client: httpx.AsyncClient) -> None:
    short = text(tone(200, seconds=1.0))
    assert (await post(client, "embed", audio=short)).json()["low_confidence"]
    assert (await post(client, "verify", audio1=text(ANNA), audio2=short)).json()["low_confidence"]
    assert (await register(client, "Anna", tone(200, seconds=1.0)))["low_confidence"]
    assert (await post(client, "identify", audio=short)).json()["low_confidence"]


async def test_nobody_tells_age_or_gender_here(client: httpx.AsyncClient) -> None:
    told(await post(client, "analyze", audio=text(ANNA)), 501, "not_supported", None)


# --- who may


def registry_files(folder: Path) -> dict[str, bytes]:
    """Return the registry's files below a folder by their names."""
    return {path.name: content for path, content in contents(folder).items() if path.name.startswith("speakers.db")}


async def test_nobody_is_kept_while_voiceprints_are_off(connect: Connect, tmp_path: Path) -> None:
    client = connect(VOICEPRINTS="off")
    for path in KEPT:
        message = told(
            await post(client, path, name="Anna", id="spk_1", audio=text(ANNA)), 403, "voiceprints_disabled", None
        )
        assert "VOICEPRINTS=on" in message
    told(await client.get(f"{VOICE}/speakers"), 403, "voiceprints_disabled", None)
    assert (await post(client, "embed", audio=text(ANNA))).status_code == 200
    assert (await post(client, "verify", audio1=text(ANNA), audio2=text(BEN))).status_code == 200
    assert not registry_files(tmp_path)


async def test_voiceprints_are_off_unless_somebody_says_so(connect: Connect) -> None:
    client = connect(VOICEPRINTS="")
    told(await client.get(f"{VOICE}/speakers"), 403, "voiceprints_disabled", None)


async def test_a_service_that_is_open_to_the_network_tells_nobody(connect: Connect) -> None:
    client = connect(ASR_HOST="0.0.0.0")
    for path in KEPT:
        told(await post(client, path, name="Anna", id="spk_1", audio=text(ANNA)), 403, "forbidden", None)
    told(await client.get(f"{VOICE}/speakers"), 403, "forbidden", None)
    assert (await post(client, "embed", audio=text(ANNA))).status_code == 200
    keyed = connect(ASR_HOST="0.0.0.0", API_KEYS="secret", key="secret")
    await register(keyed, "Anna", ANNA)
    assert len(await speakers(keyed)) == 1


# --- what is refused


@pytest.mark.parametrize("audio", ["http://example.com/a.wav", " HTTPS://example.com/a.wav", "file:///etc/passwd"])
@pytest.mark.parametrize("path", ["embed", "verify", "register", "identify"])
async def test_urls_are_not_fetched(path: str, audio: str, client: httpx.AsyncClient) -> None:
    given = {"audio1": audio, "audio2": text(ANNA)} if path == "verify" else {"audio": audio}
    message = told(await post(client, path, name="Anna", **given), 400, "invalid_value", next(iter(given)))
    assert "not fetched" in message
    assert "example.com" not in message


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        (None, "missing_required_parameter"),
        ("", "missing_required_parameter"),
        ("data:audio/wav;base64,", "invalid_audio"),
        ("no base64!", "invalid_value"),
        ("data:audio/wav,plain", "invalid_value"),
        (text(SILENCE), "invalid_audio"),
        (text(b"no audio at all" * 100), "unsupported_format"),
        ([1, 2, 3], "invalid_value"),
    ],
)
async def test_what_is_no_recording_of_a_voice(audio: Any, code: str, client: httpx.AsyncClient) -> None:
    told(await post(client, "embed", audio=audio), 400, code, "audio")
    told(await post(client, "verify", audio1=text(ANNA), audio2=audio), 400, code, "audio2")
    told(await post(client, "register", name="Anna", audio=audio), 400, code, "audio")
    assert await speakers(client) == []


async def test_one_recording_for_each_place(client: httpx.AsyncClient) -> None:
    files = [("audio", ("a.wav", ANNA)), ("file", ("b.wav", BEN))]
    told(await client.post(f"{VOICE}/embed", files=files), 400, "invalid_value", "audio")
    both = await client.post(f"{VOICE}/embed", files=files[:1], data={"audio": text(BEN)})
    told(both, 400, "invalid_value", "audio")


async def test_a_recording_that_is_too_long(client: httpx.AsyncClient) -> None:
    long = tone(200, seconds=301)
    answer = await client.post(f"{VOICE}/embed", files={"audio": ("a.wav", long)})
    assert "300 s" in told(answer, 413, "audio_too_long", "audio")


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("verify", "threshold", "x"),
        ("verify", "threshold", -0.5),
        ("verify", "threshold", 2.5),
        ("verify", "threshold", "nan"),
        ("identify", "threshold", "inf"),
        ("identify", "top_k", -1),
        ("identify", "top_k", 1001),
        ("identify", "top_k", 1.5),
        ("register", "name", "two\nlines"),
        ("register", "name", "x" * 257),
        ("register", "labels", "blue"),
        ("register", "labels", [1]),
        ("register", "labels", {"age": 30}),
    ],
)
async def test_fields_that_make_no_sense(path: str, field: str, value: Any, client: httpx.AsyncClient) -> None:
    sound = {"audio1": text(ANNA), "audio2": text(BEN)} if path == "verify" else {"audio": text(ANNA)}
    body = {"name": "Anna", **sound, field: value}
    told(await post(client, path, **body), 400, "invalid_value", field)
    assert await speakers(client) == []


async def test_what_must_be_named(client: httpx.AsyncClient) -> None:
    told(await post(client, "register", audio=text(ANNA)), 400, "missing_required_parameter", "name")
    told(await post(client, "forget"), 400, "missing_required_parameter", "id")
    told(await post(client, "forget", id="../speakers.db"), 404, "not_found", "id")


async def test_voiceprints_of_another_model(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await register(client, "Anna", ANNA)
    monkeypatch.setitem(globals(), "FACTS", EncoderFacts(model="other", size=2, verify=0.3, identify=0.3))
    message = told(await post(client, "identify", audio=text(ANNA)), 400, "invalid_value", "model")
    assert "are of ear and" in message
    assert "those of other;" in message


async def test_models_that_are_not_there_or_cannot(connect: Connect) -> None:
    client = connect(hears=False)
    answer = await post(client, "embed", audio=text(ANNA), model="nobody-knows-this")
    told(answer, 404, "model_not_found", "model")
    none = connect(hears=False, DIARIZATION_MODEL="diarization-community1", DIARIZATION_ENGINE="community1")
    assert "models pull diarization-community1" in told(
        await post(none, "embed", audio=text(ANNA)), 501, "not_supported", None
    )
    deaf = connect(hears=False, DIARIZATION_MODEL="channels", DIARIZATION_ENGINE="channels")
    told(await post(deaf, "embed", audio=text(ANNA)), 501, "not_supported", "model")
    told(await post(deaf, "embed", audio=text(b"no audio at all" * 100)), 501, "not_supported", "model")


async def test_bodies_that_are_none(client: httpx.AsyncClient) -> None:
    url = f"{VOICE}/embed"
    told(
        await client.post(url, content=b"x", headers={"content-type": "text/plain"}),
        415,
        "unsupported_media_type",
        None,
    )
    told(await client.post(url, content=b"{", headers={"content-type": "application/json"}), 400, "invalid_value", None)
    told(await client.post(url, json=[1]), 400, "invalid_value", None)


# --- nothing is left


async def test_nothing_is_left_of_a_person_who_is_forgotten(
    client: httpx.AsyncClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    person = await register(client, "Zaphod Beeblebrox", ANNA, labels={"planet": "Betelgeuse"})
    await register(client, "Zaphod Beeblebrox", ANNA_AGAIN)
    await post(client, "identify", audio=text(ANNA))
    traces = (
        b"Beeblebrox",
        b"beeblebrox",
        b"Betelgeuse",
        person["id"].encode(),
        vector(200).tobytes(),
        ANNA[1000:1200],
    )

    def found() -> list[bytes]:
        content = b"".join(contents(tmp_path).values())
        return [trace for trace in traces if trace in content]

    assert set(found()) >= set(traces[:3]), "or this test would prove nothing"
    assert (await post(client, "forget", id=person["id"])).status_code == 204
    # The folders of requests are removed in threads that nobody waits for.
    async with asyncio.timeout(10):
        while found():
            await asyncio.sleep(0.02)
    assert registry_files(tmp_path)["speakers.db-wal"] == b""
    logged = json.dumps([record.getMessage() for record in caplog.records if record.name.startswith(("asr", "core"))])
    assert not re.search(r"beeblebrox|betelgeuse|spk_", logged, re.IGNORECASE)
