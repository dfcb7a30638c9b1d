"""Voices and consents over HTTP; the app runs in the test, as none of this needs a worker."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import threading
import wave
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tts.app import create_app
from tts.settings import TtsSettings
from tts.traces import recording_hash
from utils.audio.pcm import Audio

pytestmark = pytest.mark.anyio
VOICES = "/v1/audio/voices"
CONSENTS = "/v1/audio/voice_consents"
Connect = Callable[..., httpx.AsyncClient]


def recording(seconds: float = 4.0, peak: float = 0.3) -> bytes:
    times = np.arange(round(seconds * 16_000)) / 16_000
    samples = np.rint(peak * 32767 * np.sin(2 * np.pi * 180 * times)).clip(-32768, 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(samples.tobytes())
    return file.getvalue()


SAMPLE = recording()


@pytest.fixture
async def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    """A function that gives a client of a service with these settings."""
    opened: list[tuple[httpx.AsyncClient, Any]] = []
    for name in ("STATE", "TMP", "CACHE"):
        monkeypatch.setenv(f"VOICE_STACK_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("TTS_VOICE_DIR", str(tmp_path / "voices"))

    def start(*, key: str = "", **environment: str) -> httpx.AsyncClient:
        for name, value in {"TTS_MODEL": "fake", "TTS_ENGINE": "fake", **environment}.items():
            monkeypatch.setenv(name, value)
        app = create_app(TtsSettings())
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tts", headers=headers)
        opened.append((client, app.state.service))
        return client

    yield start
    for client, service in opened:
        await client.aclose()
        await service.close()


@pytest.fixture
def client(connect: Connect) -> httpx.AsyncClient:
    return connect()


async def make(client: httpx.AsyncClient, name: str = "anna", sample: bytes = SAMPLE, **fields: str) -> httpx.Response:
    return await client.post(VOICES, data={"name": name, **fields}, files={"audio_sample": ("a.wav", sample)})


async def agree(client: httpx.AsyncClient, name: str = "Anna", language: str = "en-US") -> httpx.Response:
    files = {"recording": ("a.wav", SAMPLE)}
    return await client.post(CONSENTS, data={"name": name, "language": language}, files=files)


def told(answer: httpx.Response, status: int, code: str, param: str | None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    assert answer.headers.get("x-should-retry") == "false"
    return str(error["message"])


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


async def listed(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    return {voice["name"]: voice for voice in (await client.get(VOICES)).json()["voices"]}


async def test_a_voice_from_beginning_to_end(client: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await make(client, language="por", reference_text=" Olá a todos. ", backend="ignored", consent="")
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert re.fullmatch(r"voice_[0-9a-f]{24}", made["id"])
    assert (made["object"], made["name"], made["type"]) == ("audio.voice", "anna", "audio_sample")
    for key in ("anna", made["id"]):
        shown = (await client.get(f"{VOICES}/{key}")).json()
        assert shown["object"] == "audio.voice"
        assert (shown["id"], shown["name"], shown["created_at"]) == (made["id"], "anna", made["created_at"])
        assert (shown["language"], shown["reference_text"], shown["type"]) == ("pt", "Olá a todos.", "cloned")
    assert (await listed(client))["anna"]["id"] == made["id"]
    assert "anna" in (await client.get(VOICES, params={"legacy": "true"})).json()["voices"]

    clip = await client.get(f"{VOICES}/anna/audio")
    assert (clip.headers["content-type"], int(clip.headers["content-length"])) == ("audio/wav", len(clip.content))
    with wave.open(io.BytesIO(clip.content)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 24_000)
        assert sound.getnframes() == pytest.approx(4 * 24_000, abs=1000)

    renamed = await client.patch(f"{VOICES}/anna", json={"name": "ana"})
    assert (renamed.status_code, renamed.json()["id"], renamed.json()["name"]) == (200, made["id"], "ana")
    gone = await client.delete(f"{VOICES}/{made['id']}")
    assert gone.json() == {"id": made["id"], "object": "audio.voice.deleted", "deleted": True}
    told(await client.delete(f"{VOICES}/{made['id']}"), 404, "not_found", None)
    told(await client.get(f"{VOICES}/ana/audio"), 404, "not_found", None)
    assert "ana" not in await listed(client)
    assert files(tmp_path / "voices") == []


@pytest.mark.parametrize("field", ["audio_sample", "file", "audio"])
async def test_the_recording_goes_by_several_names(client: httpx.AsyncClient, field: str) -> None:
    answer = await client.post(VOICES, data={"name": "anna"}, files={field: ("blob", SAMPLE)})
    assert answer.status_code == 200, answer.text


async def test_the_alias_without_a_prefix(client: httpx.AsyncClient) -> None:
    answer = await client.post("/audio/voices/", data={"name": "anna"}, files={"audio_sample": ("a.wav", SAMPLE)})
    assert answer.status_code == 200, answer.text
    assert (await client.get("/audio/voices/anna")).status_code == 200


async def test_nothing_of_a_deleted_voice_is_left(
    client: httpx.AsyncClient, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = (await make(client)).json()["id"]
    clip = (await client.get(f"{VOICES}/anna/audio")).content
    assert (await client.post("/v1/audio/speech", json={"input": "Hello.", "voice": "anna"})).status_code == 200
    with wave.open(io.BytesIO(clip)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32) / np.float32(32768)
    latents = tmp_path / "cache" / "engines" / "tts" / "some-engine"
    latents.mkdir(parents=True)
    (latents / f"{recording_hash(Audio(samples, 24_000))}-model.npz").touch()
    (latents / "0123-model.npz").touch()
    assert (await client.delete(f"{VOICES}/anna")).status_code == 200
    assert [path.name for path in files(tmp_path / "cache")] == ["0123-model.npz"]
    assert f"voice {made} is forgotten" in capfd.readouterr().err


async def test_the_folder_is_looked_into_once_per_request_and_never_by_the_event_loop(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect()
    folder = tmp_path / "voices"
    folder.mkdir()
    (folder / "ben_en.wav").write_bytes(SAMPLE)
    looks: list[str] = []
    scandir = os.scandir

    def seen(path: Any = ".") -> Any:
        if path == folder:
            looks.append(threading.current_thread().name)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", seen)
    for path in (VOICES, f"{VOICES}/ben_en", "/v1/capabilities", "/v1/models", "/v1/audio/models"):
        looks.clear()
        assert (await client.get(path)).status_code == 200
        assert len(looks) == 1, path
        assert threading.current_thread().name not in looks, path
    looks.clear()
    told(
        await client.post("/v1/audio/speech", json={"input": "Hello.", "voice": "nobody"}),
        400,
        "voice_not_found",
        "voice",
    )
    told(await client.delete(f"{VOICES}/fake_anna"), 403, "forbidden", None)
    assert len(looks) == 2
    assert threading.current_thread().name not in looks


async def test_the_model_of_a_voice_is_one_that_speaks_with_it(connect: Connect, tmp_path: Path) -> None:
    client = connect()
    made = (await make(client)).json()["id"]
    assert (await listed(client))["anna"]["model"] == "fake"
    assert (await client.get(f"{VOICES}/{made}")).json()["model"] == "fake"
    assert (await client.patch(f"{VOICES}/{made}", json={"name": "ana"})).json()["model"] == "fake"
    other = connect(TTS_MODEL="kokoro", TTS_ENGINE="kokoro")
    assert (await other.get(f"{VOICES}/{made}")).json()["model"] is None


async def test_what_a_request_for_a_voice_may_not_say(client: httpx.AsyncClient, tmp_path: Path) -> None:
    invalid, missing = "invalid_value", "missing_required_parameter"
    told(await make(client, ""), 400, missing, "name")
    for name in ("Anna", "a b", "../anna", "a/b", "ä", "x" * 65, "voice_" + "0" * 24):
        assert "a-z" in told(await make(client, name), 400, invalid, "name")
    told(await make(client, language="klingon"), 400, invalid, "language")
    told(await make(client, reference_text="x" * 4097), 400, "string_above_max_length", "reference_text")
    told(await make(client, type="prompt", prompt="a deep voice"), 400, "unsupported_parameter", "type")
    assert "audio_sample" in told(await make(client, type="other"), 400, invalid, "type")
    told(await make(client, consent="cons_1"), 400, invalid, "consent")
    told(await make(client, sample=b""), 400, "invalid_audio", "audio_sample")
    told(await make(client, sample=recording(2.5)), 400, "invalid_audio", "audio_sample")
    told(await make(client, sample=recording(61)), 400, "invalid_audio", "audio_sample")
    told(await make(client, sample=recording(peak=0.0)), 400, "invalid_audio", "audio_sample")
    told(await make(client, sample=recording(peak=4.0)), 400, "invalid_audio", "audio_sample")
    told(await make(client, sample=b"no recording " * 99), 400, "unsupported_format", "audio_sample")
    told(await make(client, sample=SAMPLE + bytes(10 << 20)), 413, "file_too_large", "audio_sample")
    told(await make(client, sample=bytes(12 << 20)), 413, "file_too_large", "audio_sample")
    assert files(tmp_path / "voices") == []


async def test_bodies_of_other_kinds(client: httpx.AsyncClient) -> None:
    told(await client.post(VOICES, data={"name": "anna"}), 400, "missing_required_parameter", "audio_sample")
    text = await client.post(VOICES, data={"name": "anna", "audio_sample": "x"})
    told(text, 400, "invalid_value", "audio_sample")
    prompt = await client.post(VOICES, json={"name": "anna", "type": "prompt", "prompt": "deep"})
    told(prompt, 400, "unsupported_parameter", "type")
    told(await client.post(VOICES, json=[1]), 400, "invalid_value", None)
    told(
        await client.post(VOICES, content=b"RIFF", headers={"content-type": "audio/wav"}),
        415,
        "unsupported_media_type",
        None,
    )
    boundary = {"content-type": "multipart/form-data"}
    told(await client.post(VOICES, content=b"--x", headers=boundary), 400, "invalid_value", None)
    two = [("audio_sample", ("a.wav", SAMPLE)), ("file", ("b.wav", SAMPLE))]
    told(await client.post(VOICES, data={"name": "anna"}, files=two), 400, "invalid_value", "audio_sample")


async def test_a_taken_name(client: httpx.AsyncClient, tmp_path: Path) -> None:
    assert (await make(client)).status_code == 200
    (tmp_path / "voices" / "ben_en.wav").write_bytes(SAMPLE)
    for name in ("anna", "ben_en"):
        told(await make(client, name), 409, "already_exists", "name")
    assert (await make(client, "carla")).status_code == 200
    told(await client.patch(f"{VOICES}/carla", json={"name": "anna"}), 409, "already_exists", "name")


async def test_of_many_requests_at_once_one_gets_the_name(client: httpx.AsyncClient, tmp_path: Path) -> None:
    answers = await asyncio.gather(*(make(client) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]
    assert len(files(tmp_path / "voices")) == 2


async def test_a_recording_put_there_by_hand_is_not_ours_to_change(client: httpx.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    by_hand = tmp_path / "voices" / "ben_en.wav"
    by_hand.write_bytes(SAMPLE)
    assert (await client.get(f"{VOICES}/ben_en/audio")).content == SAMPLE
    told(await client.patch(f"{VOICES}/ben_en", json={"name": "other"}), 403, "forbidden", None)
    told(await client.delete(f"{VOICES}/ben_en"), 403, "forbidden", None)
    assert by_hand.read_bytes() == SAMPLE


@pytest.mark.parametrize("key", ["nobody", "..", "%2e%2e%2fetc%2fpasswd", "..%5c", "%00", "%F0%9F%8E%A4", "x" * 3000])
async def test_unknown_voices(client: httpx.AsyncClient, key: str, tmp_path: Path) -> None:
    for answer in (
        await client.get(f"{VOICES}/{key}"),
        await client.get(f"{VOICES}/{key}/audio"),
        await client.patch(f"{VOICES}/{key}", json={"name": "anna"}),
        await client.delete(f"{VOICES}/{key}"),
    ):
        assert answer.status_code in {404, 405}, answer.text
        assert answer.json()["error"]["code"] in {"not_found", "method_not_allowed"}
    assert not (tmp_path / "voices").exists()


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 400, "missing_required_parameter", "name"),
        ({"name": ""}, 400, "missing_required_parameter", "name"),
        ({"name": 1}, 400, "invalid_value", "name"),
        ({"name": "No"}, 400, "invalid_value", "name"),
        ([], 400, "invalid_value", None),
    ],
)
async def test_bad_renamings(client: httpx.AsyncClient, body: Any, status: int, code: str, param: str | None) -> None:
    assert (await make(client)).status_code == 200
    told(await client.patch(f"{VOICES}/anna", json=body), status, code, param)


async def test_consents_from_beginning_to_end(client: httpx.AsyncClient) -> None:
    empty = {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    assert (await client.get(CONSENTS)).json() == empty
    made = (await agree(client)).json()
    assert made["id"].startswith("cons_")
    assert made == {**made, "object": "audio.voice_consent", "name": "Anna", "language": "en-US"}
    one = f"{CONSENTS}/{made['id']}"
    assert (await client.get(one)).json() == made
    assert (await client.post(one, json={"name": "Ana María"})).json() == {**made, "name": "Ana María"}
    other = (await agree(client, "Ben", "de")).json()
    page = (await client.get(CONSENTS, params={"limit": 1})).json()
    assert (page["data"], page["has_more"], page["first_id"], page["last_id"]) == (
        [other],
        True,
        other["id"],
        other["id"],
    )
    rest = (await client.get(CONSENTS, params={"after": other["id"], "limit": ""})).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == ([made["id"]], False)
    assert (await client.delete(one)).json() == {"id": made["id"], "object": "audio.voice_consent", "deleted": True}
    for answer in (await client.get(one), await client.delete(one), await client.post(one, json={"name": "x"})):
        told(answer, 404, "not_found", None)


async def test_what_a_consent_may_not_say(client: httpx.AsyncClient) -> None:
    told(await agree(client, ""), 400, "missing_required_parameter", "name")
    told(await agree(client, "x" * 257), 400, "invalid_value", "name")
    told(await agree(client, "a\nb"), 400, "invalid_value", "name")
    told(await agree(client, language=""), 400, "missing_required_parameter", "language")
    told(await agree(client, language="english (US)"), 400, "invalid_value", "language")
    fields = {"name": "Anna", "language": "en"}
    told(await client.post(CONSENTS, data=fields), 400, "missing_required_parameter", "recording")
    for sample, status, code in (
        (b"", 400, "invalid_audio"),
        (recording(peak=0.0), 400, "invalid_audio"),
        (b"no recording" * 99, 400, "unsupported_format"),
        (bytes((10 << 20) + 1), 413, "file_too_large"),
    ):
        told(await client.post(CONSENTS, data=fields, files={"recording": sample}), status, code, "recording")
    for limit in ("0", "101", "x"):
        told(await client.get(CONSENTS, params={"limit": limit}), 400, "invalid_value", "limit")
    told(await client.get(CONSENTS, params={"after": "cons_1"}), 400, "invalid_value", "after")


async def test_a_voice_outlives_nothing_but_keeps_its_consents_id(client: httpx.AsyncClient, tmp_path: Path) -> None:
    consent = (await agree(client)).json()["id"]
    made = (await make(client, consent=consent)).json()
    assert json.loads((tmp_path / "voices" / f"{made['id']}.json").read_text())["consent"] == consent
    await client.delete(f"{VOICES}/anna")
    assert (await client.get(f"{CONSENTS}/{consent}")).status_code == 200


async def test_consents_where_they_are_required(connect: Connect) -> None:
    client = connect(VOICE_CONSENT="required")
    message = told(await make(client), 400, "missing_required_parameter", "consent")
    assert CONSENTS in message
    told(await make(client, consent="cons_1"), 400, "invalid_value", "consent")
    assert (await make(client, consent=(await agree(client)).json()["id"])).status_code == 200


async def test_consents_where_nobody_asks_for_them(connect: Connect, tmp_path: Path) -> None:
    made = (await make(connect(VOICE_CONSENT="off"), consent="cons_1")).json()
    assert json.loads((tmp_path / "voices" / f"{made['id']}.json").read_text())["consent"] is None


async def test_cloning_switched_off(connect: Connect) -> None:
    told(await make(connect(VOICE_CLONING="false")), 403, "forbidden", None)


async def test_no_model_that_can_clone(connect: Connect, tmp_path: Path) -> None:
    client = connect(TTS_MODEL="kokoro", TTS_ENGINE="kokoro")
    assert "docs/voices.md" in told(await make(client), 501, "not_supported", None)


async def test_nothing_changes_on_an_open_service_without_keys(connect: Connect) -> None:
    client = connect(TTS_HOST="0.0.0.0")
    for answer in (
        await make(client),
        await client.patch(f"{VOICES}/anna", json={"name": "ben"}),
        await client.delete(f"{VOICES}/anna"),
        await agree(client),
        await client.post(f"{CONSENTS}/cons_1", json={"name": "ben"}),
        await client.delete(f"{CONSENTS}/cons_1"),
    ):
        told(answer, 403, "forbidden", None)
    assert (await client.get(VOICES)).status_code == 200
    assert (await make(connect(TTS_HOST="0.0.0.0", API_KEYS="secret", key="secret"))).status_code == 200


async def test_keys_guard_all_but_the_list(connect: Connect) -> None:
    client = connect(API_KEYS="secret")
    assert (await client.get(VOICES)).status_code == 200
    for path in (f"{VOICES}/anna", f"{VOICES}/anna/audio", CONSENTS, f"{CONSENTS}/cons_1"):
        assert (await client.get(path)).status_code == 401, path
    assert (await make(client)).status_code == 401


@pytest.mark.skipif(find_spec("piper") is None, reason="piper-tts is not installed")
async def test_the_voices_of_a_chain_are_those_of_who_can_answer(connect: Connect, tmp_path: Path) -> None:
    piper = tmp_path / "joe"
    piper.mkdir()
    (piper / "joe.onnx").touch()
    about = {"phoneme_id_map": {}, "espeak": {"voice": "en-us"}, "audio": {"sample_rate": 22050}}
    (piper / "joe.onnx.json").write_text(json.dumps(about))
    (tmp_path / "models.toml").write_text(
        "[models.far]\nengine = 'elevenlabs'\ntask = 'tts'\nurl = 'http://127.0.0.1:9'\n"
        "[models.mine]\npath = 'joe'\n[chains]\nboth = ['far', 'mine']\n"
    )
    client = connect(MODELS_FILE=str(tmp_path / "models.toml"))
    voices = (await client.get(VOICES, params={"model": "both"})).json()["voices"]
    assert [(voice["id"], voice["model"]) for voice in voices] == [("joe", "mine")]
    assert (await client.get("/v1/models/both")).json()["id"] == "far"
