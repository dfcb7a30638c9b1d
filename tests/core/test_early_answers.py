"""Answers to requests whose body nobody wants: the client reads them, whatever it is still sending."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests

pytestmark = pytest.mark.e2e
KEY = "the-key"
BODY_BYTES = 64 << 20
MANY = 100 << 20


@pytest.fixture(scope="module")
def small(start_service: Any) -> Any:
    """A service with a key that accepts 1 MiB."""
    return start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "API_KEYS": KEY, "MAX_UPLOAD_MB": "1"})


AUTHORIZED = {"authorization": f"Bearer {KEY}"}
CASES = [
    ("POST", "/v1/audio/transcriptions", {}, 401, "invalid_api_key"),
    ("POST", "/v1/nothing", AUTHORIZED, 413, "file_too_large"),
    ("POST", "/v1/audio/transcriptions", AUTHORIZED, 413, "file_too_large"),
]


def chunks(total: int) -> Iterator[bytes]:
    block = b"\0" * (1 << 20)
    yield from (block for _ in range(total >> 20))


@pytest.mark.parametrize(("method", "path", "headers", "status", "code"), CASES)
def test_requests_reads_the_refusal_of_a_body_it_is_still_sending(
    small: Any, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    with requests.Session() as session:
        for _ in range(2):
            answer = session.request(method, small.url + path, headers=headers, data=b"\0" * BODY_BYTES, timeout=30)
            assert answer.status_code == status
            assert answer.json()["error"]["code"] == code
            assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/audio/transcriptions", 415, "unsupported_media_type"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_httpx_reads_the_refusal_too(
    fake_asr: Any, method: str, path: str, status: int, code: str, *, chunked: bool
) -> None:
    headers = {"content-type": "text/csv"} | ({} if chunked else {"content-length": str(BODY_BYTES)})
    with httpx.Client(base_url=fake_asr.url, timeout=30) as client:
        for _ in range(2):
            answer = client.request(method, path, headers=headers, content=chunks(BODY_BYTES))
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_body_that_grows_too_large_on_the_way_is_refused_readably(small: Any) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield head
        yield from chunks(MANY)

    kind = {"content-type": "multipart/form-data; boundary=b"}
    answer = requests.post(f"{small.url}/v1/audio/transcriptions", headers=AUTHORIZED | kind, data=body(), timeout=30)
    assert answer.status_code == 413
    assert small.leftovers() == []


def test_a_declared_oversize_is_refused_before_a_byte_of_it_is_sent(small: Any) -> None:
    address = urlsplit(small.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as client:
        head = (
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\nApi-Key: {KEY}\r\n\r\n"
        )
        client.sendall(head.encode())
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()
        assert b"file_too_large" in answer
        assert small.leftovers() == []
