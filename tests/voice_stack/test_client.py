"""What the command line makes of a service's errors: the same classes that the service raised."""

from __future__ import annotations

import httpx
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from core import errors
from voice_stack.cli.client import raise_for_error, service_url


def classes(root: type[errors.VoiceStackError]) -> list[type[errors.VoiceStackError]]:
    return [root, *(found for child in root.__subclasses__() for found in classes(child))]


# Without those that only the command line has, and those that have the code of their parent.
OURS = [cls for cls in classes(errors.VoiceStackError) if cls.__module__ == "core.errors" and "code" in cls.__dict__]


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
async def test_an_error_is_the_one_that_the_service_raised(cls: type[errors.VoiceStackError]) -> None:
    sent = cls("what is wrong", param="file")
    answer = httpx.Response(cls.status, json={"error": sent.to_dict()}, headers=sent.headers())
    with pytest.raises(cls) as raised:
        await raise_for_error(answer)
    assert type(raised.value) is cls
    assert (raised.value.message, raised.value.param) == ("what is wrong", "file")
    assert raised.value.retry == cls.retry


@pytest.mark.parametrize(
    ("answer", "cls"),
    [
        (httpx.Response(502, text="<html>Bad Gateway</html>"), errors.Unavailable),
        (httpx.Response(418, json={"detail": "no"}), errors.InvalidRequest),
        (httpx.Response(400, json={"error": {"message": "new", "code": "never_heard_of"}}), errors.InvalidRequest),
    ],
    ids=["a proxy", "another server", "a newer service"],
)
async def test_what_is_not_ours_is_told_by_its_status(
    answer: httpx.Response, cls: type[errors.VoiceStackError]
) -> None:
    with pytest.raises(cls) as raised:
        await raise_for_error(answer)
    assert type(raised.value) is cls


async def test_a_success_is_no_error_and_a_wait_is_kept() -> None:
    await raise_for_error(httpx.Response(204))
    busy = httpx.Response(429, json={"error": {"message": "full", "code": "queue_full"}}, headers={"retry-after": "7"})
    with pytest.raises(errors.QueueFull) as raised:
        await raise_for_error(busy)
    assert raised.value.retry_after == 7


@pytest.mark.parametrize("own", ["http://asr:5001", "http://asr:5001/", "http://asr:5001/v1", "http://asr:5001/v1/"])
def test_a_service_is_found_at_the_address_that_clients_of_openai_have(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(url: str, **_: object) -> httpx.Response:
        return httpx.Response(200 if url == "http://asr:5001/readyz" else 404)

    monkeypatch.setattr(httpx, "get", get)
    assert service_url(own, local=False, url=None) == own
    assert service_url(own, local=True, url="http://other") is None
    assert service_url("http://nobody", local=False, url=None) is None
    assert service_url(own, local=False, url="http://other") == "http://other"
