"""Voice activity: real speech is found, silence and noise are not, and cuts fall into pauses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import faster_whisper.vad as library
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.audio import vad
from utils.audio.pcm import Audio, Samples

RATE = 16_000


@pytest.fixture(scope="module")
def speech(speech_data: Path) -> Audio:
    samples, rate = soundfile.read(speech_data / "en" / "beckett.wav", dtype="float32")
    return Audio(samples, rate)


def quiet(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1e-4, round(seconds * RATE)).astype(np.float32)


def test_speech_between_silence_is_found_where_it_is(speech: Audio) -> None:
    audio = Audio(np.concatenate([quiet(4), speech.samples, quiet(5), speech.samples, quiet(3)]), RATE)
    first, second = vad.speech(audio)
    assert first.start == pytest.approx(4.0, abs=0.5)
    assert first.end <= 4.0 + speech.duration + 0.5
    assert second.start == pytest.approx(9.0 + speech.duration, abs=0.5)
    assert second.end <= audio.duration


@pytest.mark.parametrize("level", [0.0, 1e-3, 0.1])
def test_noise_is_no_speech(level: float) -> None:
    noise = np.random.default_rng(0).normal(0, level, 5 * RATE).astype(np.float32)
    assert vad.speech(Audio(noise, RATE)) == []
    assert vad.speech(Audio(noise[:0], RATE)) == []


def test_other_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="8000"):
        vad.speech(Audio(np.zeros(8000, np.float32), 8000))


def test_the_cut_falls_into_the_longest_pause(speech: Audio) -> None:
    audio = Audio(np.concatenate([speech.samples, quiet(3), speech.samples]), RATE)
    assert speech.duration < vad.find_silence(audio) < speech.duration + 3


def test_the_cut_between_words_falls_where_it_is_quiet(speech: Audio) -> None:
    loud = float(np.abs(speech.samples).max())
    middle = speech.samples[RATE : 9 * RATE]
    at = round(vad.find_silence(Audio(middle, RATE)) * RATE)
    assert np.abs(middle[at - 400 : at + 400]).max() < 0.1 * loud


def test_audio_without_speech_can_be_cut_anywhere() -> None:
    assert 0.0 <= vad.find_silence(Audio(np.zeros(3 * RATE, np.float32), RATE)) <= 3.0
    assert vad.find_silence(Audio(np.zeros(0, np.float32), RATE)) == 0.0


def merged(stretches: Iterable[vad.Stretch]) -> list[tuple[int, int]]:
    """Put the spans together that were told bit by bit."""
    spans: list[tuple[int, int]] = []
    goes_on = False
    for start, stop, ends in stretches:
        assert not goes_on or start == spans[-1][1]
        spans.append((spans.pop()[0] if goes_on else start, stop))
        goes_on = not ends
    assert not goes_on
    return spans


def fed(samples: Samples, sizes: Iterable[int], **options: Any) -> list[tuple[int, int]]:
    """Feed samples in blocks of these sizes, the rest in one; check what `settled` promises."""
    finder = vad.SpeechFinder(**options)
    told: list[vad.Stretch] = []
    for size in (*sizes, len(samples)):
        settled = finder.settled
        new = list(finder.feed(samples[:size]))
        assert all(settled <= stretch.start <= stretch.stop for stretch in new)
        told, samples = told + new, samples[size:]
    return merged([*told, *finder.feed(samples, last=True)])


def by_library(samples: Samples, *, threshold: float = 0.5, **milliseconds: int) -> list[tuple[int, int]]:
    options = library.VadOptions(
        threshold=threshold,
        min_speech_duration_ms=milliseconds.get("min_speech_ms", 0),
        min_silence_duration_ms=milliseconds.get("min_silence_ms", 2000),
        speech_pad_ms=milliseconds.get("padding_ms", 400),
    )
    return [(each["start"], each["end"]) for each in library.get_speech_timestamps(samples, options)]


MANY_OPTIONS = [
    {},
    {"min_speech_ms": 40},
    {"min_silence_ms": 100},
    {"min_silence_ms": 200, "padding_ms": 300, "min_speech_ms": 250},
    {"min_silence_ms": 0, "padding_ms": 0},
    {"threshold": 0.8, "min_silence_ms": 300, "padding_ms": 333, "min_speech_ms": 500},
]


@pytest.mark.parametrize("options", MANY_OPTIONS, ids=str)
def test_a_stream_has_the_spans_that_the_library_finds_in_the_whole(speech: Audio, options: dict[str, Any]) -> None:
    samples = np.concatenate([quiet(3), speech.samples, quiet(1), speech.samples[RATE : 7 * RATE + 77]])
    wanted = by_library(samples, **options)
    assert wanted
    for size in (160_000, 16_001, 512, 100):
        assert fed(samples, [size] * (len(samples) // size), **options) == wanted
    whole = vad.speech(Audio(samples, RATE), **options)
    assert [(round(span.start * RATE), round(span.end * RATE)) for span in whole] == wanted


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(sizes=st.lists(st.integers(0, 40_000), max_size=20), length=st.integers(1, 6 * RATE))
def test_it_does_not_matter_how_the_samples_come(speech: Audio, sizes: list[int], length: int) -> None:
    samples = speech.samples[RATE : RATE + length]
    options = {"min_silence_ms": 100, "padding_ms": 50}
    assert fed(samples, sizes, **options) == by_library(samples, **options)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    probabilities=st.lists(st.sampled_from([0.0, 0.3, 0.4, 0.5, 1.0]), min_size=1, max_size=60),
    rest=st.integers(1, 511),
    sizes=st.lists(st.integers(0, 4000), max_size=20),
    min_speech_ms=st.integers(0, 500),
    min_silence_ms=st.integers(0, 500),
    padding_ms=st.integers(0, 500),
)
def test_any_course_of_probabilities_gives_the_spans_of_the_library(
    monkeypatch: pytest.MonkeyPatch, probabilities: list[float], rest: int, sizes: list[int], **options: int
) -> None:
    def run(_: Any, samples: Samples) -> list[float]:
        return [probabilities[round(float(each))] for each in samples[64::512]]

    # Every frame says which one it is.
    samples = np.repeat(np.arange(len(probabilities), dtype=np.float32), 512)[: (len(probabilities) - 1) * 512 + rest]
    with monkeypatch.context() as patch:
        patch.setattr(vad._Model, "_run", run)
        found = fed(samples, sizes, **options)
    with monkeypatch.context() as patch:
        patch.setattr(library, "get_vad_model", lambda: lambda _: np.array(probabilities))
        assert found == by_library(samples, **options)


def test_speech_is_told_before_it_ends_and_silence_is_not_kept(speech: Audio) -> None:
    finder = vad.SpeechFinder()
    before = list(finder.feed(np.concatenate([speech.samples, quiet(0.5)])))
    assert before
    assert not before[-1].ends
    assert before[-1].stop > 0.8 * len(speech.samples)
    assert [stretch.ends for stretch in finder.feed(quiet(20))] == [True]
    fed_so_far = len(speech.samples) + 20.5 * RATE
    assert finder.settled > fed_so_far - RATE
