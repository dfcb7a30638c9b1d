"""What a service makes of the jobs that another one left behind, in whatever state."""

from __future__ import annotations

import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from asr.jobs.files import JobFiles
from asr.jobs.job import Chunk, JobRequest, NewJob
from asr.jobs.store import JobStore
from asr.jobs.work import MAX_STARTS
from asr.transcript import TranscribeOptions
from core.errors import EngineCrashed
from utils.audio.pcm import PcmFile

pytestmark = pytest.mark.e2e
FAILED, POISON, LOST = (f"job_{digit * 32}" for digit in "123")


def prepare(state: Path) -> None:
    store, files = JobStore(state / "jobs" / "jobs.db"), JobFiles(state / "jobs")
    for name in (FAILED, POISON, LOST):
        # Samples of 8 bits are not used as they lie there.
        with wave.open(str(state / "sound.wav"), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(1)
            out.setframerate(16_000)
            out.writeframes(bytes(range(256)) * 250)
        files.keep(name, state / "sound.wav")
        request = JobRequest(options=TranscribeOptions())
        store.add(NewJob(id=name, owner="", model="fake", request=request, fingerprint="f"), max_open=9)
    store.fail(FAILED, EngineCrashed("it ended"))
    for name in (POISON, LOST):
        store.begin(name)
    store.decoded(LOST, PcmFile(files.folder(LOST) / "track-0.s16", frames=64_000, sample_rate=16_000))
    for _ in range(MAX_STARTS):
        store.begin_chunk(POISON, Chunk(number=0, start=0, stop=64_000))
    store.close()


@pytest.fixture(scope="module")
def asr(start_service: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    state = tmp_path_factory.mktemp("left")
    prepare(state)
    service = start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "VOICE_STACK_STATE": str(state)})
    with httpx.Client(base_url=f"{service.url}/v1/audio/jobs/", timeout=60) as client:
        yield client


def ended(asr: httpx.Client, name: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (job := asr.get(name).json())["status"] in {"queued", "running"}:
        assert time.monotonic() < deadline, job
        threading.Event().wait(0.05)
    return dict(job)


def test_asking_again_for_the_text_of_a_failed_job_is_no_use(asr: httpx.Client) -> None:
    answer = asr.get(f"{FAILED}/result")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_crashed")
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert "engine_crashed" not in asr.get(str(asr.base_url.copy_with(path="/metrics"))).text, "nothing is wrong now"


def test_a_chunk_that_was_begun_again_and_again_is_given_up(asr: httpx.Client) -> None:
    job = ended(asr, POISON)
    assert (job["status"], job["error"]["code"]) == ("failed", "unprocessable_audio")


def test_decoded_audio_that_is_gone_is_decoded_again(asr: httpx.Client) -> None:
    job = ended(asr, LOST)
    assert (job["status"], job["error"], job["duration"]) == ("completed", None, 4.0)
    assert asr.get(f"{LOST}/result").json()["text"]
