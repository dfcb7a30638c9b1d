"""Loading, unloading, pulling and deleting over HTTP: real services with the fake engines, real pulls from a folder.

What is pulled has the names of Whisper's and XTTS's files and nothing in it: no test loads it.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from asr.app import create_app
from asr.settings import AsrSettings
from core.model_store import ModelStore
from core.settings import Places

PS = "/api/ps"
FAKE = {
    "ASR_MODEL": "fake",
    "ASR_ENGINE": "fake",
    "DIARIZATION_MODEL": "fake-diarizer",
    "DIARIZATION_ENGINE": "fake-diarizer",
}
WHISPER = {"config.json": b"{}", "model.bin": b"weights" * 1000, "tokenizer.json": b"{}", "vocabulary.txt": b"a\nb"}
XTTS = {"config.json": b'{"model": "xtts"}', "model.pth": b"weights", "vocab.json": b"{}", "speakers_xtts.pth": b"s"}
MIRRORED = {
    **dict.fromkeys(("whisper-tiny", "whisper-base.en", "whisper-small", "whisper-medium"), WHISPER),
    "xtts_v2": XTTS,
}
WAIT = 60.0
# A second of sound takes half a second.
SLOW = {"ASR_ENGINE_OPTIONS__DELAY": "0.5"}
CHAINED = """
    [models.one]
    engine = "fake"
    task = "asr"

    [models.two]
    engine = "fake"
    task = "asr"

    [models.broken]
    engine = "fake"
    task = "asr"
    options = { load_fails = true }

    [chains]
    two = ["one", "two"]
    pair = ["one", "broken"]
    """


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings with an empty cache, a folder that pulls look into, and no hub."""
    mirror = tmp_path_factory.mktemp("mirror")
    for model, files in MIRRORED.items():
        (mirror / model).mkdir()
        for name, data in files.items():
            (mirror / model / name).write_bytes(data)
    cache = tmp_path_factory.mktemp("cache")
    return {
        "VOICE_STACK_CACHE": str(cache),
        "VOICE_STACK_MODELS": str(mirror),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path_factory.mktemp("hf")),
    }


@pytest.fixture(scope="module")
def cache(folders: dict[str, str]) -> Path:
    return Path(folders["VOICE_STACK_CACHE"])


@pytest.fixture(scope="module")
def asr(start_service: Callable[..., Any], folders: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=start_service("asr", {**FAKE, **SLOW, **folders}).url, timeout=WAIT) as client:
        yield client


@pytest.fixture(scope="module")
def tts(start_service: Callable[..., Any], folders: dict[str, str]) -> Iterator[httpx.Client]:
    env = {"TTS_MODEL": "fake", "TTS_ENGINE": "fake", **folders}
    with httpx.Client(base_url=start_service("tts", env).url, timeout=WAIT) as client:
        yield client


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        threading.Event().wait(0.02)


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """Check an error and return its message."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    return str(error["message"])


def sound(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(np.full(int(seconds * 16_000), 5000, "<i2").tobytes())
    return file.getvalue()


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """Yield the data of a stream's events; the last is {} for [DONE]."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    named = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            named = line.removeprefix("event: ")
        elif line == "data: [DONE]":
            yield {}
        elif line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
            assert data["type"] == named
            yield data


def be_loaded(client: httpx.Client, model: str, *, loaded: bool) -> None:
    """Load or unload a model, whatever it was."""
    if (model in client.get(PS).json()["models"]) is not loaded:
        answer = client.post(f"{PS}/{model}") if loaded else client.delete(f"{PS}/{model}")
        assert answer.is_success, answer.text


@pytest.mark.e2e
class TestLoading:
    def test_loaded_told_unloaded_and_loaded_again(self, asr: httpx.Client) -> None:
        be_loaded(asr, "fake", loaded=False)
        assert "fake" not in asr.get(PS).json()["models"]
        assert refused(asr.delete(f"{PS}/fake"), 404, "not_found") == "the model fake is not loaded"
        answer = asr.post(f"{PS}/fake")
        assert (answer.status_code, answer.json()) == (201, {"id": "fake", "object": "model", "loaded": True})
        assert "loaded already" in refused(asr.post(f"{PS}/fake"), 409, "conflict")
        (row,) = [row for row in asr.get(PS).json()["details"] if row["id"] == "fake"]
        assert set(row) == {"id", "state", "pid", "rss_bytes", "device"}
        assert (row["state"], row["device"]) == ("ready", "cpu")
        assert Path(f"/proc/{row['pid']}").exists()
        answer = asr.delete(f"{PS}/fake")
        assert (answer.status_code, answer.json()) == (200, {"id": "fake", "object": "model", "loaded": False})
        assert not Path(f"/proc/{row['pid']}").exists(), "its memory is free when the answer is there"

    def test_models_of_both_tasks(self, asr: httpx.Client) -> None:
        for model in ("fake", "fake-diarizer"):
            be_loaded(asr, model, loaded=True)
        told = asr.get(PS).json()
        assert told["models"] == ["fake", "fake-diarizer"]
        assert len({row["pid"] for row in told["details"]}) == 2
        be_loaded(asr, "fake-diarizer", loaded=False)
        assert asr.get(PS).json()["models"] == ["fake"]

    def test_a_model_in_use_stays(self, asr: httpx.Client) -> None:
        be_loaded(asr, "fake", loaded=True)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(asr.post, "/v1/audio/transcriptions", files={"file": ("a.wav", sound(6))})
            until(lambda: any(each["calls"] for each in asr.get("/health").json()["workers"]))
            refused(asr.delete(f"{PS}/fake"), 409, "conflict")
            assert asked.result(WAIT).status_code == 200
        until(lambda: asr.delete(f"{PS}/fake").status_code == 200)

    def test_a_request_loads_what_was_unloaded(self, asr: httpx.Client) -> None:
        be_loaded(asr, "fake", loaded=False)
        assert asr.post("/v1/audio/transcriptions", files={"file": ("a.wav", sound(0.5))}).status_code == 200
        assert "fake" in asr.get(PS).json()["models"]

    @pytest.mark.parametrize("name", ["nonsense", "../fake", "kokoro", "whisper-1"])
    def test_names_of_no_model_of_this_service(self, asr: httpx.Client, name: str) -> None:
        for answer in (asr.post(f"{PS}/{name.replace('/', '%2F')}"), asr.delete(f"{PS}/{name.replace('/', '%2F')}")):
            refused(answer, 404, "model_not_found")

    def test_a_model_that_is_not_pulled(self, asr: httpx.Client) -> None:
        message = refused(asr.post(f"{PS}/whisper-large-v3"), 404, "model_not_found")
        assert "voice-stack models pull whisper-large-v3" in message

    def test_it_has_no_prefix(self, asr: httpx.Client) -> None:
        assert asr.get(f"/v1{PS}").status_code == 404

    def test_tts_has_it_too(self, tts: httpx.Client) -> None:
        be_loaded(tts, "fake", loaded=True)
        assert tts.get(PS).json()["models"] == ["fake"]


@pytest.mark.e2e
class TestPulling:
    def test_pulled_installed_and_deleted(self, asr: httpx.Client, cache: Path) -> None:
        answer = asr.post("/v1/models/tiny")
        assert answer.status_code == 201, answer.text
        told = answer.json()
        assert (told["id"], told["object"], told["owned_by"]) == ("whisper-tiny", "model", "openai")
        assert told["size"] == sum(map(len, WHISPER.values()))
        assert told["missing"] == [], "a conversion of somebody else's is a set of its own"
        assert (cache / "models/whisper-tiny/model.bin").read_bytes() == WHISPER["model.bin"]
        again = asr.post("/v1/models/whisper-tiny")
        assert (again.status_code, again.json()) == (200, told)
        assert "whisper-tiny" in {each["id"] for each in asr.get("/v1/models").json()["data"]}
        gone = asr.delete("/v1/models/whisper-tiny")
        assert gone.json() == {"id": "whisper-tiny", "object": "model", "deleted": True, "freed": gone.json()["freed"]}
        assert gone.json()["freed"] > told["size"], "the manifest counts, too"
        assert not (cache / "models/whisper-tiny").exists()
        refused(asr.delete("/v1/models/whisper-tiny"), 404, "model_not_found")

    @pytest.mark.parametrize("how", [{"params": {"stream": "true"}}, {"headers": {"accept": "text/event-stream"}}])
    def test_told_while_it_goes_on(self, asr: httpx.Client, how: dict[str, Any]) -> None:
        asr.delete("/v1/models/whisper-base.en")
        with asr.stream("POST", "/v1/models/whisper-base.en", **how) as answer:
            told = list(events(answer))
        total = sum(map(len, WHISPER.values()))
        steps = [each for each in told if each.get("type") == "model.pull.progress"]
        assert steps[-1]["step"] == "VOICE_STACK_MODELS"
        assert (steps[-1]["completed"], steps[-1]["total"]) == (total, total)
        assert all(each["model"] == "whisper-base.en" for each in told if each)
        assert (told[-2]["type"], told[-2]["size"]) == ("model.pull.completed", total)
        assert told[-1] == {}

    def test_a_stream_of_what_is_there_already(self, asr: httpx.Client) -> None:
        assert asr.post("/v1/models/whisper-base.en").is_success
        with asr.stream("POST", "/v1/models/whisper-base.en", params={"stream": "1"}) as answer:
            assert [each.get("type") for each in events(answer)] == ["model.pull.completed", None]

    def test_it_goes_on_when_its_client_leaves_and_others_join(self, asr: httpx.Client, cache: Path) -> None:
        model, name = "/v1/models/whisper-medium", "whisper-medium"
        # Somebody else's pull: while it has the lock, ours waits.
        with ModelStore(cache).lock(name, on_wait=lambda: None):
            for _ in range(2):
                with asr.stream("POST", model, params={"stream": "true"}) as answer:
                    first = next(events(answer))
                assert (first["type"], first["model"]) == ("model.pull.note", name)
                assert "waiting for another pull" in first["message"]
            assert "pull" in refused(asr.delete(model), 409, "conflict")
            assert asr.get(model).status_code == 404
        until(lambda: asr.get(model).status_code == 200)

    def test_two_who_ask_at_once_get_one_pull(self, asr: httpx.Client, cache: Path) -> None:
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: asr.post("/v1/models/whisper-small"), range(2)))
        assert {answer.status_code for answer in answers} <= {200, 201}
        assert answers[0].json() == answers[1].json()
        assert [path.name for path in (cache / "models").glob(".whisper-small*")] == []

    @pytest.mark.parametrize("stream", ["true", "false"])
    def test_one_that_no_source_has(self, asr: httpx.Client, stream: str) -> None:
        answer = asr.post("/v1/models/whisper-large-v1", params={"stream": stream})
        if answer.status_code == 200:
            # It took longer to find out than a stream waits for a refusal.
            error = list(events(answer))[-1]["error"]
            assert error["code"] == "pull_failed"
            message = error["message"]
        else:
            message = refused(answer, 503, "pull_failed")
        assert "VOICE_STACK_MODELS" in message
        assert "hub " in message

    @pytest.mark.parametrize("stream", ["true", ""])
    def test_a_licence_has_to_be_accepted(self, tts: httpx.Client, stream: str) -> None:
        tts.delete("/v1/models/xtts_v2")
        message = refused(tts.post("/v1/models/xtts_v2", params={"stream": stream}), 403, "licence_not_accepted")
        assert "https://coqui.ai/cpml" in message
        assert "accept_licence=true" in message
        assert tts.post("/v1/models/xtts_v2", params={"accept_licence": "true"}).status_code == 201

    def test_models_of_the_other_service(self, asr: httpx.Client) -> None:
        refused(asr.post("/v1/models/xtts_v2"), 404, "model_not_found")
        refused(asr.delete("/v1/models/xtts_v2"), 404, "model_not_found")

    def test_a_wrong_flag(self, asr: httpx.Client) -> None:
        refused(asr.post("/v1/models/whisper-small.en", params={"stream": "maybe"}), 400, "invalid_value")

    def test_a_loaded_model_is_not_deleted(self, asr: httpx.Client) -> None:
        be_loaded(asr, "fake", loaded=True)
        assert "DELETE /api/ps/fake" in refused(asr.delete("/v1/models/fake"), 409, "conflict")
        be_loaded(asr, "fake", loaded=False)
        refused(asr.delete("/v1/models/fake"), 403, "forbidden")

    def test_what_somebody_put_there_is_not_deleted(self, asr: httpx.Client, cache: Path) -> None:
        own = cache / "models" / "my-whisper"
        own.mkdir(parents=True)
        for name, data in WHISPER.items():
            (own / name).write_bytes(data)
        refused(asr.delete("/v1/models/my-whisper"), 403, "forbidden")
        assert (own / "model.bin").exists()
        assert asr.post("/v1/models/my-whisper").status_code == 200


@pytest.mark.anyio
async def test_where_everybody_may_call_nobody_changes_models(tmp_path: Path) -> None:
    places = Places.model_construct(cache=tmp_path, state=tmp_path, tmp=tmp_path, models=None)
    app = create_app(AsrSettings(engine="fake", model="fake", preload=False, host="0.0.0.0", places=places))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        for method in ("POST", "DELETE"):
            for path in (f"{PS}/fake", "/v1/models/fake", "/v1/models/nonsense"):
                refused(await client.request(method, path), 403, "forbidden")
        assert (await client.get(PS)).json() == {"models": [], "details": []}
    await app.state.service.close()


@pytest.mark.anyio
async def test_an_unknown_name_never_means_the_default(tmp_path: Path) -> None:
    places = Places.model_construct(cache=tmp_path, state=tmp_path, tmp=tmp_path, models=None)
    settings = AsrSettings(engine="fake", model="fake", preload=False, model_fallback=True, places=places)
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        assert (await client.get("/v1/models/nonsense")).status_code == 200
        for path in (f"{PS}/nonsense", "/v1/models/nonsense"):
            refused(await client.post(path), 404, "model_not_found")
            refused(await client.delete(path), 404, "model_not_found")
    await app.state.service.close()


@pytest.mark.anyio
async def test_an_id_means_the_model_also_where_a_chain_has_it(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(CHAINED, encoding="utf-8")
    places = Places.model_construct(
        cache=tmp_path, state=tmp_path, tmp=tmp_path, models=None, models_file=tmp_path / "models.toml"
    )
    app = create_app(AsrSettings(engine="fake", model="one", preload=False, places=places))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        assert "is a chain" in (await client.post(f"{PS}/pair")).json()["error"]["message"]
        assert (await client.post(f"{PS}/two")).json()["id"] == "two"
        assert (await client.get(PS)).json()["models"] == ["two"]
        assert (await client.delete(f"{PS}/two")).status_code == 200
    await app.state.service.close()


@pytest.mark.anyio
async def test_what_failed_to_load_is_unloaded(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(CHAINED, encoding="utf-8")
    places = Places.model_construct(
        cache=tmp_path, state=tmp_path, tmp=tmp_path, models=None, models_file=tmp_path / "models.toml"
    )
    app = create_app(AsrSettings(engine="fake", model="one", preload=False, places=places))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        assert (await client.post(f"{PS}/broken")).status_code == 500
        (row,) = (await client.get(PS)).json()["details"]
        assert (row["id"], row["state"]) == ("broken", "failed")
        assert (await client.delete(f"{PS}/broken")).json() == {"id": "broken", "object": "model", "loaded": False}
        assert (await client.get(PS)).json()["details"] == []
        refused(await client.delete(f"{PS}/broken"), 404, "not_found")
    await app.state.service.close()


@pytest.mark.anyio
async def test_what_somebody_waits_for_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(CHAINED, encoding="utf-8")
    folder = ModelStore(tmp_path).folder("whisper-tiny")
    places = Places.model_construct(
        cache=tmp_path, state=tmp_path, tmp=tmp_path, models=tmp_path / "mirror", models_file=tmp_path / "models.toml"
    )
    mirrored = tmp_path / "mirror" / "whisper-tiny"
    mirrored.mkdir(parents=True)
    for name, data in WHISPER.items():
        (mirrored / name).write_bytes(data)
    app = create_app(AsrSettings(engine="fake", model="one", preload=False, places=places))
    host = app.state.service.host
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        assert (await client.post("/v1/models/whisper-tiny")).status_code == 201
        async with host._pool._room:  # as it is while another model is unloaded
            waiting = asyncio.create_task(host.load(host.resolve("whisper-tiny")))
            await asyncio.sleep(0.1)
            refused(await client.delete("/v1/models/whisper-tiny"), 409, "conflict")
            assert folder.exists()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert (await client.delete("/v1/models/whisper-tiny")).status_code == 200
    assert not folder.exists()
    await app.state.service.close()
