"""A9: health, metrics, capabilities, and what must not be there."""

from __future__ import annotations

import time

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.ask import speak, transcribe
from tests.conformance.checks import ok, refused
from tests.conformance.rows import Table
from tests.conformance.services import KEY
from tests.conformance.target import Target

table = Table()
row = table.row
BOTH = ["asr", "tts"]


@row("A9", "{} is 200 and says how it is", "GET /health", each=["/health", "/healthz", "/healthcheck"])
def health(target: Target, path: str) -> None:
    for client in (target.asr, target.tts):
        body = ok(client.get(path)).json()
        assert body["status"] == "ok"
        assert isinstance(body["ready"], bool)
        assert {"engine", "model", "device", "version"} <= set(body)


@row("A9", "liveness never waits for a model; readiness is 503 while it loads", "GET /readyz", "GET /livez")
def loading(target: Target) -> None:
    ok(target.asr.get("/readyz"))
    ok(target.asr.get("/ready"))
    loads = target.special("asr-loading")
    ok(loads.get("/livez", timeout=5))
    body = ok(loads.get("/health", timeout=5)).json()
    assert body["ready"] is False
    for path in ("/readyz", "/ready"):
        assert loads.get(path, timeout=5).status_code == 503


@row("A9", "not served: {} (they mark other servers)", each=["/v1/readyz", "/v1/test", "/v1/ready"])
def not_served(target: Target, path: str) -> None:
    refused(target.asr.get(path), 404, "not_found")
    refused(target.tts.get(path), 404, "not_found")


@row("A9", "/metrics of {} parse and count", "GET /metrics", each=BOTH)
def metrics(target: Target, which: str) -> None:
    client = target.asr if which == "asr" else target.tts
    ok(transcribe(client) if which == "asr" else speak(client))
    wanted = "/audio/transcriptions" if which == "asr" else "/audio/speech"
    deadline = time.monotonic() + 5
    families = _families(client)
    # An answer is counted when its last byte was sent, which its client may know a moment earlier.
    while not any(route.endswith(wanted) for route in _routes(families)):
        assert time.monotonic() < deadline, _routes(families)
        time.sleep(0.05)
        families = _families(client)
    names = " ".join(family.name for family in families)
    for part in ("requests", "queue", "error", "audio_seconds"):
        assert part in names, names


def _families(client: httpx.Client) -> list[Metric]:
    answer = ok(client.get("/metrics"))
    assert answer.headers["content-type"].startswith("text/plain")
    return list(text_string_to_metric_families(answer.text))


def _routes(families: list[Metric]) -> set[str]:
    samples = (sample for family in families for sample in family.samples)
    return {str(sample.labels.get("route") or sample.labels.get("path")) for sample in samples}


@row("A9", "/metrics needs the key when keys are set", "GET /metrics")
def guarded_metrics(target: Target) -> None:
    strict = target.special("asr-strict")
    refused(strict.get("/metrics"), 401, "invalid_api_key")
    ok(strict.get("/metrics", headers={"api-key": KEY}))


@row("A9", "/v1/capabilities of {}: engines, formats, languages, limits, features", "GET /v1/capabilities", each=BOTH)
def capabilities(target: Target, which: str) -> None:
    body = ok((target.asr if which == "asr" else target.tts).get("/v1/capabilities")).json()
    assert {"response_formats", "engines", "languages", "limits", "features"} <= set(body), sorted(body)
    if which == "asr":
        assert {"json", "text", "srt", "verbose_json", "vtt"} <= set(body["response_formats"])
        told, features = body["diarization"], body["features"]
        assert features["diarization"] is ("diarized_json" in body["response_formats"])
        assert features["diarization"] is (told["default_model"] in {each["id"] for each in told["models"]})
        for each in told["models"]:
            kinds = (each[name] for name in ("overlap", "hints", "threshold", "speaker_embeddings"))
            assert all(isinstance(kind, bool) for kind in kinds), each
            assert each["max_speakers"] is None or each["max_speakers"] >= 1, each


@row("A9", "the OpenAPI document of {} is served", "GET /openapi.json", each=BOTH)
def openapi(target: Target, which: str) -> None:
    body = ok((target.asr if which == "asr" else target.tts).get("/openapi.json")).json()
    assert body["openapi"].startswith("3.")
    assert body["paths"]


@row("A9", "an x-request-id of the caller is kept when it is harmless", "GET /health")
def request_ids(target: Target) -> None:
    assert ok(target.asr.get("/health", headers={"x-request-id": "abc-123"})).headers["x-request-id"]
    wild = ok(target.asr.get("/health", headers={"x-request-id": "a b<script>" * 200})).headers["x-request-id"]
    assert "<" not in wild
    assert len(wild) <= 200
