"""API keys: every way to send one, and what stays open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from core.auth import ApiKeys
from core.errors import InvalidApiKey

KEY = "correct-key"


@pytest.fixture(scope="module")
def locked(start_service: Any) -> Iterator[httpx.Client]:
    service = start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "API_KEYS": f"other,{KEY}"})
    with httpx.Client(base_url=service.url) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": b"Bearer s\xe9cret"},
        {"api-key": "wrong"},
    ],
)
def test_without_the_key_nothing_is_done(locked: httpx.Client, headers: Any) -> None:
    answer = locked.post("/v1/audio/transcriptions", headers=headers, files={"file": b"x"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "headers",
    [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"api-key": KEY}, {"x-api-key": KEY}],
)
def test_the_key_opens_in_every_usual_header(locked: httpx.Client, headers: dict[str, str]) -> None:
    answer = locked.post("/v1/audio/transcriptions", headers=headers, files={"file": b""})
    assert answer.json()["error"]["code"] == "invalid_audio"


@pytest.mark.parametrize("path", ["/health", "/healthz", "/healthcheck", "/livez", "/readyz", "/v1/models", "/models"])
def test_health_and_listings_stay_open(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/v1/models/fake", "/v1/nothing"])
def test_everything_else_is_closed(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 401


LISTS = ("/models", "/audio/voices", "/audio/voices/", "/audio/models")


@pytest.mark.parametrize("prefix", ["/v1", "/api/v2"])
def test_the_lists_and_nothing_else_below_the_prefix_is_open(prefix: str) -> None:
    keys = ApiKeys([KEY], public_listings=True, prefix=prefix)
    for path in LISTS:
        assert keys.check("GET", path, Headers()) == keys.check("GET", prefix + path, Headers()) == ""
    things = ("/audio/voices/models", "/audio/voice_consents/models", "/audio/jobs/models", "/x/audio/voices")
    for path in (*(prefix + thing for thing in things), *things, f"/other{prefix}/models", prefix):
        with pytest.raises(InvalidApiKey):
            keys.check("GET", path, Headers())
    with pytest.raises(InvalidApiKey):
        keys.check("POST", f"{prefix}/audio/voices", Headers())
    with pytest.raises(InvalidApiKey):
        ApiKeys([KEY], public_listings=False, prefix=prefix).check("GET", f"{prefix}/models", Headers())
