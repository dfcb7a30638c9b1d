"""The diarizer of the ASR service, with a real worker process and the fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from asr.app import create_app
from asr.attributed import transcribe
from asr.diarization.attribution import LABELS, SpeakersAsked
from asr.diarization.engine import DiarizeOptions, Turn
from asr.diarization.service import Diarizer
from asr.service import AsrService
from asr.settings import AsrSettings
from asr.transcript import TranscribeOptions
from core import errors
from core.model_entry import ModelRef
from core.settings import Places
from utils.audio.pcm import PcmFile

pytestmark = pytest.mark.anyio
RATE = 16_000
ANY = DiarizeOptions()


def settings_in(tmp_path: Path, **more: Any) -> AsrSettings:
    places = Places.model_construct(
        cache=tmp_path / "cache", state=tmp_path / "state", tmp=tmp_path / "tmp", models=None
    )
    fakes = {"engine": "fake", "model": "fake", "diarization_engine": "fake-diarizer"}
    return AsrSettings(**{**fakes, "diarization_model": "fake-diarizer", "preload": False, "places": places, **more})


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., AsrService]]:
    """A function that makes a service, which is closed in the end."""
    made: list[AsrService] = []

    def make(**more: Any) -> AsrService:
        made.append(AsrService(settings_in(tmp_path, **more)))
        return made[-1]

    yield make
    for service in made:
        await service.close()


def recording(folder: Path, seconds: float, *, level: float = 3000) -> PcmFile:
    path = folder / "audio.s16"
    frames = round(seconds * RATE)
    path.write_bytes(np.random.default_rng(0).normal(0, level, frames).astype("<i2").tobytes())
    return PcmFile(path, frames, RATE)


def state(diarizer: Diarizer) -> str:
    return diarizer.host.worker(diarizer.resolve(None)).state


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_recording_becomes_turns_while_progress_is_told(serve: Any, tmp_path: Path) -> None:
    service = serve()
    diarizer, shares = service.diarizer, list[float]()
    model = diarizer.resolve(None)
    found = await diarizer.diarize(recording(tmp_path, 6), ANY, model=model, on_progress=shares.append)
    assert found.turns == found.exclusive == (Turn(0.0, 2.0, 0), Turn(2.0, 4.0, 1), Turn(4.0, 6.0, 0))
    assert found.speakers == (0, 1)
    assert {vector.dtype for vector in found.embeddings.values()} == {np.dtype(np.float32)}
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


async def test_a_voiceprint_says_what_it_is(serve: Any, tmp_path: Path) -> None:
    diarizer = serve().diarizer
    model = diarizer.resolve(None)
    found = await diarizer.embed(recording(tmp_path, 2.5), model=model)
    assert (found.seconds, found.facts.model) == (2.5, "fake-voice")
    assert found.vector.shape == (found.facts.size,)
    assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-3)
    with pytest.raises(errors.InvalidAudio) as caught:
        await diarizer.embed(recording(tmp_path, 2.5, level=0), model=model)
    assert caught.value.param == "file"


async def test_facts_of_a_model_that_was_never_loaded_are_known_too(serve: Any) -> None:
    diarizer = serve().diarizer
    assert (await diarizer.facts(diarizer.resolve(None))).model == "fake-voice"


async def test_an_engine_without_voices_says_so_without_being_loaded(serve: Any, tmp_path: Path) -> None:
    diarizer = serve().diarizer
    model = ModelRef(id="stereo", task="speaker-diarization", engine="channels", weightless=True)
    for work in (diarizer.embed(recording(tmp_path, 2), model=model), diarizer.facts(model)):
        with pytest.raises(errors.NotSupported):
            await work
    assert diarizer.host.worker(model).state == "unloaded"
    assert (diarizer.channels(model), diarizer.channels(diarizer.resolve(None))) == (None, 1)


async def test_without_a_model_it_is_told_how_to_get_one(serve: Any) -> None:
    diarizer = serve(diarization_engine="community1", diarization_model="diarization-community1").diarizer
    for name in (None, ""):
        with pytest.raises(errors.NotSupported, match=r"no diarization model is installed; .*pull diarization-comm"):
            diarizer.resolve(name)
    with pytest.raises(errors.ModelNotFound, match="models pull diarization-community1"):
        diarizer.resolve("diarization-community1")
    with pytest.raises(errors.ModelNotFound, match="does not exist"):
        diarizer.resolve("nonsense")


async def test_a_default_that_is_no_model_is_told_as_such(serve: Any) -> None:
    with pytest.raises(errors.NotSupported, match="'nonsense' does not exist"):
        serve(diarization_engine="community1", diarization_model="nonsense").diarizer.resolve(None)


async def test_a_default_that_is_no_model_is_told_to_the_log_at_start(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    serve(diarization_engine="community1", diarization_model="nonsense").diarizer.start()
    assert "DIARIZATION_MODEL: model 'nonsense' does not exist" in caplog.text


async def test_a_default_that_is_a_folder_is_shown_under_the_name_it_is_listed_by(serve: Any, tmp_path: Path) -> None:
    folder = tmp_path / "my-voices"
    folder.mkdir()
    service = serve(diarization_model=str(folder))
    host = service.diarizer.host
    assert host.installed()[0].id == "my-voices"
    assert host.knows("my-voices")
    assert host.knows(str(folder))
    assert not host.knows("other")
    app = create_app(service.settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/v1/models/my-voices")
    assert (answer.status_code, answer.json()["id"]) == (200, "my-voices")


async def test_a_default_there_is_not_is_not_known(serve: Any) -> None:
    host = serve(diarization_engine="community1", diarization_model="nonsense").diarizer.host
    assert host.knows("nonsense")
    assert host.knows("diarization-community1")
    assert not host.knows("other")


async def test_an_engine_there_is_not_keeps_the_service_from_starting(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="no-such"):
        AsrService(settings_in(tmp_path, diarization_engine="no-such"))


async def test_nonsense_is_refused_before_anything_is_loaded(serve: Any, tmp_path: Path) -> None:
    diarizer = serve().diarizer
    with pytest.raises(errors.InvalidRequest) as caught:
        await diarizer.diarize(recording(tmp_path, 2), DiarizeOptions(num_speakers=0), model=diarizer.resolve(None))
    assert caught.value.param == "num_speakers"
    assert state(diarizer) == "unloaded"


async def test_whoever_leaves_ends_the_work(serve: Any, tmp_path: Path) -> None:
    service = serve(diarization_engine_options={"delay": 0.1})
    diarizer, shares = service.diarizer, list[float]()
    audio = recording(tmp_path, 300)
    work = diarizer.diarize(audio, ANY, model=diarizer.resolve(None), on_progress=shares.append)
    task = asyncio.create_task(work)
    await until(lambda: bool(shares))
    (before,) = diarizer.host.workers()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: diarizer.host.workers()[0]["calls"] == 0)
    (after,) = diarizer.host.workers()
    assert (after["pid"], after["state"]) == (before["pid"], "ready"), "the process went on"


async def test_identical_diarizations_in_flight_are_one(serve: Any) -> None:
    service = serve(diarization_engine_options={"delay": 0.1})
    diarizer, model = service.diarizer, service.diarizer.resolve(None)
    shares: list[list[float]] = [[], [], []]

    async def diarized(shares: list[float], sha256: str, options: DiarizeOptions = ANY) -> Any:
        async with service.spool.folder() as folder:
            audio = recording(folder, 8)
            return await diarizer.diarize(audio, options, model=model, sha256=sha256, on_progress=shares.append)

    def running() -> int:
        return sum(worker["calls"] + worker["waiting"] for worker in diarizer.host.workers())

    first = asyncio.create_task(diarized(shares[0], "a"))
    await until(lambda: bool(shares[0]))
    others = [asyncio.create_task(diarized(each, "a")) for each in shares[1:]]
    await until(lambda: all(shares))
    assert running() == 1
    unlike = [
        asyncio.create_task(diarized([], "b")),
        asyncio.create_task(diarized([], "a", DiarizeOptions(max_speakers=3))),
    ]
    await until(lambda: running() == 3)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    found = await asyncio.gather(*others)
    assert found[0].turns == found[1].turns != ()
    assert shares[1] == shares[2]
    await asyncio.gather(*unlike)


async def test_speakers_of_a_text_wait_only_where_the_text_does(serve: Any, tmp_path: Path) -> None:
    service = serve(diarization_engine_options={"delay": 1.0}, max_waiting=1)
    diarizer, model = service.diarizer, service.diarizer.resolve(None)
    await diarizer.host.load(model)
    audio = recording(tmp_path, 100)
    before = [asyncio.create_task(diarizer.diarize(audio, ANY, model=model)) for _ in range(2)]
    await until(lambda: sum(each["calls"] + each["waiting"] for each in diarizer.host.workers()) == 2)

    async def attributed(*, wait: bool) -> None:
        asked = SpeakersAsked(model=model.id)
        text = service.host.resolve(None)
        options = TranscribeOptions(vad=None)
        work = transcribe(service, audio, options, model=text, speakers=asked, naming=LABELS, wait=wait)
        async with work as transcript:
            await transcript.finish()

    with pytest.raises(errors.QueueFull):
        await asyncio.wait_for(attributed(wait=False), 20)
    patient = asyncio.create_task(attributed(wait=True))
    await until(lambda: sum(each["waiting"] for each in diarizer.host.workers()) == 2)
    for each in (*before, patient):
        each.cancel()
    await asyncio.gather(*before, patient, return_exceptions=True)


async def test_a_crash_is_told_and_leaves_the_transcription_alone(serve: Any, tmp_path: Path) -> None:
    service = serve(diarization_engine_options={"fail": "crash"})
    await service.host.load(service.host.resolve(None))
    diarizer = service.diarizer
    with pytest.raises(errors.EngineCrashed):
        await diarizer.diarize(recording(tmp_path, 2), ANY, model=diarizer.resolve(None))
    assert service.ready
    assert service.host.worker(service.host.default()).state == "ready"


async def test_nothing_is_taken_on_while_the_service_shuts_down(serve: Any, tmp_path: Path) -> None:
    service = serve()
    service.drain()
    with pytest.raises(errors.Draining):
        await service.diarizer.diarize(recording(tmp_path, 2), ANY, model=service.diarizer.resolve(None))


@pytest.mark.parametrize("preload", [False, True])
async def test_the_model_is_loaded_at_start_only_when_asked(serve: Any, preload: bool) -> None:
    service = serve(diarization_preload=preload)
    await service.start()
    await service.diarizer.host.loaded()
    assert state(service.diarizer) == ("ready" if preload else "unloaded")


async def test_options_are_for_the_engine_they_were_given_for(serve: Any) -> None:
    diarizer = serve(
        diarization_engine_options={"delay": 0.1}, diarization_idle_unload=7, diarization_threads=3, device_index=(1,)
    ).diarizer
    own = diarizer.spec(diarizer.resolve(None))
    other = diarizer.spec(ModelRef(id="stereo", task="speaker-diarization", engine="channels", weightless=True))
    assert own.config["engine_options"] == {"delay": 0.1}
    assert other.config["engine_options"] == {}
    assert (own.idle_unload, own.config["threads"], own.devices) == (7, 3, (1,))


async def test_health_and_metrics_tell_of_both_workers(serve: Any, tmp_path: Path) -> None:
    service = serve()
    await service.host.load(service.host.resolve(None))
    diarizer = service.diarizer
    await diarizer.diarize(recording(tmp_path, 2), ANY, model=diarizer.resolve(None))
    health = service.health()
    assert (health["engine"], health["model"]) == ("fake", "fake")
    assert [(each["id"], each["state"]) for each in health["workers"]] == [
        ("fake", "ready"),
        ("fake-diarizer", "ready"),
    ]
    families = list(text_string_to_metric_families(service.metrics.text().decode()))
    (loaded,) = [family for family in families if family.name == "voice_stack_model_loaded"]
    assert {sample.labels["model"]: sample.value for sample in loaded.samples} == {"fake": 1.0, "fake-diarizer": 1.0}
    (heard,) = [family for family in families if family.name == "voice_stack_audio_seconds"]
    assert {sample.labels["model"]: sample.value for sample in heard.samples}["fake-diarizer"] == 2.0
