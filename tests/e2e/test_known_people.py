"""People are known again by their voices: real speech, the default model, through the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e
PEOPLE = {"Margaret": "1688-142285", "Doctor": "1998-15444"}
STRANGER = "2033-164914"
ENROLLED, ASKED = ("0000", "0001", "0006"), ("0003", "0007")


@pytest.fixture(scope="module")
def asr(start_service: Callable[..., Any], model_dir: Callable[[str], Path]) -> Iterator[httpx.Client]:
    model_dir("diarization-community1")
    service = start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "VOICEPRINTS": "on"})
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def clips(speech_data: Path) -> Callable[[str, str], bytes]:
    return lambda speaker, number: (speech_data / "en" / "librispeech" / f"{speaker}-{number}.flac").read_bytes()


@pytest.fixture(scope="module")
def known(asr: httpx.Client, clips: Callable[[str, str], bytes]) -> dict[str, str]:
    """The ids of the people, by name, after three recordings of each."""
    ids = {}
    for name, speaker in PEOPLE.items():
        for number in ENROLLED:
            files = {"audio": ("clip.flac", clips(speaker, number))}
            answer = asr.post("/v1/voice/register", data={"name": name}, files=files)
            assert answer.status_code == 200, answer.text
            ids[name] = answer.json()["id"]
        assert answer.json()["samples"] == len(ENROLLED)
    return ids


def identified(asr: httpx.Client, recording: bytes) -> list[dict[str, Any]]:
    answer = asr.post("/v1/voice/identify", files={"audio": ("clip.flac", recording)})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["matches"])


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("number", ASKED)
def test_a_registered_voice_is_known_again(
    name: str, number: str, asr: httpx.Client, clips: Callable[[str, str], bytes], known: dict[str, str]
) -> None:
    first, second = identified(asr, clips(PEOPLE[name], number))
    assert (first["id"], first["name"], first["match"]) == (known[name], name, True)
    assert not second["match"]


@pytest.mark.parametrize("number", ASKED)
def test_a_strange_voice_is_nobodys(
    number: str, asr: httpx.Client, clips: Callable[[str, str], bytes], known: dict[str, str]
) -> None:
    assert [match["match"] for match in identified(asr, clips(STRANGER, number))] == [False] * len(known)


def test_two_recordings_are_compared(asr: httpx.Client, clips: Callable[[str, str], bytes]) -> None:
    margaret, again = clips(PEOPLE["Margaret"], "0000"), clips(PEOPLE["Margaret"], "0001")
    stranger = clips(STRANGER, "0000")
    same, other = (
        asr.post("/v1/voice/verify", files={"audio1": ("a.flac", margaret), "audio2": ("b.flac", second)}).json()
        for second in (again, stranger)
    )
    assert same["verified"]
    assert not other["verified"]
    assert same["distance"] < same["threshold"] < other["distance"]
