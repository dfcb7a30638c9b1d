"""Servers of others: what goes wrong with them becomes our errors, and their keys are told to nobody."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import ValidationError

from core import errors
from core.engines import EngineContext
from core.remote import Remote, checked
from core.remote_options import RemoteOptions, model_name
from core.scheduler import Cancelled
from core.worker import CallContext, abandoned
from tests.remote_stubs import KEY, Answered, Asked, Stub, in_json, serving

MADE: list[Remote] = []


def remote(url: str, **options: Any) -> Remote:
    made = RemoteOptions.model_validate({"url": url, "connect_timeout": 2, "read_timeout": 2, **options})
    return kept(Remote(made, name="a-model", key=KEY))


def kept(made: Remote) -> Remote:
    MADE.append(made)
    return made


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what the tests made: connections that are left to the garbage collector are warnings."""
    yield
    while MADE:
        MADE.pop().close()


def refused(answer: Answered) -> errors.VoiceStackError:
    """Return the error for an answer, however it is asked for."""
    found = []
    with serving(lambda _: answer) as stub:
        made = remote(stub.url)
        with pytest.raises(errors.VoiceStackError) as caught:
            made.post("/x", json={})
        found.append(caught.value)
        with pytest.raises(errors.VoiceStackError) as caught, made.sound("/x", limit=100, json={}) as chunks:
            list(chunks)
        found.append(caught.value)
        made.close()
    assert [type(error) for error in found] == [type(found[0])] * 2
    assert found[0].message == found[1].message
    return found[0]


@pytest.mark.parametrize("status", [301, 307, 401, 402, 403, 404, 405])
def test_what_only_the_configuration_helps_is_final_and_says_so(status: int) -> None:
    error = refused(in_json({"error": {"message": f"bad key {KEY}"}}, status, Location="http://127.0.0.1:1/"))
    assert type(error) is errors.Unavailable
    assert error.is_final
    assert error.headers() == {"x-should-retry": "false"}
    assert "must check its url, model and key" in error.message
    assert KEY not in error.message


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 599])
def test_what_may_pass_may_be_tried_again(status: int) -> None:
    error = refused(in_json({"error": {"message": "the cat sat on it"}}, status))
    assert type(error) is errors.Unavailable
    assert error.headers() == {"Retry-After": "2"}
    assert "cat" not in error.message


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("17", 17), ("0", 1), ("1.2", 2), ("999999", 60), ("soon", 2), ("nan", 2), ("-5", 1), (None, 2)],
)
def test_too_much_to_do_says_when_to_come_back(given: str | None, seconds: int) -> None:
    error = refused(in_json({}, 429, **({"Retry-After": given} if given else {})))
    assert type(error) is errors.QueueFull
    assert error.headers() == {"Retry-After": str(seconds)}


def test_a_date_to_come_back_at() -> None:
    error = refused(in_json({}, 503, **{"Retry-After": "Fri, 31 Dec 2049 23:59:59 GMT"}))
    assert error.retry_after == 60


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({"error": {"message": "too loud", "param": "file"}}, "too loud", "file"),
        ({"error": "failed to read audio data"}, "failed to read audio data", None),
        ({"detail": "no such thing"}, "no such thing", None),
        ({"detail": {"status": "x", "message": "Text is empty"}}, "Text is empty", None),
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required", None),
        ({"message": "plain", "param": "../../etc"}, "plain", None),
        ({"error": {"message": f"I know {KEY}\nand tell it"}}, "I know *** and tell it", None),
        ([], "the server behind a-model answers 400", None),
        ({"error": {"message": 7}}, "the server behind a-model answers 400", None),
    ],
)
def test_other_refusals_are_told_in_the_words_of_the_server(body: Any, message: str, param: str | None) -> None:
    error = refused(in_json(body, 400))
    assert type(error) is errors.InvalidRequest
    assert (error.message, error.param) == (message, param)


def test_a_refusal_that_is_no_json_is_cut_short() -> None:
    error = refused(Answered(422, b"<html>" + b"a" * 1_000_000))
    assert type(error) is errors.InvalidRequest
    assert len(error.message) <= errors.ECHOED + 1


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(errors.Unavailable, match="cannot be reached") as caught:
        remote(url).get("/")
    assert caught.value.headers() == {"Retry-After": "2"}


@pytest.mark.parametrize("after", [0, 3])
def test_a_silent_server_is_left(after: int) -> None:
    ended = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield from [b"x"] * after
        ended.wait(10)
        yield b"x"

    def answer(_: Asked) -> Answered:
        if not after:
            ended.wait(10)
        return Answered(chunks=chunks())

    with serving(answer) as stub:
        started = time.monotonic()
        with pytest.raises(errors.Unavailable, match="in time"):
            remote(stub.url, read_timeout=0.3).post_bytes("/")
        assert time.monotonic() - started < 5
        ended.set()


def test_an_answer_that_never_ends_is_left() -> None:
    ended = threading.Event()

    def drip() -> Iterator[bytes]:
        while not ended.wait(0.05):
            yield b"x"

    with serving(lambda _: Answered(chunks=drip())) as stub:
        with pytest.raises(errors.Unavailable, match="in time"):
            remote(stub.url, timeout=0.5).post_bytes("/")
        ended.set()


def dripping(head: bytes, endless: bytes, ended: threading.Event) -> tuple[str, threading.Thread]:
    """Serve one client: `head` at once, then `endless` again and again for a quarter of a minute."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server, server.accept()[0] as connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(head)
            for _ in range(300):
                if ended.wait(0.05):
                    break
                connection.sendall(endless)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"http://127.0.0.1:{server.getsockname()[1]}", thread


@pytest.mark.parametrize(
    ("head", "endless"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 99999\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"x"),
    ],
)
def test_the_whole_answer_has_one_deadline_head_and_refusal_included(head: bytes, endless: bytes) -> None:
    ended = threading.Event()
    url, thread = dripping(head, endless, ended)
    with pytest.raises(errors.Unavailable, match="in time"):
        remote(url, timeout=0.5).post_bytes("/", json={})
    ended.set()
    thread.join(timeout=10)


def test_the_deadline_also_ends_a_silence_that_is_allowed() -> None:
    ended = threading.Event()
    with serving(lambda _: Answered(chunks=iter(lambda: b"" if ended.wait(20) else b"x", b""))) as stub:
        started = time.monotonic()
        with pytest.raises(errors.Unavailable, match="in time"):
            remote(stub.url, timeout=0.5, read_timeout=60).post_bytes("/")
        assert time.monotonic() - started < 15
        ended.set()


def test_an_answer_that_is_too_large_is_left() -> None:
    with serving(lambda _: Answered(body=b"x" * 1000)) as stub:
        made = remote(stub.url)
        with (
            pytest.raises(errors.Unavailable, match="more than 999 bytes") as caught,
            made.sound("/", limit=999) as chunks,
        ):
            list(chunks)
        assert caught.value.is_final


def test_leaving_the_sound_closes_the_connection() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65_536

    with serving(lambda _: Answered(chunks=endless())) as stub:
        with remote(stub.url).sound("/", limit=1 << 40) as chunks:
            assert next(chunks)
        assert stub.gone.wait(10)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome"])
def test_a_cancelled_call_leaves_a_silent_server(head: bytes) -> None:
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        context = CallContext()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                request = b""
                while not request.endswith(b"\r\n\r\n{}"):
                    request += connection.recv(65_536)
                connection.sendall(head)
                context.cancel()
                if not connection.recv(1):
                    left.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with context.working(), pytest.raises(Cancelled):
            remote(url, read_timeout=60).post_bytes("/", json={})
        assert left.wait(10)
        thread.join(timeout=10)


def test_work_for_several_calls_goes_on_for_the_last_of_them() -> None:
    first, second = CallContext(), CallContext()
    assert not abandoned()
    with first.working(), second.working():
        first.cancel()
        assert not abandoned()
        second.cancel()
        assert abandoned()
    assert not abandoned()


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json", "audio/mpeg"])
def test_what_is_no_sound_by_its_own_account_is_final(kind: str) -> None:
    answer = Answered(body=b"\x00\x10" * 100, headers={"Content-Type": kind})
    with serving(lambda _: answer) as stub:
        with (
            pytest.raises(errors.Unavailable, match=kind.partition(";")[0]) as caught,
            remote(stub.url).sound("/", limit=999) as chunks,
        ):
            list(chunks)
        assert caught.value.is_final


@pytest.mark.parametrize(("stale", "requests"), [(60.0, 2), (0.0, 1)])
def test_what_breaks_off_at_once_is_asked_once_more(
    stale: float, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Asked) -> Answered:
        raise ConnectionError

    monkeypatch.setattr("core.remote._STALE_SECONDS", stale)
    with serving(broken) as stub, pytest.raises(errors.Unavailable, match="broke off"):
        remote(stub.url).post("/", json={})
    assert len(stub.asked) == requests


@pytest.mark.parametrize("body", [b"", b"<html>", b"{"])
def test_what_is_no_json_is_final(body: bytes) -> None:
    with serving(lambda _: Answered(body=body)) as stub, pytest.raises(errors.Unavailable) as caught:
        remote(stub.url).post("/")
    assert caught.value.is_final


def test_a_connection_that_is_closed_as_it_is_used_is_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            for body in (None, b"[1]"):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    if body:
                        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"
                        connection.sendall(head + body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert remote(url).get("/") == [1]
        thread.join(timeout=10)


def test_connections_are_kept() -> None:
    threads = set()

    def answer(asked: Asked) -> Answered:
        threads.add(threading.get_ident())  # each serves one connection
        return in_json({})

    with serving(answer) as stub:
        made = remote(stub.url)
        for _ in range(5):
            made.get("/")
        made.close()
        made.close()
    assert len(threads) == 1


def test_paths_and_keys() -> None:
    with serving(lambda _: in_json({})) as stub:
        options = RemoteOptions(url=f"{stub.url}/base/")
        kept(Remote(options, name="m", key=KEY, prefix="/v1")).get("/models", a="b c")
        kept(Remote(options, name="m", key=KEY, key_header="xi-api-key")).get("/x")
        kept(Remote(options, name="m")).get("/x")
    first, second, third = stub.asked
    assert (first.path, first.query) == ("/base/v1/models", {"a": ["b c"]})
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert (second.headers["xi-api-key"], second.headers.get("authorization")) == (KEY, None)
    assert "authorization" not in third.headers


def test_no_such_path_is_nothing() -> None:
    with serving(lambda _: Answered(404)) as stub:
        assert remote(stub.url).get("/health") is None


def test_proxies_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda _: in_json({"proxy": False})) as stub, serving(lambda _: in_json({"proxy": True})) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert remote(stub.url).get("/") == {"proxy": False}
        # Some systems never use a proxy for this machine; a name that is nowhere shows who was asked.
        assert remote("http://nowhere.invalid", proxy="environment").get("/") == {"proxy": True}
        assert remote("http://nowhere.invalid", proxy=proxy.url).get("/") == {"proxy": True}


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://host", "http://", "http://me:secret@host", "http://host/?key=secret", "file:///etc"],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RemoteOptions(url=url)
    assert "secret" not in str(caught.value)


def test_bad_proxies_and_certificates(tmp_path: Any) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        remote("http://host", proxy="nonsense://user:secret@host")
    assert "secret" not in caught.value.message
    (tmp_path / "ca.pem").write_text("no certificate", encoding="utf-8")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(errors.ConfigurationError, match="ca_file"):
            remote("https://host", ca_file=tmp_path / name)


def test_where_the_key_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_KEY", "vendors")
    monkeypatch.setenv("OWN_KEY", " own\n")

    def key(**options: Any) -> str | None:
        options = {"url": "https://api.vendor.example/v1", **options}
        return RemoteOptions(**options).key(vendor="api.vendor.example", variable="VENDOR_KEY")

    assert key() == "vendors"
    assert key(api_key="given", api_key_env="OWN_KEY") == "given"
    assert key(api_key_env="OWN_KEY") == "own"
    assert key(url="http://elsewhere.example") is None
    with pytest.raises(errors.ModelBroken, match="UNSET_KEY"):
        key(api_key_env="UNSET_KEY")
    for bad in ("two\r\nlines", "schl\u00fcssel"):
        with pytest.raises(errors.ModelBroken) as caught:
            key(api_key=bad)
        assert bad not in caught.value.message


def test_names_of_models() -> None:
    assert model_name(EngineContext(model_id="openai/small"), None, "default") == "small"
    assert model_name(EngineContext(model_id="openai/small"), "option", "default") == "option"
    assert model_name(EngineContext(model_id="mine"), None, "default") == "default"


def test_a_load_that_cannot_work_leaves_the_service_up() -> None:
    final = errors.Unavailable("no")
    final.is_final = True
    for error in (final, errors.InvalidRequest("no")):
        with pytest.raises(errors.ModelBroken), checked("a-model"):
            raise error
    with pytest.raises(errors.Unavailable) as caught, checked("a-model"):
        raise errors.Unavailable("later")
    assert type(caught.value) is errors.Unavailable


def test_the_key_is_never_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    bodies = [{"error": {"message": f"wrong key {KEY}"}}, {"detail": KEY}, KEY]

    def ask(stub: Stub) -> None:
        made = remote(stub.url, api_key=KEY)
        for _ in range(2):
            with pytest.raises(errors.VoiceStackError) as caught:
                made.post("/x", json={})
            assert KEY not in json.dumps(errors.dump(caught.value))

    for status in (400, 401, 403, 429, 500):
        for body in bodies:
            with serving(lambda _, body=body, status=status: in_json(body, status)) as stub:
                ask(stub)
    options = RemoteOptions(url="http://host", api_key=KEY)
    assert KEY not in repr(options) + str(options) + options.model_dump_json()
    assert caplog.text
    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())
