"""The worker process that diarizes, from its first call to its end: killed, idle, beside others, and at a shutdown."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.full_service import stopped, until

pytestmark = pytest.mark.e2e
DIARIZATION, TRANSCRIPTIONS = "/v1/audio/diarization", "/v1/audio/transcriptions"
MODEL = "fake-diarizer"
FAKES = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "DIARIZATION_MODEL": MODEL, "DIARIZATION_ENGINE": MODEL}
LONG = 100
"""Seconds: too long to be let in before others."""


WITH_SPEAKERS: dict[str, Any] = {"path": TRANSCRIPTIONS, "response_format": "diarized_json"}


def post(url: str, path: str = DIARIZATION, *, seconds: int = 4, patience: float = 60, **fields: str) -> httpx.Response:
    """Send samples that are not silent; no two lengths are alike."""
    files = {"file": ("a", (3000).to_bytes(2, "little") * 16_000 * seconds, "audio/pcm")}
    return httpx.post(f"{url}{path}", files=files, data=fields, timeout=patience)


def worker(url: str, model: str = MODEL) -> dict[str, Any]:
    """Return what /health tells of the worker of a model, {} where there is none yet."""
    workers = httpx.get(f"{url}/health", timeout=30).json()["workers"]
    return next((dict(each) for each in workers if each["id"] == model), {})


@contextmanager
def posting(url: str, **how: Any) -> Iterator[Any]:
    """Send a request in a thread; the block is entered once the diarizer has it."""
    before = worker(url)
    with ThreadPoolExecutor(1) as thread:
        sent = thread.submit(post, url, **how)
        until(lambda: sum(worker(url)[what] - before[what] for what in ("calls", "waiting")) > 0)
        yield sent


ROUTES = pytest.mark.parametrize("how", [{}, WITH_SPEAKERS], ids=["diarization", "transcription"])


@ROUTES
def test_a_client_that_leaves_ends_the_diarization(start_service: Any, how: dict[str, Any]) -> None:
    service = start_service("asr", {**FAKES, "DIARIZATION_ENGINE_OPTIONS__DELAY": "0.5"})
    assert post(service.url, seconds=1).status_code == 200
    pid = worker(service.url)["pid"]
    with posting(service.url, seconds=LONG, patience=2, **how) as sent, pytest.raises(httpx.ReadTimeout):
        sent.result()
    until(lambda: worker(service.url)["calls"] == 0, 20)
    assert worker(service.url)["pid"] == pid
    until(lambda: service.leftovers() == [], 20)


@ROUTES
def test_a_diarizer_that_is_killed_is_told_and_comes_back(start_service: Any, how: dict[str, Any]) -> None:
    service = start_service("asr", {**FAKES, "DIARIZATION_ENGINE_OPTIONS__DELAY": "0.5"})
    assert worker(service.url) == {}, "nothing is loaded before it is asked for"
    assert post(service.url, seconds=1).status_code == 200
    pid = worker(service.url)["pid"]
    with posting(service.url, seconds=LONG, **how) as sent:
        os.kill(pid, signal.SIGKILL)
        answer = sent.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_crashed")
    assert post(service.url, seconds=1, **how).status_code == 200
    again = worker(service.url)
    assert (again["state"], again["restarts"]) == ("ready", 1)
    assert again["pid"] != pid
    until(lambda: service.leftovers() == [])


def test_a_shutdown_answers_the_diarization_that_runs_and_leaves_nothing(start_service: Any) -> None:
    service = start_service("asr", FAKES)
    assert post(service.url, seconds=1).status_code == 200
    children = service.children()
    with ExitStack() as halted:
        halted.enter_context(stopped(worker(service.url)["pid"]))
        with posting(service.url, seconds=LONG) as first, posting(service.url, seconds=LONG + 1) as second:
            service.process.send_signal(signal.SIGTERM)
            refused = second.result()
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            assert not first.done()
            halted.close()
            assert first.result().status_code == 200
    assert service.process.wait(20) in {0, -signal.SIGTERM}
    assert len(children) == 2
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert service.leftovers() == []


def test_an_idle_diarizer_is_unloaded_and_loaded_again(start_service: Any) -> None:
    service = start_service("asr", {**FAKES, "DIARIZATION_IDLE_UNLOAD": "0.2"})
    for _ in range(2):
        assert post(service.url).status_code == 200
        until(lambda: worker(service.url)["state"] == "unloaded")
        assert worker(service.url)["pid"] is None
        assert httpx.get(f"{service.url}/readyz", timeout=30).status_code == 200
    assert worker(service.url)["restarts"] == 0


def test_one_place_for_models_is_enough_for_text_and_speakers(start_service: Any) -> None:
    service = start_service("asr", {**FAKES, "MODEL_SLOTS": "1"})
    assert post(service.url, TRANSCRIPTIONS, response_format="diarized_json").status_code == 200
    assert [worker(service.url, model)["state"] for model in ("fake", MODEL)] == ["ready", "ready"]


def test_audio_that_ends_the_diarizer_twice_is_refused(start_service: Any) -> None:
    service = start_service("asr", {**FAKES, "DIARIZATION_ENGINE_OPTIONS__FAIL": "crash"})
    assert post(service.url).json()["error"]["code"] == "engine_crashed"
    for how in (WITH_SPEAKERS, {}, WITH_SPEAKERS):
        answer = post(service.url, **how)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unprocessable_audio")
    assert worker(service.url)["restarts"] <= 2
    assert post(service.url, TRANSCRIPTIONS).status_code == 200, "its text is no danger"
    assert post(service.url, seconds=5).json()["error"]["code"] == "engine_crashed", "no other is blamed"
