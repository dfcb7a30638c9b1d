"""What the rows ask of answers: errors in the envelope, server-sent events, subtitles that other parsers accept."""

from __future__ import annotations

import io
import itertools
import json
import re
from typing import Any, NamedTuple

import httpx
import pysrt
import pysubs2
import webvtt

TYPES = {"invalid_request_error", "permission_error", "conflict", "rate_limit_error", "server_error", "timeout"}


# pysrt takes ",1000" for milliseconds, which players do not.
_TIMES = re.compile(r"\d{2,}:[0-5]\d:[0-5]\d,\d{3} --> \d{2,}:[0-5]\d:[0-5]\d,\d{3}")


class Frame(NamedTuple):
    """One server-sent event as a strict reader sees it; `event` is empty where the line is missing."""

    event: str
    data: str

    @property
    def json(self) -> dict[str, Any]:
        """The data, parsed."""
        found: dict[str, Any] = json.loads(self.data)
        return found


def ok(response: httpx.Response, status: int = 200) -> httpx.Response:
    """Return the response when it has the status, else fail with its body."""
    response.read()
    assert response.status_code == status, f"{response.status_code}: {response.text[:300]}"
    return response


def envelope(response: httpx.Response) -> dict[str, Any]:
    """Return the `error` of an answer that has OpenAI's envelope exactly."""
    response.read()
    shown = f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text[:300]}"
    assert response.headers.get("content-type", "").startswith("application/json"), shown
    body = response.json()
    assert set(body) == {"error"}, shown
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}, shown
    assert isinstance(error["message"], str), shown
    assert error["message"], shown
    assert error["type"] in TYPES, shown
    assert isinstance(error["code"], str | None), shown
    assert isinstance(error["param"], str | None), shown
    return dict(error)


def refused(
    response: httpx.Response, status: int, code: str, param: str | None = None, *, says: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the error of an answer that must have this status, code and param, and these words in its message."""
    error = envelope(response)
    # Either says it for a format that does not exist: A0.1 has both and prefers none.
    codes = {code, "unsupported_format"} if (code, param) == ("invalid_value", "response_format") else {code}
    found = (response.status_code, error["code"], error["param"])
    assert found[0] == status, f"{found}: {error['message'][:300]}"
    assert found[1] in codes, f"{found}: {error['message'][:300]}"
    assert found[2] == param, f"{found}: {error['message'][:300]}"
    for word in says:
        assert word in error["message"], f"{word!r} is not in: {error['message'][:300]}"
    return error


def will_fail_again(response: httpx.Response) -> None:
    """The SDKs must not send this request again."""
    assert response.headers.get("x-should-retry") == "false", dict(response.headers)
    assert "retry-after" not in response.headers, dict(response.headers)


def may_pass_later(response: httpx.Response) -> None:
    """The SDKs may send this request again, soon."""
    assert "x-should-retry" not in response.headers, dict(response.headers)
    assert 0 < float(response.headers["retry-after"]) <= 60, dict(response.headers)


def plain_error(response: httpx.Response, status: int) -> str:
    """Return the text of an error on Bazarr's routes, which must not be JSON."""
    response.read()
    assert response.status_code == status, f"{response.status_code}: {response.text[:300]}"
    assert response.headers["content-type"].startswith("text/plain"), response.headers["content-type"]
    assert response.text.strip()
    assert not response.text.lstrip().startswith(("{", "[", "<")), response.text
    return response.text


def frames(response: httpx.Response) -> list[Frame]:
    """Split a stream into frames, strictly: one `event:` and one `data:` line each, comments between them."""
    response.read()
    assert response.status_code == httpx.codes.OK, f"{response.status_code}: {response.text[:300]}"
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8", response.headers["content-type"]
    assert response.text.endswith("\n\n"), response.text[-80:]
    found = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if lines:
            found.append(_frame(lines))
    return found


def _frame(lines: list[str]) -> Frame:
    event = lines.pop(0).removeprefix("event: ") if lines[0].startswith("event: ") else ""
    assert len(lines) == 1, lines
    assert lines[0].startswith("data: "), lines
    return Frame(event, lines[0].removeprefix("data: "))


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """Return the payloads of a stream whose every frame is named after its type and whose last is [DONE]."""
    found = frames(response)
    assert found[-1] == Frame("", "[DONE]"), found[-1]
    for frame in found[:-1]:
        assert frame.event == frame.json["type"], frame
    return [frame.json for frame in found[:-1]]


def read_srt(text: str) -> list[pysrt.SubRipItem]:
    """Return the cues of an SRT that pysrt accepts without forgiving anything, in order and apart."""
    assert not text.startswith("\ufeff")
    assert "\r" not in text
    for line in text.split("\n"):
        assert " --> " not in line or _TIMES.fullmatch(line), line
    cues = list(pysrt.from_string(text, error_handling=pysrt.SubRipFile.ERROR_RAISE))
    assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
    _in_order([(cue.start.ordinal, cue.end.ordinal) for cue in cues])
    assert len(pysubs2.SSAFile.from_string(text, format_="srt")) == len(cues)
    return cues


def read_vtt(text: str) -> list[webvtt.Caption]:
    """Return the cues of a WebVTT file, in order and apart."""
    assert text.startswith("WEBVTT\n\n"), text[:40]
    cues = list(webvtt.from_buffer(io.StringIO(text)).captions)
    _in_order([(cue.start_time.in_milliseconds(), cue.end_time.in_milliseconds()) for cue in cues])
    assert len(pysubs2.SSAFile.from_string(text, format_="vtt")) == len(cues)
    return cues


def _in_order(times: list[tuple[int, int]]) -> None:
    for start, end in times:
        assert start < end, times
    for (_, end), (start, _) in itertools.pairwise(times):
        assert end <= start, times
