"""Errors of every kind have one shape, whoever raises them; on Bazarr's routes that shape is text."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from asr.service import AsrService
from asr.settings import AsrSettings
from core import errors
from core.answers import Stream
from core.auth import owner_of, require_changes
from core.dialect import OPENAI, WHISPER_WEBSERVICE, Dialect
from core.disconnect import ClientLeft
from core.errors import VoiceStackError
from core.schemas import model_routes
from core.server import create_service
from core.settings import Places

SHARED = ("asr", "detect-language", "bazarr/asr", "bazarr/nothing")
LONGEST_WAIT = 60


def settings(tmp_path: Path, **more: Any) -> AsrSettings:
    places = Places.model_construct(cache=tmp_path, state=tmp_path, tmp=tmp_path, models=None)
    return AsrSettings(engine="fake", model="fake", preload=False, places=places, **more)


def app_of(tmp_path: Path, dialect: Dialect = WHISPER_WEBSERVICE, **more: Any) -> FastAPI:
    chosen = settings(tmp_path, **more)
    routes = APIRouter()

    @routes.api_route("/raise/{name}", methods=["GET", "POST"], include_in_schema=False)
    async def fail(name: str) -> Response:
        if name == "HTTPException":
            raise HTTPException(418, headers={"x-tea": "yes"})
        if name == "KeyError":
            raise KeyError("/secret/path")
        if name == "ClientLeft":
            raise ClientLeft
        raise getattr(errors, name)("it went wrong", param="field")

    @routes.get("/endless")
    async def endless() -> Response:
        async def parts() -> AsyncGenerator[bytes, None]:
            yield b"data: 1"
            await asyncio.Event().wait()

        return Stream(parts(), media_type="text/event-stream", headers={})

    @routes.get("/asr")
    async def asr(number: int) -> Response:
        raise {1: errors.EngineCrashed, 2: KeyError}[number]("it went wrong")

    @routes.get("/owner")
    async def owner(request: Request) -> Response:
        return Response(owner_of(request))

    @routes.delete("/things", dependencies=[Depends(require_changes(chosen))])
    async def things() -> Response:
        return Response("deleted")

    service = AsrService(chosen)
    return create_service(chosen, service, [routes, model_routes(service.host)], dialect=dialect)


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


async def messages_of(app: FastAPI, method: str, path: str) -> list[Any]:
    """Return what the app sends to its server, which clients of the tests show in part."""
    sent: list[Any] = []
    ended = asyncio.Event()
    head = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": ""}
    scope = {**head, "query_string": b"", "headers": [], "scheme": "http", "server": ("service", 80)}

    async def receive() -> Any:
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            ended.set()

    async with asyncio.timeout(10):
        await app(scope, receive, send)
    return sent


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(tmp_path)) as client:
        yield client


def leaves(root: type[VoiceStackError] = VoiceStackError) -> Iterator[type[VoiceStackError]]:
    for child in root.__subclasses__():
        if child.__module__ == "core.errors":
            yield child
            yield from leaves(child)


def assert_envelope(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], answer.headers["x-voice-stack-error"]) == (code, code)
    assert error["message"]
    retry_after, should = answer.headers.get("retry-after"), answer.headers.get("x-should-retry")
    assert retry_after is None or (should is None and 0 < int(retry_after) <= LONGEST_WAIT)
    assert should in {None, "false"}


@pytest.mark.parametrize("cls", list(leaves()), ids=lambda cls: cls.__name__)
async def test_every_error_has_the_envelope(client: httpx.AsyncClient, cls: type[VoiceStackError]) -> None:
    answer = await client.get(f"/v1/raise/{cls.__name__}")
    assert_envelope(answer, cls.status, cls.code)
    assert answer.json()["error"]["param"] == "field"
    assert answer.json()["error"]["type"] == cls.type


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/nothing", 404, "not_found"),
        ("DELETE", "/v1/raise/x", 405, "method_not_allowed"),
        ("GET", "/v1/raise/HTTPException", 400, "invalid_value"),
        ("GET", "/v1/raise/KeyError", 500, "internal_error"),
    ],
)
async def test_what_others_raise_has_the_envelope_too(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL):
        answer = await client.request(method, path)
    assert_envelope(answer, status, code)
    assert "secret" not in answer.text


async def test_a_wrong_method_is_told_all_that_would_do(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/raise/x")
    assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    "path", ["/livez", "/health", "/readyz", "/v1/models", "/models/fake", "/v1/models/no", "/v1/nothing", "/docs", "/"]
)
async def test_head_is_a_get_without_its_body(client: httpx.AsyncClient, path: str) -> None:
    got, headed = await client.get(path), await client.head(path)
    assert headed.content == b""
    assert headed.status_code == got.status_code
    changing = {"x-request-id", "openai-processing-ms"}
    one, other = ({k: v for k, v in answer.headers.items() if k not in changing} for answer in (got, headed))
    assert one == other


@pytest.mark.parametrize("path", ["/livez", "/v1/endless"])
async def test_the_head_is_all_that_is_sent_even_of_a_stream(tmp_path: Path, path: str) -> None:
    head, body = await messages_of(app_of(tmp_path), "HEAD", path)
    assert head["status"] == 200
    assert body == {"type": "http.response.body", "body": b""}


async def test_a_route_without_get_has_no_head(client: httpx.AsyncClient) -> None:
    answer = await client.head("/v1/things")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE")


async def test_head_needs_the_key_where_get_does(tmp_path: Path) -> None:
    async with client_of(app_of(tmp_path, api_keys="k")) as client:
        for path, status in (("/v1/models", 200), ("/health", 200), ("/v1/owner", 401), ("/metrics", 401)):
            assert (await client.head(path)).status_code == status
        assert (await client.head("/v1/owner", headers={"api-key": "k"})).status_code == 200


async def test_long_paths_and_methods_are_not_repeated_whole(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="core.exchange"):
        lost = await client.get("/" + "p" * 60_000)
        odd = await client.request("M" * 60_000, "/livez")
    assert (lost.status_code, odd.status_code) == (404, 405)
    assert len(lost.text) < 500
    assert len(odd.text) < 500
    lines = [line for line in caplog.messages if line.startswith(("GET /ppp", "MMM"))]
    assert len(lines) == 1
    assert all(len(line) < 300 for line in lines)


async def test_a_client_that_left_is_counted_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = app_of(tmp_path)
    with caplog.at_level(logging.INFO, logger="core.exchange"):
        assert await messages_of(app, "GET", "/v1/raise/ClientLeft") == []
        async with client_of(app) as client:
            numbers = (await client.get("/metrics")).text
    assert 'status="499"' in numbers
    assert 'status="none"' not in numbers
    assert any(line.startswith("GET /v1/raise/ClientLeft 499 ") for line in caplog.messages)


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/audio/transcriptions", "file"),
        ("/audio/transcriptions/verbose", "file"),
        ("/v1/audio/translations", "file"),
        ("/v1/audio/jobs", "file"),
        ("/v1/audio/speech", None),
        ("/v1/audio/voices", None),
        ("/v1/nothing", None),
    ],
)
async def test_a_declared_oversize_names_the_field_of_recordings_only(
    tmp_path: Path, path: str, param: str | None
) -> None:
    async with client_of(app_of(tmp_path, max_upload_mb=1)) as client:
        answer = await client.post(path, content=bytes((1 << 20) + 1))
    assert_envelope(answer, 413, "file_too_large")
    assert answer.json()["error"]["param"] == param


async def test_a_browser_is_asked_for_the_key_of_the_pages_made_for_it(tmp_path: Path) -> None:
    async with client_of(app_of(tmp_path, api_keys="k")) as client:
        for path in ("/docs", "/openapi.json"):
            asked = await client.get(path)
            assert_envelope(asked, 401, "invalid_api_key")
            assert asked.headers["www-authenticate"].startswith("Basic realm=")
            assert (await client.get(path, auth=("", "wrong"))).status_code == 401
            assert (await client.get(path, auth=("anybody", "k"))).status_code == 200
        other = await client.get("/v1/owner", auth=("anybody", "k"))
    assert (other.status_code, other.headers["www-authenticate"]) == (401, "Bearer")


async def test_an_unknown_task_is_told_those_there_are(client: httpx.AsyncClient) -> None:
    refused = await client.get("/v1/models?task=foo")
    assert_envelope(refused, 400, "invalid_value")
    assert refused.json()["error"]["param"] == "task"
    assert "automatic-speech-recognition, text-to-speech" in refused.json()["error"]["message"]
    assert (await client.get("/v1/models?task=")).json() == (await client.get("/v1/models")).json()


@pytest.mark.parametrize("path", ["/v1/raise/NotFound/", "/v1/raise/NotFound"])
async def test_a_slash_at_the_end_changes_nothing(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.post(path)).json()["error"]["message"] == "it went wrong"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/asr?number=1", 503),
        ("GET", "/asr?number=2", 500),
        ("GET", "/asr?number=x", 400),
        ("PUT", "/asr", 405),
        ("GET", "/detect-language", 404),
        ("GET", "/bazarr/nothing", 404),
        ("GET", "/bazarr", 404),
    ],
)
async def test_bazarr_is_told_in_text(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-voice-stack-error"]
    with pytest.raises(ValueError, match="Expecting value"):
        answer.json()


@pytest.mark.parametrize("path", ["/asr?number=1", "/bazarr/nothing", "/detect-language"])
async def test_a_service_without_bazarrs_routes_speaks_json_there(tmp_path: Path, path: str) -> None:
    async with client_of(app_of(tmp_path, dialect=OPENAI)) as client:
        assert "error" in (await client.get(path)).json()
    async with client_of(app_of(tmp_path, dialect=OPENAI, api_keys="k")) as client:
        assert (await client.get(path, auth=("x", "k"))).json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/asr", "/bazarr/asr", "/detect-language", "/bazarr/detect-language"])
async def test_bazarr_is_told_of_a_missing_key_in_text(tmp_path: Path, path: str) -> None:
    async with client_of(app_of(tmp_path, api_keys="k")) as client:
        answer = await client.post(path)
    assert answer.status_code == 401
    assert answer.text.startswith("no API key was given")


@pytest.mark.parametrize(("path", "status"), [("/bazarr/asr", 404), ("/status", 404), ("/v1/owner", 401)])
async def test_a_password_is_a_key_on_bazarrs_routes_only(tmp_path: Path, path: str, status: int) -> None:
    async with client_of(app_of(tmp_path, api_keys="other,k")) as client:
        assert (await client.get(path, auth=("x", "k"))).status_code == status
        assert (await client.get(path, auth=("k", "wrong"))).status_code == 401
        assert (await client.get(path, headers={"authorization": "Basic %%%"})).status_code == 401


async def test_each_key_is_an_owner_of_its_own(tmp_path: Path) -> None:
    async with client_of(app_of(tmp_path, api_keys="a,b")) as client:
        owners = [(await client.get("/v1/owner", headers={"x-api-key": key})).text for key in ("a", "b", "a")]
    assert owners[0] == owners[2] != owners[1]
    assert "a" not in {owners[0], ""}
    async with client_of(app_of(tmp_path)) as client:
        assert (await client.get("/v1/owner", headers={"x-api-key": "a"})).text == ""


@pytest.mark.parametrize(
    ("host", "keys", "status"),
    [("127.0.0.1", "", 200), ("::1", "", 200), ("localhost", "", 200), ("0.0.0.0", "", 403), ("0.0.0.0", "k", 200)],
)
async def test_an_open_service_cannot_be_changed(tmp_path: Path, host: str, keys: str, status: int) -> None:
    async with client_of(app_of(tmp_path, host=host, api_keys=keys)) as client:
        answer = await client.delete("/v1/things", headers={"x-api-key": "k"})
    assert answer.status_code == status
    if status == 403:
        assert_envelope(answer, 403, "forbidden")


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:5001", "127.0.0.1:5001", 200),
        ("http://[::1]:5001", "[::1]:5001", 200),
        ("http://localhost:5001", "localhost:5001", 200),
        ("https://app.example", "127.0.0.1:5001", 200),
        ("http://evil.example", "127.0.0.1:5001", 403),
        ("http://localhost:8080", "localhost:5001", 403),
        ("http://evil.example:5001", "evil.example:5001", 403),
        ("null", "127.0.0.1:5001", 403),
        ("http://[", "127.0.0.1:5001", 403),
    ],
)
async def test_pages_of_other_sites_change_nothing(tmp_path: Path, origin: str, host: str, status: int) -> None:
    async with client_of(app_of(tmp_path, cors_origins="https://app.example")) as client:
        answer = await client.delete("/v1/things", headers={"origin": origin, "host": host})
    assert answer.status_code == status
    if status == 403:
        assert_envelope(answer, 403, "forbidden")


async def test_a_browser_may_call_from_the_origins_of_the_setting(tmp_path: Path) -> None:
    ask = {"access-control-request-method": "POST"}
    async with client_of(app_of(tmp_path, cors_origins="https://app.example", api_keys="k")) as client:
        fine = await client.options("/v1/owner", headers={"origin": "https://app.example", **ask})
        other = await client.options("/v1/owner", headers={"origin": "https://evil.example", **ask})
        refused = await client.get("/v1/owner", headers={"origin": "https://app.example"})
    assert fine.status_code == 200
    assert fine.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in fine.headers
    assert_envelope_body(other, 400)
    exposed = refused.headers["access-control-expose-headers"]
    assert {"x-request-id", "retry-after", "x-voice-stack-error"} <= set(exposed.split(", "))
    assert_envelope(refused, 401, "invalid_api_key")


def assert_envelope_body(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stuck_at", ["http.response.start", "http.response.body", None])
async def test_what_a_stream_holds_is_let_go_even_if_it_never_began(stuck_at: str | None) -> None:
    let_go: list[str] = []
    held = AsyncExitStack()
    held.callback(let_go.append, "held")

    async def parts() -> AsyncGenerator[bytes, None]:
        try:
            yield b"part"
        finally:
            let_go.append("parts")

    stuck = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == stuck_at:
            stuck.set()
            await asyncio.Event().wait()

    async def receive() -> Any:
        await stuck.wait()
        return {"type": "http.disconnect"}

    answer = Stream(parts(), media_type="audio/wav", headers={}, held=held)
    if stuck_at is None:
        await answer({"type": "http"}, receive, send)
    else:
        with pytest.raises(ClientLeft):
            await answer({"type": "http"}, receive, send)
    assert let_go == (["held"] if stuck_at == "http.response.start" else ["parts", "held"])
