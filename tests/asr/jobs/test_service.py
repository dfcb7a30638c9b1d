"""The jobs inside a service: what they wait for, and what they wait for not."""

from __future__ import annotations

import asyncio
import os
import threading
import wave
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from asr.app import create_app
from asr.diarization.attribution import Attribution, SpeakersAsked
from asr.diarization.engine import Turn
from asr.jobs.files import JobFiles
from asr.jobs.job import OPEN, JobRequest, NewJob
from asr.jobs.service import JobService
from asr.jobs.store import JobStore
from asr.jobs.work import PATIENCE, JobWork
from asr.service import Transcript
from asr.settings import AsrSettings
from asr.transcript import Segment, TranscribeOptions
from core.errors import NotFound, Unavailable
from core.settings import Places
from tests.remote_stubs import serving, whisper_cpp
from utils.audio.pcm import PcmFile
from utils.uploads import UploadedFile

ID = "job_" + "0" * 32


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[JobService]:
    places = Places.model_construct(cache=tmp_path, state=tmp_path / "state", tmp=tmp_path, models=None)
    made = JobService(AsrSettings(engine="fake", model="fake", preload=False, places=places))
    yield made
    await made.close()


@pytest.fixture
async def busy() -> AsyncIterator[None]:
    """The loop has one thread, and that waits."""
    go_on = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    stuck = loop.run_in_executor(None, go_on.wait, 30)
    yield
    go_on.set()
    await stuck


async def test_jobs_do_not_wait_for_the_threads_of_the_uploads(service: JobService, busy: None, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"sound")
    upload = UploadedFile(field="file", filename="", content_type="", path=path, size=5, sha256="0" * 64)
    new = NewJob(id=ID, owner="", model="fake", request=JobRequest(options=TranscribeOptions()), fingerprint="f")
    async with asyncio.timeout(10):
        assert (await service.jobs.submit(new, upload)).status == "queued"
        assert [job.id for job in await service.jobs.page("", limit=9, after=None, status=None)] == [ID]
        assert (await service.jobs.result(ID, owner=""))[1] == []
        with pytest.raises(NotFound):
            await service.jobs.result(ID, owner="another")
        assert (await service.jobs.cancel(ID, owner="")).status == "cancelled"
    assert not (tmp_path / "state" / "jobs" / ID).exists()


async def test_decoded_audio_and_its_name_are_on_the_disk_before_the_job_counts_on_them(
    service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, files = JobStore(tmp_path / "jobs.db"), JobFiles(tmp_path / "jobs")
    with wave.open(str(tmp_path / "upload"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)  # not used as it lies there
        out.setframerate(16_000)
        out.writeframes(bytes(range(256)) * 50)
    files.keep(ID, tmp_path / "upload")
    request = JobRequest(options=TranscribeOptions())
    job, _ = store.add(NewJob(id=ID, owner="", model="fake", request=request, fingerprint="f"), max_open=9)
    synced: list[tuple[int, bool]] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_ino, store.get(ID).pcm is None))
    )
    pcm = await JobWork(service, store, files)._decode(job)
    store.close()
    assert synced == [(pcm.path.stat().st_ino, True), (files.folder(ID).stat().st_ino, True)]


async def test_progress_moves_on_within_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halfway, go_on = asyncio.Event(), asyncio.Event()
    segments_of = Transcript.__aiter__

    async def halting(transcript: Transcript) -> AsyncGenerator[Segment, None]:
        async with aclosing(segments_of(transcript)) as segments:
            async for segment in segments:
                yield segment
                if segment.id == 20:
                    halfway.set()
                    await go_on.wait()

    monkeypatch.setattr(Transcript, "__aiter__", halting)
    path = tmp_path / "upload"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(range(256)) * (125 * 50))
    upload = UploadedFile(field="file", filename="", content_type="", path=path, size=9, sha256="0" * 64)
    places = Places.model_construct(cache=tmp_path, state=tmp_path / "state", tmp=tmp_path, models=None)
    options = {"segment_seconds": 1.0}  # the recording has 50 seconds
    settings = AsrSettings(engine="fake", model="fake", preload=False, places=places, engine_options=options)
    service = JobService(settings)
    try:
        await service.start()
        new = NewJob(id=ID, owner="", model="fake", request=JobRequest(options=TranscribeOptions()), fingerprint="f")
        job = await service.jobs.submit(new, upload)
        seen = [job]
        async with asyncio.timeout(60):
            await halfway.wait()
            seen.append(await service.jobs.get(ID, owner=""))
            go_on.set()
            while job.is_open:
                await asyncio.sleep(0.02)
                job = await service.jobs.get(ID, owner="")
                seen.append(job)
        assert job.status == "completed"
        assert {each.progress for each in seen if each.chunks_done == 0} > {0.0}
        assert [each.progress for each in seen] == sorted(each.progress for each in seen)
    finally:
        await service.close()


async def test_the_prompt_comes_before_the_first_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "upload"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8_000)
        out.writeframes(bytes(range(256)) * (125 * 35))  # 70 seconds
    upload = UploadedFile(field="file", filename="", content_type="", path=path, size=9, sha256="0" * 64)
    places = Places.model_construct(cache=tmp_path, state=tmp_path / "state", tmp=tmp_path, models=None)
    service = JobService(AsrSettings(engine="fake", model="fake", preload=False, places=places))
    shown: list[tuple[str | None, tuple[str, ...]]] = []
    transcribe = service.transcribe

    def watched(audio: PcmFile, options: TranscribeOptions, **more: Any) -> Any:
        shown.append((options.prompt, options.hotwords))
        return transcribe(audio, options, **more)

    monkeypatch.setattr(service, "transcribe", watched)
    try:
        await service.start()
        request = JobRequest(options=TranscribeOptions(prompt="Ada", hotwords=("Grace",)))
        new = NewJob(id=ID, owner="", model="fake", request=request, fingerprint="f")
        job = await service.jobs.submit(new, upload)
        async with asyncio.timeout(60):
            while job.is_open:
                await asyncio.sleep(0.02)
                job = await service.jobs.get(ID, owner="")
        assert (job.status, shown) == ("completed", [("Ada", ("Grace",)), (None, ("Grace",))])
    finally:
        await service.close()


async def test_text_is_kept_while_the_speakers_have_to_be_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "upload"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8_000)
        out.writeframes(bytes(range(256)) * (125 * 35))  # 70 seconds: two chunks
    upload = UploadedFile(field="file", filename="", content_type="", path=path, size=9, sha256="0" * 64)
    places = Places.model_construct(cache=tmp_path, state=tmp_path / "state", tmp=tmp_path, models=None)
    service = JobService(AsrSettings(engine="fake", model="fake", preload=False, places=places, timeout=100))
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    transcribe = service.transcribe

    def watched(audio: PcmFile, options: TranscribeOptions, **more: Any) -> Any:
        texts.append(more["sha256"])
        return transcribe(audio, options, **more)

    async def attribution(*_: Any, **more: Any) -> Attribution:
        calls.append(more)
        if len(calls) > 1:
            return Attribution(turns=(Turn(0.0, 70.0, 0),))
        while (await service.jobs.get(ID, owner="")).chunks_done < 2:
            await asyncio.sleep(0.02)
        raise Unavailable("not now")

    monkeypatch.setattr(service, "transcribe", watched)
    monkeypatch.setattr("asr.jobs.work.attribution", attribution)
    try:
        await service.start()
        request = JobRequest(options=TranscribeOptions(), speakers=SpeakersAsked(model="any"))
        new = NewJob(id=ID, owner="", model="fake", request=request, fingerprint="f")
        job = await service.jobs.submit(new, upload)
        async with asyncio.timeout(60):
            while job.is_open:
                await asyncio.sleep(0.02)
                job = await service.jobs.get(ID, owner="")
    finally:
        await service.close()
    assert (job.status, len(calls)) == ("completed", 2)
    assert texts == [f"{ID}/0", f"{ID}/1"]
    # In one call, so that it has more time than a request.
    assert {(each["wait"], each["timeout"]) for each in calls} == {(True, 100 + PATIENCE * 70)}


async def test_the_log_of_the_database_is_emptied_when_it_tidies_up(
    service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied = threading.Event()
    scrub = JobStore.scrub

    def watched(store: JobStore) -> bool:
        emptied.set()
        return scrub(store)

    monkeypatch.setattr(JobStore, "scrub", watched)
    path = tmp_path / "upload"
    path.write_bytes(b"sound")
    upload = UploadedFile(field="file", filename="", content_type="", path=path, size=5, sha256="0" * 64)
    new = NewJob(id=ID, owner="", model="fake", request=JobRequest(options=TranscribeOptions()), fingerprint="f")
    await service.jobs.submit(new, upload)
    await service.start()
    async with asyncio.timeout(20):
        while not emptied.is_set():
            await asyncio.sleep(0.02)


async def test_a_job_stays_with_its_model_where_a_chain_has_that_name(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(range(256)) * 125)
    upload = UploadedFile(field="file", filename="", content_type="", path=path, size=9, sha256="0" * 64)
    own = tmp_path / "models.toml"
    tables = [f'[models.{name}]\nengine = "fake"\ntask = "asr"' for name in ("one", "two")]
    own.write_text("\n".join([*tables, "[chains]", 'two = ["one", "two"]']), encoding="utf-8")
    places = Places.model_construct(
        cache=tmp_path, state=tmp_path / "state", tmp=tmp_path, models=None, models_file=own
    )
    service = JobService(AsrSettings(engine="fake", model="one", preload=False, places=places))
    try:
        await service.start()
        new = NewJob(id=ID, owner="", model="two", request=JobRequest(options=TranscribeOptions()), fingerprint="f")
        job = await service.jobs.submit(new, upload)
        async with asyncio.timeout(60):
            while job.is_open:
                await asyncio.sleep(0.02)
                job = await service.jobs.get(ID, owner="")
        assert job.status == "completed"
        assert [row["id"] for row in service.host.details() if row["state"] == "ready"] == ["two"]
    finally:
        await service.close()


async def test_a_job_of_a_chains_client_that_has_no_table(tmp_path: Path) -> None:
    path, own = tmp_path / "a.wav", tmp_path / "models.toml"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(range(256)) * 125)
    own.write_text('[models.one]\nengine = "fake"\ntask = "asr"\n[chains]\ndocs = ["whisper-server/far", "one"]\n')
    places = Places.model_construct(
        cache=tmp_path, state=tmp_path / "state", tmp=tmp_path, models=None, models_file=own
    )
    with serving(whisper_cpp) as stub:
        settings = {"engine": "whisper-server", "engine_options": {"url": stub.url}, "model": "one"}
        app = create_app(AsrSettings(**settings, preload=False, places=places))
        service = app.state.service
        try:
            await service.start()
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
                files = {"file": ("a.wav", path.read_bytes())}
                answer = await client.post("/v1/audio/jobs", files=files, data={"model": "docs"})
                assert answer.status_code == 202, answer.text
                async with asyncio.timeout(60):
                    while (job := (await client.get(answer.headers["location"])).json())["status"] in OPEN:
                        await asyncio.sleep(0.02)
                assert (job["status"], job["model"]) == ("completed", "whisper-server/far"), job
                told = await client.get("/v1/models/whisper-server%2Ffar")
                assert told.json()["loaded"]
                assert (await client.delete("/api/ps/whisper-server%2Ffar")).status_code == 200
        finally:
            await service.close()
