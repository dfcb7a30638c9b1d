"""Telling a URL of the client's that its job is done, without becoming a way into the network behind the service."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from core import errors
from voice_stack import __version__

MAX_URL = 2048
MAX_PORT = 65535
TIMEOUT = 10.0
AT_ONCE = 4
"""So many are called at the same time."""
_OUTSIDE = tuple(ipaddress.IPv6Network(net) for net in ("2002::/16", "2001::/32"))
"""IPv6 addresses that stand for IPv4 ones, by way of a router (6to4, Teredo)."""
_UNICAST = ipaddress.IPv6Network("2000::/3")
Lookup = Callable[[str, int], list[str]]
"""Returns the addresses of a host for a port; raises OSError or UnicodeError."""


def addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host, the best first, as the system has them."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class CallbackFailed(Exception):
    """The callback was not accepted; the message says why."""


class Callbacks:
    """Posts to the `hosts` that are allowed, names or addresses in lower case.

    A name must lead to public addresses, or to such as are listed themselves; it is looked up again for every try and
    the connection goes to an address that was looked at. Redirects and proxies are not followed.
    """

    def __init__(self, hosts: Sequence[str], *, lookup: Lookup = addresses) -> None:
        self._hosts = frozenset(host.strip("[]") for host in hosts)
        self._lookup = lookup
        # Their own: a name server that does not answer must not keep the loop's few threads from everybody else.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="lookup")
        # No client on top of it: that would look at redirects and keep cookies. A connection is used once, because
        # the next request to its address may be for another name, whose certificate nobody would check.
        self._transport = httpx.AsyncHTTPTransport(
            trust_env=False, limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def check(self, url: str) -> str:
        """Return a callback URL as it is kept; InvalidRequest for one that may not be called."""
        if not self._hosts:
            raise _refused("callbacks are switched off; the setting JOB_CALLBACK_HOSTS allows hosts")
        try:
            parsed = httpx.URL(url)
            # Decodes what an internationalised name says, which may be nothing.
            host = parsed.host.lower()
        except (httpx.InvalidURL, ValueError) as error:
            raise _refused("callback_url is not a URL") from error
        if parsed.port is not None and not 0 < parsed.port <= MAX_PORT:
            raise _refused(f"the port of callback_url is not valid; it may be from 1 to {MAX_PORT}")
        if len(url) > MAX_URL or parsed.scheme not in {"http", "https"} or parsed.userinfo:
            raise _refused("callback_url must be a plain http or https URL without a name and password in it")
        if self._hosts.isdisjoint({host, parsed.raw_host.decode()}):
            raise _refused("the host of callback_url is not one of JOB_CALLBACK_HOSTS")
        return str(parsed)

    async def deliver(self, url: str, body: bytes, *, job_id: str) -> None:
        """Post a JSON body; CallbackFailed unless it was answered with 2xx."""
        try:
            target = httpx.URL(self.check(url))
        except errors.InvalidRequest as error:  # the setting has changed since
            raise CallbackFailed(error.message) from error
        try:
            async with asyncio.timeout(3 * TIMEOUT):
                status = await self._post(target, body, job_id)
        # ValueError: names and headers that cannot be written as they must be.
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise CallbackFailed(f"{type(error).__name__}: {error}") from error
        if not httpx.codes.is_success(status):
            raise CallbackFailed(f"it answered {status}")

    async def _post(self, target: httpx.URL, body: bytes, job_id: str) -> int:
        """Post to the first address that takes a connection; return the status."""
        failed: httpx.TransportError | None = None
        for address in await self._addresses(target):
            try:
                return await self._post_to(address, target, body, job_id)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = error
        raise failed or CallbackFailed("its host has no address")

    async def _post_to(self, address: str, target: httpx.URL, body: bytes, job_id: str) -> int:
        headers = {
            "Host": target.netloc.decode(),
            "Content-Type": "application/json",
            "User-Agent": f"voice-stack/{__version__}",
            "X-Job-Id": job_id,
        }
        request = httpx.Request(
            "POST",
            target.copy_with(host=address),
            content=body,
            headers=headers,
            # The certificate must be that of the name.
            extensions={"sni_hostname": target.raw_host.decode(), "timeout": httpx.Timeout(TIMEOUT).as_dict()},
        )
        response = await self._transport.handle_async_request(request)
        # What it answers is nobody's business.
        await response.aclose()
        return response.status_code

    async def _addresses(self, url: httpx.URL) -> list[str]:
        port = url.port or (443 if url.scheme == "https" else 80)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._lookup, url.raw_host.decode(), port)
        # All of them: one that is private among public ones is somebody's trick.
        if not all(self._is_allowed(address) for address in found):
            raise CallbackFailed("its host leads to an address that is not public and not in JOB_CALLBACK_HOSTS")
        return list(dict.fromkeys(found))

    def _is_allowed(self, address: str) -> bool:
        return address in self._hosts or is_public(address)


def is_public(address: str) -> bool:
    """Return whether an IP address is somebody's on the Internet, whichever way it is written."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed not in _UNICAST or any(parsed in network for network in _OUTSIDE)
    ):
        return False  # among them all that an IPv4 address can hide in
    return parsed.is_global and not parsed.is_multicast


def _refused(message: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(message, param="callback_url")
