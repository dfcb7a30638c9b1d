"""How pieces of speech are joined."""

from __future__ import annotations

import numpy as np
import pytest

from tts.joins import FADE_SECONDS, joined
from tts.voice import SpokenWord, TimedAudio
from utils.audio.pcm import Audio

RATE = 24_000
FADE = round(FADE_SECONDS * RATE)


def tone(seconds: float, *, head: float = 0.0, tail: float = 0.0, offset: float = 0.4) -> np.ndarray:
    """A loud hum that begins and ends off zero, between silences of faint noise."""
    noise = np.random.default_rng(1).normal(scale=3e-4, size=round((head + seconds + tail) * RATE))
    start, size = round(head * RATE), round(seconds * RATE)
    noise[start : start + size] += offset + 0.1 * np.sin(np.arange(size) / 20)
    return noise.astype(np.float32)


def join(chunks: list[np.ndarray], *, follows: bool, pause: float | None) -> np.ndarray:
    made = joined((Audio(chunk, RATE) for chunk in chunks), follows=follows, pause=pause)
    return np.concatenate([chunk.samples for chunk in made] or [np.zeros(0, np.float32)])


def test_a_piece_that_stands_alone_is_left_as_it_is() -> None:
    piece = tone(0.5, head=0.1, tail=0.1)
    assert np.array_equal(join([piece], follows=False, pause=None), piece)


@pytest.mark.parametrize("pause", [0.0, 0.12, 2.0])
def test_silence_gives_way_to_a_pause_of_exactly_that_length(pause: float) -> None:
    made = join([tone(0.5, head=0.2, tail=0.3)], follows=True, pause=pause)
    assert len(made) == pytest.approx((0.5 + pause) * RATE, abs=2 * FADE + 2)
    assert not made[len(made) - round(pause * RATE) :].any()


def test_no_join_clicks() -> None:
    parts = [join([tone(0.3)], follows=False, pause=0.0)]
    parts += [join([tone(0.3)], follows=True, pause=pause) for pause in (0.0, 0.0, 0.1, 0.0)]
    sound = np.concatenate(parts)
    assert np.abs(np.diff(sound)[round(0.01 * RATE) :]).max() < 0.02  # the step of the first sample is the piece's own
    assert np.abs(sound).max() > 0.4


def test_only_the_ends_of_several_chunks_are_joined() -> None:
    chunks = [tone(0.2, head=0.1), tone(0.2), tone(0.2, tail=0.1)]
    made = join(chunks, follows=True, pause=0.0)
    assert len(made) == pytest.approx(0.6 * RATE, abs=2 * FADE + 2)
    assert np.array_equal(made[FADE + 4800 : FADE + 9600], chunks[1])


@pytest.mark.parametrize("quiet", [1, 3])
def test_quiet_chunks_at_the_end_are_part_of_the_pause(quiet: int) -> None:
    chunks = [tone(0.2), np.zeros(480, np.float32), tone(0.3, tail=0.1), *[tone(0, tail=0.1)] * quiet]
    made = join(chunks, follows=False, pause=0.5)
    assert len(made) == pytest.approx((0.2 + 0.02 + 0.3 + 0.5) * RATE, abs=FADE + 2)
    assert not made[len(made) - RATE // 2 :].any()


def test_words_of_quiet_chunks_at_the_end_are_told() -> None:
    chunks = [
        TimedAudio(tone(0.3), RATE, (SpokenWord("one", 0.0, 0.3),)),
        TimedAudio(tone(0, tail=0.2), RATE, (SpokenWord("hush", 0.0, 0.2),)),
        TimedAudio(tone(0, tail=0.2), RATE),
    ]
    made = list(joined(iter(chunks), follows=False, pause=0.5))
    assert [word.word for chunk in made for word in chunk.words] == ["one", "hush"]  # type: ignore[attr-defined]
    assert sum(chunk.duration for chunk in made) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("pause", [None, 0.0, 0.5])
def test_silence_alone_is_a_pause(pause: float | None) -> None:
    made = join([np.zeros(RATE, np.float32)], follows=True, pause=pause)
    assert len(made) in {0, round((pause or 0) * RATE)}
    assert join([], follows=True, pause=pause).size == 0


def test_words_stay_where_they_are_spoken() -> None:
    words = (SpokenWord("one", 0.25, 0.5), SpokenWord("two", 0.5, 0.9))
    chunk = TimedAudio(tone(0.5, head=0.25, tail=0.25), RATE, words)
    (made,) = joined(iter([chunk]), follows=True, pause=0.1)
    assert isinstance(made, TimedAudio)
    one, two = made.words
    assert one.start == pytest.approx(FADE_SECONDS, abs=1e-6)
    assert one.end == two.start == pytest.approx(0.25 + FADE_SECONDS, abs=1e-6)
    assert two.end == pytest.approx(0.5 + 2 * FADE_SECONDS, abs=1e-3)
    assert two.end <= made.duration - 0.1 + 1e-6
