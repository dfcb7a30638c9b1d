import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI
from openai._streaming import SSEBytesDecoder, SSEDecoder

from utils import sse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


def decoded(stream: bytes) -> list[tuple[str | None, str]]:
    decoder: SSEBytesDecoder = SSEDecoder()
    return [(event.event, event.data) for event in decoder.iter_bytes(iter([stream]))]


def test_a_frame_has_an_event_and_a_data_line() -> None:
    assert sse.event("transcript.text.delta", {"delta": "hi\n"}) == (
        b'event: transcript.text.delta\ndata: {"delta":"hi\\n"}\n\n'
    )


def test_bytes_are_json_already() -> None:
    assert sse.event("x", b'{"a":1}') == b'event: x\ndata: {"a":1}\n\n'


@pytest.mark.parametrize(("name", "data"), [("a\nb", {}), ("a", b"{\n}"), ("a\r", {}), ("a", b"1\r")])
def test_a_line_break_cannot_tear_a_frame(name: str, data: object) -> None:
    with pytest.raises(ValueError, match="line break"):
        sse.event(name, data)


@given(st.lists(st.tuples(st.sampled_from(["a", "transcript.text.done"]), JSON)))
def test_openais_decoder_reads_every_frame_back(events: list[tuple[str, object]]) -> None:
    stream = b"".join(sse.event(name, data) + sse.PING for name, data in events) + sse.DONE
    read = decoded(stream)
    assert [(name, json.loads(data)) for name, data in read[:-1]] == events
    assert read[-1] == (None, "[DONE]")


def test_openais_client_reads_a_stream_to_its_end() -> None:
    frames = sse.event("transcript.text.delta", {"type": "transcript.text.delta", "delta": "hi"}) + sse.PING + sse.DONE
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=frames)
    )
    with OpenAI(api_key="k", http_client=httpx.Client(transport=transport)) as client:
        stream = client.audio.transcriptions.create(file=b"x", model="m", stream=True)
        assert [event.type for event in stream] == ["transcript.text.delta"]
