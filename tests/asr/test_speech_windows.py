"""Windows of speech: every sample of it in exactly one, none too long, cut where nobody speaks, little memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.speech_windows import EARLY_SECONDS, Window, listen, windows
from asr.transcript import VadOptions
from utils.audio import vad
from utils.audio.pcm import Audio, Samples
from utils.audio.spans import Span

RATE = 16_000
FRAME = 512
QUICK = VadOptions(min_speech_ms=0, min_silence_ms=200, speech_pad_ms=50)


@pytest.fixture
def loud_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is positive at the beginning of a frame is speech."""
    monkeypatch.setattr(vad._Model, "_run", lambda _, samples: [float(each > 0) for each in samples[64::FRAME]])


def blocks(samples: Samples, size: int) -> Iterator[Samples]:
    return (samples[at : at + size] for at in range(0, len(samples), size))


def keep(audio: Audio, spans: Iterable[Span]) -> Samples:
    """Return the spans of an audio, joined."""
    parts = [audio.samples[round(span.start * RATE) : round(span.end * RATE)] for span in spans]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def joined(found: list[Window]) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *(window.audio.samples for window in found)])


def merged(spans: list[Span]) -> list[tuple[int, int]]:
    """Return the spans in samples, touching ones as one."""
    result: list[tuple[int, int]] = []
    for start, stop in ((round(span.start * RATE), round(span.end * RATE)) for span in spans):
        touches = result and result[-1][1] == start
        result.append((result.pop()[0] if touches else start, stop))
    return result


def voiced(*stretches: float) -> Samples:
    """Speech and silence in turn, so many seconds each; all samples differ from their neighbours."""
    parts = [
        np.linspace(0.1, 1.0, round(seconds * RATE), dtype=np.float32) * (-1) ** number
        for number, seconds in enumerate(stretches)
    ]
    return np.concatenate(parts)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    frames=st.lists(st.integers(1, 60), max_size=12),
    rest=st.integers(0, 511),
    size=st.integers(400, 60_000),
    seconds=st.sampled_from([1.0, 3.0]),
    early=st.booleans(),
    with_vad=st.booleans(),
)
def test_all_speech_is_in_the_windows_once_and_in_order(
    loud_is_speech: None, frames: list[int], rest: int, size: int, **how: Any
) -> None:
    del loud_is_speech
    samples = voiced(0, *(0 for _ in range(rest % 2)), *(count * FRAME / RATE for count in frames), rest / RATE)
    options = QUICK if how.pop("with_vad") else None
    found = list(windows(blocks(samples, size), options, **how))
    whole = Audio(samples, RATE)
    spans = [Span(0.0, whole.duration)] if len(samples) else []
    if options:
        spans = vad.speech(whole, min_silence_ms=200, padding_ms=50)
    assert np.array_equal(joined(found), keep(whole, spans))
    assert merged([span for window in found for span in window.spans]) == merged(spans)
    for window in found:
        assert np.array_equal(keep(whole, window.spans), window.audio.samples)
    assert all(0 < window.audio.duration <= how["seconds"] for window in found[how["early"] :])
    assert all(window.audio.duration >= how["seconds"] / 2 for window in found[how["early"] : -1])


def test_short_audio_is_one_window_and_silence_none(loud_is_speech: None) -> None:
    del loud_is_speech
    (window,) = windows(blocks(voiced(9, 4, 9, 4, 9), RATE), VadOptions())
    assert [(round(span.start), round(span.end)) for span in window.spans] == [(0, 9), (13, 22), (26, 35)]
    assert list(windows(blocks(-voiced(9), RATE), VadOptions())) == []
    assert list(windows([], None)) == []


@pytest.mark.parametrize("size", [RATE, 10 * RATE, 200 * RATE])
def test_speech_before_long_silence_is_not_kept_waiting(loud_is_speech: None, size: int) -> None:
    del loud_is_speech
    found = list(windows(blocks(voiced(5, 20, 5, 40, 5, 100), size), VadOptions()))
    assert [[round(span.start) for span in window.spans] for window in found] == [[0, 25], [70]]


def test_silence_is_told_of_block_by_block(loud_is_speech: None) -> None:
    del loud_is_speech
    heard = list(listen(blocks(voiced(5, 95), 10 * RATE), VadOptions(speech_pad_ms=0)))
    (at,) = [index for index, each in enumerate(heard) if isinstance(each, Window)]
    assert heard[:at] == [0.0] * 3, "the speech is not told of yet"
    assert heard[at + 1 :] == pytest.approx([40, 50, 60, 70, 80, 90, 100], abs=0.1)
    assert list(listen(blocks(voiced(45), 10 * RATE), None))[:3] == [0.0] * 3


def test_a_window_ends_where_a_span_ends(loud_is_speech: None) -> None:
    del loud_is_speech
    found = list(windows(blocks(voiced(9, 4, 9, 4, 9, 4, 9), 10 * RATE), VadOptions()))
    assert [len(window.spans) for window in found] == [3, 1]
    assert found[1].spans[0].start == pytest.approx(39, abs=0.5)


def test_a_long_span_is_cut_at_its_best_pause_in_the_last_third(loud_is_speech: None) -> None:
    del loud_is_speech
    found = list(windows(blocks(voiced(15, 0.5, 7.5, 1, 3, 0.3, 18), 10 * RATE), VadOptions()))
    assert [window.spans[0].start for window in found] == pytest.approx([0, 23.5], abs=0.1)


@pytest.mark.parametrize(("seconds", "first"), [(19.0, 19.0), (45.0, 8.5)])
def test_an_early_window_is_short_where_there_is_much_to_come(
    loud_is_speech: None, seconds: float, first: float
) -> None:
    del loud_is_speech
    samples = voiced(8, 1, seconds - 9)
    found = list(windows(blocks(samples, 10 * RATE), VadOptions(), early=True))
    assert found[0].audio.duration == pytest.approx(first, abs=0.1)
    if len(found) > 1:
        assert EARLY_SECONDS[0] <= found[0].audio.duration <= EARLY_SECONDS[1]
        assert found[1].audio.duration > EARLY_SECONDS[1]


def test_an_early_window_does_not_wait_for_the_whole_file(loud_is_speech: None) -> None:
    del loud_is_speech
    taken = []
    source = (taken.append(block) or block for block in blocks(voiced(600), 10 * RATE))  # type: ignore[func-returns-value]
    next(windows(source, VadOptions(), early=True))
    assert len(taken) == 3


def test_the_rest_of_a_window(loud_is_speech: None) -> None:
    del loud_is_speech
    (window,) = windows(blocks(voiced(5, 3, 5, 3, 5), RATE), VadOptions(speech_pad_ms=0))
    first, second, third = window.spans
    rest = window.after(first.duration + 1.0)
    assert rest.spans[0].start == pytest.approx(second.start + 1.0)
    assert (rest.spans[0].end, *rest.spans[1:]) == (second.end, third)
    assert np.array_equal(rest.audio.samples, window.audio.samples[-len(rest.audio.samples) :])
    assert rest.audio.duration == pytest.approx(window.audio.duration - first.duration - 1.0)
    assert window.after(first.duration).spans == (second, third)


def test_real_speech_is_cut_in_its_pauses(speech_data: Path) -> None:
    samples, _ = soundfile.read(speech_data / "en" / "jfk.wav", dtype="float32")
    samples = np.tile(samples, 8)  # 88 seconds without a pause of two seconds
    found = list(windows(blocks(samples, 10 * RATE), VadOptions()))
    assert len(found) > 2
    loud = float(np.abs(samples).max())
    for window in found[:-1]:
        assert 20 <= window.audio.duration <= 30
        edge = round(window.spans[-1].end * RATE)
        assert np.abs(samples[edge - 800 : edge + 800]).max() < 0.1 * loud


MEASURE = """
import resource, sys
from pathlib import Path
import voice_stack
from asr.pieces import file_gain, read_blocks
from asr.speech_windows import windows
from asr.transcript import VadOptions
from utils.audio.pcm import PcmFile

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

def run(frames, rate, options):
    pcm = PcmFile(Path(sys.argv[1]), frames, rate)
    file_gain(pcm)
    return sum(window.audio.duration for window in windows(read_blocks(pcm, 16_000), options))

run(60 * 16_000, 16_000, None), run(60 * 44_100, 44_100, VadOptions())  # what is loaded once
before = peak()
everything = run(3 * 3600 * 16_000, 16_000, None)
nothing = run(1200 * 44_100, 44_100, VadOptions())
print(everything, nothing, peak() - before)
"""


def test_hours_of_audio_take_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    path = tmp_path / "audio.s16"
    with path.open("wb") as file:
        file.truncate(3 * 3600 * RATE * 2)  # a hole: hours of silence that take no room on the disk
    done = subprocess.run([sys.executable, "-c", MEASURE, path], check=True, capture_output=True, text=True)
    everything, nothing, megabytes = map(float, done.stdout.split())
    assert (everything, nothing) == (3 * 3600, 0)
    assert megabytes < 60
