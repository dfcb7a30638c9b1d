"""The numbers for Prometheus and the list of capabilities, read by other people's parser from running services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.metrics import Metrics

pytestmark = pytest.mark.e2e
SECOND = b"\1\0" * 8000 + b"\0\1" * 8000


@pytest.fixture(scope="module")
def asr(start_service: Any) -> Iterator[httpx.Client]:
    service = start_service(
        "asr",
        {
            "ASR_MODEL": "fake",
            "ASR_ENGINE": "fake",
            "API_KEYS": "k",
            "ASR_ENGINE_OPTIONS__DELAY": "0.4",
            "HEARTBEAT_SECONDS": "0.2",
            "DIARIZATION_MODEL": "fake-diarizer",
            "DIARIZATION_ENGINE": "fake-diarizer",
        },
    )
    with httpx.Client(base_url=service.url, headers={"api-key": "k"}, timeout=30) as client:
        yield client


def numbers(client: httpx.Client) -> dict[tuple[str, ...], float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def transcribe(client: httpx.Client, seconds: int, **data: str) -> httpx.Response:
    files = {"file": ("a", SECOND * seconds, "audio/pcm")}
    return client.post("/v1/audio/transcriptions", files=files, data=data)


def test_the_numbers_need_the_key(asr: httpx.Client) -> None:
    assert httpx.get(asr.base_url.join("/metrics")).status_code == 401


def test_a_transcription_is_counted(asr: httpx.Client) -> None:
    before = numbers(asr)
    assert transcribe(asr, 3).status_code == 200
    assert transcribe(asr, 3, model="nonsense").status_code == 404
    after = numbers(asr)

    def grown(*key: str) -> float:
        return after[key] - before.get(key, 0.0)

    route = "/audio/transcriptions"
    assert grown("voice_stack_requests_total", "POST", route, "200") == 1
    assert grown("voice_stack_requests_total", "POST", route, "404") == 1
    assert grown("voice_stack_errors_total", "model_not_found") == 1
    assert grown("voice_stack_audio_seconds_total", "fake") == pytest.approx(3.0)
    assert grown("voice_stack_real_time_factor_count", "fake") == 1
    assert grown("voice_stack_real_time_factor_sum", "fake") > 0.3
    assert grown("voice_stack_queue_wait_seconds_count", "fake") == 1
    assert grown("voice_stack_first_byte_seconds_count", route) == 2
    assert after["voice_stack_model_loaded", "fake"] == 1
    assert after["voice_stack_queue_depth", "fake"] == 0
    assert after[("voice_stack_requests_in_progress",)] == 1
    assert after[("process_resident_memory_bytes",)] > 1 << 20


def test_paths_that_clients_make_up_are_no_labels(asr: httpx.Client) -> None:
    for number in range(3):
        asr.get(f"/v1/made-up-{number}")
        asr.request(f"MADE{number}", "/v1/models")
    labels = {label for key in numbers(asr) for label in key}
    assert not [label for label in labels if "made" in label.lower()]
    assert "other" in labels


def test_speech_is_counted(fake_tts: Any) -> None:
    with httpx.Client(base_url=fake_tts.url) as client:
        body = {"input": "One sentence is enough for this.", "response_format": "pcm"}
        before = numbers(client).get(("voice_stack_audio_seconds_total", "fake"), 0.0)
        spoken = len(client.post("/v1/audio/speech", json=body).content) / 48_000
        after = numbers(client)["voice_stack_audio_seconds_total", "fake"]
    assert after - before == pytest.approx(spoken, rel=0.05)


def test_audio_of_no_length_divides_nothing() -> None:
    metrics = Metrics()
    metrics.observe_audio(0.0, 1.0, model="m")
    assert b'voice_stack_audio_seconds_total{model="m"}' not in metrics.text()


def test_a_long_answer_begins_with_blanks_and_is_json_all_the_same(asr: httpx.Client) -> None:
    answer = transcribe(asr, 3)
    assert answer.content.startswith(b" ")
    assert answer.json()["text"]
    assert answer.headers["content-type"] == "application/json"
    assert transcribe(asr, 3, response_format="srt").text.startswith("\n1\n")
    assert transcribe(asr, 3, temperature="x").status_code == 400


def test_what_the_services_can_do_is_true(asr: httpx.Client, fake_tts: Any) -> None:
    can = asr.get("/v1/capabilities").json()
    assert can["service"] == "asr"
    assert can["default_model"] == "fake"
    assert can["auth"] == {"api_key_required": True, "public_listings": True}
    assert can["limits"]["max_upload_bytes"] == 2048 << 20
    for name in can["response_formats"]:
        assert transcribe(asr, 1, response_format=name).status_code == 200
    assert can["features"]["diarization"]
    assert "diarized_json" in can["response_formats"]
    with httpx.Client(base_url=fake_tts.url) as client:
        can = client.get("/capabilities").json()
        for name in can["response_formats"]:
            answer = client.post("/v1/audio/speech", json={"input": "Yes.", "response_format": name})
            assert answer.status_code == 200
        voices = client.get("/v1/audio/voices").json()["voices"]
        assert can["voices"] == len({voice["id"] for voice in voices})


def test_a_tts_model_lists_its_rate_and_voices_as_wyoming_openai_reads_them(fake_tts: Any) -> None:
    with httpx.Client(base_url=fake_tts.url) as client:
        listed = client.get("/v1/models", params={"task": "text-to-speech"}).json()["data"]
        model = next(model for model in listed if model["id"] == "fake")
        assert model["sample_rate"] == 24_000
        assert {"fake_anna", "fake_ben"} <= {voice["name"] for voice in model["voices"]}
        assert client.get("/v1/models", params={"task": "automatic-speech-recognition"}).json()["data"] == []


def test_an_error_inside_streamed_speech_is_counted(fake_tts: Any) -> None:
    with httpx.Client(base_url=fake_tts.url) as client:
        key = ("voice_stack_errors_total", "internal_error")
        before = numbers(client).get(key, 0.0)
        body = {"input": "The first sentence is spoken well. " * 20 + "fake:error", "stream_format": "sse"}
        answer = client.post("/v1/audio/speech", json={**body, "response_format": "pcm"})
        assert answer.text.startswith("event: speech.audio.delta")
        assert "event: error" in answer.text
        assert numbers(client)[key] == before + 1
