"""The checks fail on what they are for: the answers that other servers give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pysrt
import pytest

from tests.conformance import checks, media, report
from tests.conformance.rows import PROBE as CLIENT
from tests.conformance.rows import Result, Row, run
from tests.conformance.target import LeftOut, Target

REQUEST = httpx.Request("POST", "http://x/v1/audio/transcriptions")
STREAM = {"content-type": "text/event-stream; charset=utf-8"}
GOOD = {"error": {"message": "no", "type": "invalid_request_error", "param": "file", "code": "invalid_audio"}}


def answer(status: int = 200, **more: Any) -> httpx.Response:
    return httpx.Response(status, request=REQUEST, **more)


def stream(text: str) -> httpx.Response:
    return answer(headers=STREAM, content=text.encode())


def test_an_envelope_is_read() -> None:
    checks.refused(answer(400, json=GOOD), 400, "invalid_audio", "file", says=("no",))


WRONG_ERRORS = [
    answer(422, json={"detail": [{"msg": "x"}]}),
    answer(400, json={"error": "text"}),
    answer(400, json={"error": {**GOOD["error"], "status": 400}}),
    answer(400, json={"error": {**GOOD["error"], "message": ""}}),
    answer(400, json={"error": {**GOOD["error"], "code": 400}}),
    answer(500, content=b"Internal Server Error", headers={"content-type": "text/plain"}),
    answer(400, json={**GOOD, "detail": "x"}),
]


@pytest.mark.parametrize("wrong", WRONG_ERRORS, ids=lambda wrong: wrong.text[:40])
def test_other_errors_are_not(wrong: httpx.Response) -> None:
    with pytest.raises((AssertionError, TypeError)):
        checks.envelope(wrong)


def test_a_stream_is_read() -> None:
    good = 'event: a\ndata: {"type":"a"}\n\n: ping\n\ndata: [DONE]\n\n'
    assert checks.events(stream(good)) == [{"type": "a"}]


WRONG_STREAMS = {
    "data only": 'data: {"type":"a"}\n\ndata: [DONE]\n\n',
    "another event": 'event: b\ndata: {"type":"a"}\n\ndata: [DONE]\n\n',
    "no end": 'event: a\ndata: {"type":"a"}\n\n',
    "two data lines": 'event: a\ndata: {"type":\ndata: "a"}\n\ndata: [DONE]\n\n',
    "cut": 'event: a\ndata: {"type":"a"}\n\ndata: [DONE]',
}


@pytest.mark.parametrize("text", WRONG_STREAMS.values(), ids=list(WRONG_STREAMS))
def test_other_streams_are_not(text: str) -> None:
    with pytest.raises(AssertionError):
        checks.events(stream(text))


CUE = "1\n00:00:00,000 --> 00:00:01,000\nHello\n\n"
WRONG_SUBTITLES = {
    "a byte order mark": "\ufeff" + CUE,
    "numbers from 0": CUE.replace("1\n", "0\n", 1),
    "a thousand milliseconds": CUE.replace("01,000", "00,1000"),
    "overlap": CUE + "2\n00:00:00,500 --> 00:00:02,000\nthere\n\n",
    "an end before its start": CUE.replace("00:00:00,000", "00:00:02,000"),
}


@pytest.mark.parametrize("text", WRONG_SUBTITLES.values(), ids=list(WRONG_SUBTITLES))
def test_broken_subtitles_are_not_accepted(text: str) -> None:
    assert len(checks.read_srt(CUE)) == 1
    with pytest.raises((AssertionError, pysrt.Error)):
        checks.read_srt(text)


def outcome(function: Callable[[Target], None]) -> Result:
    return run(Row("A0", "a row", CLIENT, (), function), Target())


def test_a_row_has_one_of_three_outcomes() -> None:
    def fails(target: Target) -> None:
        assert target.asr_url == "elsewhere"

    def leaves_out(target: Target) -> None:
        raise LeftOut("because")

    assert outcome(lambda _: None).outcome == "passed"
    assert (outcome(leaves_out).outcome, outcome(leaves_out).detail) == ("left out", "because")
    assert outcome(fails).outcome == "failed"
    assert 'assert target.asr_url == "elsewhere"' in outcome(fails).detail
    assert "FAILED A0 a row" in report.summary([outcome(fails)])


def test_without_a_url_rows_are_left_out() -> None:
    def asks(target: Target) -> None:
        target.asr.get("/")

    assert outcome(asks).detail == "no --asr URL given"


def test_what_is_encoded_is_decoded_again() -> None:
    found = media.heard(media.encoded("flac", 1.0))
    assert (round(found.seconds, 2), found.rate, found.channels, found.codec) == (1.0, media.RATE, 1, "flac")
