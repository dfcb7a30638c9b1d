"""Callbacks: only to hosts that were allowed, only to addresses that were looked at, never any further."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from asr.jobs.callbacks import AT_ONCE, CallbackFailed, Callbacks, is_public
from core.errors import InvalidRequest


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://EXAMPLE.com:8080/a?b=c",
        "http://10.0.0.1/x",
        "http://[::1]:9/x",
    ],
)
def test_listed_hosts_may_be_named(url: str) -> None:
    assert Callbacks(["example.com", "10.0.0.1", "[::1]"]).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://example.com.evil.org/",
        "https://evil.org/?example.com",
        "https://evil.org#example.com",
        "https://sub.example.com/",
        "https://me:secret@example.com/",
        "https://example.com@evil.org/",
        "https://example.com\\@evil.org/",
        "//example.com/",
        "example.com",
        "http://exa mple.com",
        "http://[::1",
        "https://example.com:99999999/",
        "https://example.com/" + "x" * 3000,
        "http://0x7f000001/",
        "http://xn--a.com/",
        "http://example.com:-1/",
        "http://example.com:0/",
    ],
)
def test_everything_else_may_not(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Callbacks(["example.com"]).check(url)
    assert refused.value.param == "callback_url"


@pytest.mark.parametrize("port", ["99999", "0"])
def test_a_port_that_cannot_be_is_named(port: str) -> None:
    with pytest.raises(InvalidRequest, match="port of callback_url is not valid; it may be from 1 to 65535"):
        Callbacks(["example.com"]).check(f"https://example.com:{port}/")


def test_without_hosts_there_are_no_callbacks() -> None:
    with pytest.raises(InvalidRequest, match="JOB_CALLBACK_HOSTS"):
        Callbacks([]).check("https://example.com")


async def test_the_body_arrives(listener: Any) -> None:
    body = json.dumps({"id": "x", "text": "é"}).encode()
    await Callbacks(["127.0.0.1"]).deliver(f"http://127.0.0.1:{listener.port}/done?a=b", body, job_id="job_1")
    ((path, headers, sent),) = listener.seen
    assert (path, sent) == ("/done?a=b", body)
    assert headers["content-type"] == "application/json"
    assert headers["host"] == f"127.0.0.1:{listener.port}"
    assert headers["x-job-id"] == "job_1"


async def test_a_name_keeps_its_name_on_the_way_to_an_address_that_is_listed(listener: Any) -> None:
    url = f"http://localhost:{listener.port}/"
    await Callbacks(["localhost", "127.0.0.1", "::1"]).deliver(url, b"{}", job_id="job_1")
    assert listener.seen[0][1]["host"] == f"localhost:{listener.port}"


async def test_a_name_does_not_open_the_private_network(listener: Any) -> None:
    with pytest.raises(CallbackFailed, match="not public"):
        await Callbacks(["localhost"]).deliver(f"http://localhost:{listener.port}/", b"{}", job_id="job_1")
    assert listener.seen == []


@pytest.mark.parametrize("status", [302, 307, 308])
async def test_redirects_are_not_followed(listener: Any, status: int) -> None:
    listener.status = status
    with pytest.raises(CallbackFailed, match=str(status)):
        await Callbacks(["127.0.0.1"]).deliver(f"http://127.0.0.1:{listener.port}/", b"{}", job_id="job_1")
    assert [path for path, _, _ in listener.seen] == ["/"]


async def test_proxies_of_the_environment_are_not_used(listener: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    await Callbacks(["127.0.0.1"]).deliver(f"http://127.0.0.1:{listener.port}/", b"{}", job_id="job_1")
    assert len(listener.seen) == 1


@pytest.mark.parametrize("status", [400, 404, 500, 503])
async def test_what_is_not_accepted_has_failed(listener: Any, status: int) -> None:
    listener.status = status
    with pytest.raises(CallbackFailed, match=str(status)):
        await Callbacks(["127.0.0.1"]).deliver(f"http://127.0.0.1:{listener.port}/", b"{}", job_id="job_1")


async def test_nobody_there_and_nobody_of_that_name() -> None:
    callbacks = Callbacks(["127.0.0.1", "no-such-host.invalid"])
    for url in ("http://127.0.0.1:9/", "http://no-such-host.invalid/"):
        with pytest.raises(CallbackFailed):
            await callbacks.deliver(url, b"{}", job_id="job_1")


async def test_a_host_that_is_no_longer_allowed_is_not_called(listener: Any) -> None:
    with pytest.raises(CallbackFailed):
        await Callbacks(["example.com"]).deliver(f"http://127.0.0.1:{listener.port}/", b"{}", job_id="job_1")
    assert listener.seen == []


async def test_a_redirect_to_a_name_that_is_none_is_a_failure_like_any_other(listener: Any) -> None:
    listener.status, listener.location = 302, "http://xn--a.com/"
    with pytest.raises(CallbackFailed, match="302"):
        await Callbacks(["127.0.0.1"]).deliver(f"http://127.0.0.1:{listener.port}/", b"{}", job_id="job_1")


@pytest.mark.parametrize("error", [OSError("no"), UnicodeError("label too long"), TimeoutError()])
async def test_a_name_that_cannot_be_looked_up_has_failed(error: Exception) -> None:
    def lookup(host: str, port: int) -> list[str]:
        raise error

    with pytest.raises(CallbackFailed):
        await Callbacks(["example.com"], lookup=lookup).deliver("http://example.com/", b"{}", job_id="job_1")


async def test_all_addresses_are_tried_until_one_answers(listener: Any) -> None:
    found = ["127.0.0.2", "::1", "127.0.0.2", "127.0.0.1"]
    hosts, url = ["example.com", *found], f"http://example.com:{listener.port}/"
    await Callbacks(hosts, lookup=lambda *_: found).deliver(url, b"{}", job_id="job_1")
    assert len(listener.seen) == 1
    listener.status = 500
    with pytest.raises(CallbackFailed, match="500"):
        await Callbacks(hosts, lookup=lambda *_: found[::-1]).deliver(url, b"{}", job_id="job_1")
    assert len(listener.seen) == 2, "one that was answered is not told elsewhere too"
    with pytest.raises(CallbackFailed, match="ConnectError"):
        await Callbacks(hosts, lookup=lambda *_: found[:2]).deliver(url, b"{}", job_id="job_1")


async def test_one_private_address_among_allowed_ones_is_enough_to_refuse(listener: Any) -> None:
    callbacks = Callbacks(["example.com", "127.0.0.1"], lookup=lambda *_: ["127.0.0.1", "10.0.0.1"])
    with pytest.raises(CallbackFailed, match="not public"):
        await callbacks.deliver(f"http://example.com:{listener.port}/", b"{}", job_id="job_1")
    assert listener.seen == []


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.0", "10.0.0.1", "100.64.0.1", "169.254.169.254", "224.0.0.1", "240.0.0.1", "::1"),
        *("::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a00:1::"),
        *("2001:0:7f00:1::1", "2001:db8::1", "fec0::1", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "ff0e::1"),
    ],
)
def test_addresses_that_lead_inside(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888"])
def test_addresses_that_lead_outside(address: str) -> None:
    assert is_public(address)


async def test_slow_lookups_do_not_wait_for_the_threads_of_others(listener: Any) -> None:
    together = asyncio.Barrier(AT_ONCE)
    loop = asyncio.get_running_loop()

    def lookup(host: str, port: int) -> list[str]:
        asyncio.run_coroutine_threadsafe(_passed(together), loop).result(timeout=20)
        return ["127.0.0.1"]

    loop.set_default_executor(ThreadPoolExecutor(1))
    callbacks = Callbacks(["example.com", "127.0.0.1"], lookup=lookup)
    url = f"http://example.com:{listener.port}/"
    await asyncio.gather(*(callbacks.deliver(url, b"{}", job_id="job_1") for _ in range(AT_ONCE)))
    await callbacks.close()
    assert len(listener.seen) == AT_ONCE


async def _passed(barrier: asyncio.Barrier) -> None:
    await barrier.wait()
