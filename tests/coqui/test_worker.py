"""The TTS worker driving Coqui with tiny random weights: events, cancelling, cloning from a file, speed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from core.worker import Event
from tts.worker import TtsWorker

TEXT = "One sentence follows another."
TOKENS_PER_CHUNK = 20
TOKENS_PER_PIECE = 67
ADA = {"id": "ada_lovelace", "name": "Ada Lovelace"}


@pytest.fixture(scope="module")
def worker(xtts_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TtsWorker]:
    made = TtsWorker(
        {
            "engine": "coqui",
            "model": str(xtts_dir),
            "model_id": "tiny",
            "device": "cpu",
            "threads": 1,
            "cache": str(tmp_path_factory.mktemp("cache")),
            "auto_lang": False,
            # The tests count tokens, in any order: an utterance kept from the one before would cost none.
            "utterance_cache_mb": 0,
        }
    )
    facts = made.load()
    assert (facts["sample_rate"], facts["can_clone"], facts["device"]) == (24_000, True, "cpu")
    assert [(voice.id, voice.model) for voice in facts["voices"]] == [("ada_lovelace", "tiny")]
    yield made
    made.close()


def call(worker: TtsWorker, text: str = TEXT, voice: dict[str, Any] = ADA, **params: Any) -> Iterator[Event]:
    return iter(worker.call("synthesize", {"text": text, "voice": voice, **params}))


def test_every_chunk_is_an_event_and_is_sent_before_the_next_is_made(worker: TtsWorker, tokens: list[None]) -> None:
    events = call(worker)
    start = next(events)
    assert (start.name, start.data["sample_rate"], start.data["short"]) == ("start", 24_000, True)
    assert tokens == []
    for number in (1, 2, 3):
        event = next(events)
        assert (event.name, event.data["piece"]) == ("audio", 0)
        assert len(event.body) > 1000
        assert len(tokens) == number * TOKENS_PER_CHUNK
    assert len(list(events)) == 1


def test_closing_the_call_stops_the_model(worker: TtsWorker, tokens: list[None]) -> None:
    events = call(worker, f"{TEXT} " * 50)
    next(events)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert len(tokens) == TOKENS_PER_CHUNK
    assert [event.name for event in call(worker)].count("audio") == 4


def test_every_piece_is_spoken(worker: TtsWorker, tokens: list[None]) -> None:
    events = list(call(worker, f"{TEXT} " * 12))
    pieces = events[-1].data["piece"] + 1
    assert pieces > 1
    assert len(tokens) == pieces * TOKENS_PER_PIECE


def test_a_speed_beyond_the_models_own_is_left_to_the_encoder(worker: TtsWorker) -> None:
    start = next(call(worker, options={"speed": 4.0}))
    assert start.data["tempo"] == 2.0


def test_a_file_is_cloned_and_another_rate_is_resampled(worker: TtsWorker, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(scale=0.1, size=(48_000 * 2, 2))
    soundfile.write(tmp_path / "anna.wav", noise, 48_000, subtype="PCM_16")
    anna = {"id": "anna", "name": "anna", "type": "cloned", "sample": str(tmp_path / "anna.wav")}
    options = {"temperature": 0.0}
    spoken = {
        voice["id"]: b"".join(event.body for event in call(worker, voice=voice, options=options, sample_rate=16_000))
        for voice in (ADA, anna)
    }
    assert spoken["anna"] != spoken["ada_lovelace"]
    assert len(spoken["anna"]) / 2 / 16_000 == pytest.approx(0.78, abs=0.05)
