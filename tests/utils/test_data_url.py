"""Base64 in pieces is what the standard library reads in one go."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import data_url
from utils.data_url import encoded_file, is_url


def decoded(text: str) -> bytes:
    return b"".join(encoded_file(text).pieces())


@given(content=st.binary(max_size=100), size=st.integers(1, 9), head=st.sampled_from(["", "data:audio/wav;base64,"]))
def test_all_spellings_are_read_in_pieces_of_any_size(content: bytes, size: int, head: str) -> None:
    spellings = (base64.b64encode(content), base64.urlsafe_b64encode(content), base64.encodebytes(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_url, "_PIECE_CHARS", size)
        for spelled in spellings:
            assert decoded(head + spelled.decode()) == content
            assert decoded(head + spelled.decode().rstrip("=\n")) == content


def test_a_data_url_says_what_it_holds() -> None:
    assert encoded_file("data:audio/pcm;rate=16000;base64,AAAA").content_type == "audio/pcm;rate=16000"
    assert encoded_file("AAAA").content_type == ""


@pytest.mark.parametrize(
    "text", ["not base64!", "AAAA=AAA", "A", "AAAAA", "AA==AA==", "\u00e4AAA", "data:audio/wav,text"]
)
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_what_is_no_base64_is_refused(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_url, "_PIECE_CHARS", size)
    with pytest.raises(ValueError, match="base64"):
        decoded(text)


@pytest.mark.parametrize("text", ["https://example.org/a.wav", " HTTP://x", "file:///etc/passwd", "s3+x://a"])
def test_an_address_is_no_file(text: str) -> None:
    assert is_url(text)


@pytest.mark.parametrize("text", ["data:audio/wav;base64,AAAA", "AAAA", "//8=", "", "data:text/plain,http://x"])
def test_base64_and_data_urls_are_no_addresses(text: str) -> None:
    assert not is_url(text)
