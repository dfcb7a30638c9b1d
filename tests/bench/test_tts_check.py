"""When `make bench-tts` fails because of what was spoken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from bench import services
from bench.plan import Plan
from bench.tts_cells import KOKORO, KOKORO_ONNX, MP3, PIPER, PIPER_TTS, SERVICE, Cell
from bench.tts_check import failures, understood
from bench.tts_player import Arrival
from bench.tts_sides import FASTKOKORO, Spoken
from bench.tts_texts import BRIEF, LONG, TWO_SENTENCES, Length
from bench.words import WordErrors

RATE = 24_000


def spoken(seconds: float, *, silence: float = 0.5) -> Spoken:
    """A tone with silence around it."""
    quiet = np.zeros(round(silence * RATE))
    tone = 0.3 * np.sin(np.arange(round(seconds * RATE)))
    audio = (np.concatenate([quiet, tone, quiet]) * 32767).astype("<i2").tobytes()
    return Spoken("These are five plain words.", audio, (Arrival(1, len(audio)),), RATE)


def cell(
    side: str, edits: int, *, engine: str = KOKORO, length: Length = LONG, clients: int = 1, seconds: float = 2.0,
    words: int = 100, silence: float = 0.5,
) -> Cell:  # fmt: skip
    return Cell(engine, side, length, [[spoken(seconds, silence=silence)] * clients], WordErrors(edits, words))


@pytest.mark.parametrize(
    ("words", "ours", "theirs", "fails"),
    [
        (1000, 31, 1, False),
        (1000, 32, 1, True),
        (1000, 0, 300, False),  # the library may be worse
        (20, 4, 0, False),  # of few words some may go wrong
        (20, 5, 0, True),
        (20, 4, 3, False),
        (1000, 201, 200, True),  # both are wrong: it is not speech
    ],
)
def test_ours_may_be_a_little_worse_than_the_library(words: int, ours: int, theirs: int, fails: bool) -> None:
    found = list(failures([cell(SERVICE, ours, words=words), cell(KOKORO_ONNX, theirs, words=words)]))
    assert bool(found) == fails
    assert not fails or f"{ours} of {words} words were not understood" in found[0]


def test_every_number_of_clients_counts() -> None:
    alone = [cell(side, 0, words=200) for side in (SERVICE, KOKORO_ONNX)]
    four = [cell(SERVICE, 100, words=200, clients=4), cell(KOKORO_ONNX, 0, words=200, clients=4)]
    assert list(failures(alone)) == []
    assert any("100 of 400 words" in failure for failure in failures([*alone, *four]))


def test_a_length_is_not_hidden_by_a_longer_one() -> None:
    cells = [
        *(cell(side, edits, length=BRIEF) for side, edits in ((SERVICE, 9), (KOKORO_ONNX, 1))),
        *(cell(side, 0, length=LONG, words=5000) for side in (SERVICE, KOKORO_ONNX)),
    ]
    assert [failure.partition(":")[0] for failure in failures(cells)] == ["kokoro, 25 characters"]


def test_engines_are_looked_at_one_by_one() -> None:
    cells = [
        cell(SERVICE, 0), cell(KOKORO_ONNX, 0),
        cell(SERVICE, 9, engine=PIPER), cell(PIPER_TTS, 0, engine=PIPER),
    ]  # fmt: skip
    assert {failure.partition(",")[0].partition(":")[0] for failure in failures(cells)} == {PIPER}


@pytest.mark.parametrize(("seconds", "fails"), [(2.0, False), (1.72, False), (1.66, True), (2.34, True)])
def test_speech_is_as_long_as_that_of_the_library(seconds: float, fails: bool) -> None:
    found = list(failures([cell(SERVICE, 0, seconds=seconds), cell(KOKORO_ONNX, 0)]))
    assert bool(found) == fails


def test_the_silence_around_is_not_speech() -> None:
    assert list(failures([cell(SERVICE, 0, silence=1.5), cell(KOKORO_ONNX, 0, silence=0.0)])) == []
    assert spoken(2.0, silence=1.5).sounding_seconds == pytest.approx(2.0, abs=0.05)
    assert spoken(0.0).sounding_seconds == 0.0


def test_nothing_to_compare_with_is_a_failure() -> None:
    assert "did not speak" in next(failures([cell(SERVICE, 0), cell(KOKORO_ONNX, 0, length=TWO_SENTENCES)]))
    deaf = [Cell(KOKORO, side, LONG, [[spoken(2.0)]]) for side in (SERVICE, KOKORO_ONNX)]
    assert "nobody listened" in next(failures(deaf))
    # Of other programs and of compressed audio nothing is expected.
    assert list(failures([cell(FASTKOKORO, 90), cell(MP3, 0)])) == []


def test_all_answers_of_all_audio_are_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def running(name: str, settings: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(url="http://asr")

    heard: list[int] = []

    def transcribe(request: httpx.Request) -> httpx.Response:
        heard.append(len(request.read()))
        return httpx.Response(200, json={"text": "These are five plane words"})

    monkeypatch.setattr(services, "running", running)
    rounds = [[spoken(0.1)] * 2] * 3
    cells = [Cell(KOKORO, side, BRIEF, rounds) for side in (SERVICE, FASTKOKORO, MP3)]
    with httpx.Client(transport=httpx.MockTransport(transcribe)) as client:
        found = understood(cells, Plan(1, 1, 0, 1.0), client)
    assert [one.words for one in found] == [WordErrors(6, 30), WordErrors(6, 30), None]
    assert len(heard) == 12
    assert min(heard) > 2 * 0.1 * RATE
