"""Windows put together again: who speaks in a recording, out of who speaks in overlapping windows of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization import community
from asr.diarization.clip import Clip
from asr.diarization.clustering import NOBODY
from asr.diarization.community import GRID, VOICES, WINDOW, Heard, alone, listen, starts, together, vectors
from asr.diarization.engine import SAMPLE_RATE, Turn
from asr.diarization.stats import STRIDE, Frames, Projection, encoded, level
from asr.diarization.timeline import turns

FRAMES, SIZE = 589, 4
ONE, OTHER = np.eye(2, SIZE)
Says = Callable[[float], bool]


def heard(*voices: Says, windows: int = 3, embeddings: np.ndarray | None = None) -> Heard:
    """Windows one second apart, in which voices talk when their functions of the time say so."""
    active = np.zeros((windows, FRAMES, VOICES), dtype=np.bool_)
    for window in range(windows):
        for frame in range(FRAMES):
            for voice, says in enumerate(voices):
                active[window, frame, voice] = says(window + GRID.middle(frame))
    if embeddings is None:
        embeddings = np.zeros((windows, VOICES, SIZE), dtype=np.float32)
    return Heard(1.0, active, embeddings, np.zeros(0), np.zeros((0, SIZE), dtype=np.float32))


def with_moments(found: Heard, moments: list[float], sounds: np.ndarray) -> Heard:
    return Heard(found.step, found.active, found.embeddings, np.array(moments), sounds.astype(np.float32))


def told(found: Heard, labels: np.ndarray, seconds: float = 12.0) -> tuple[list[Turn], list[Turn]]:
    centroids = np.stack([ONE, OTHER])
    both = together(found, labels, centroids, GRID.frame(seconds) + 1)
    return tuple(turns(one, GRID, duration=seconds) for one in both)  # type: ignore[return-value]


def labelled(*speakers: int, windows: int = 3) -> np.ndarray:
    return np.tile(np.array(speakers), (windows, 1))


def approximately(*wanted: tuple[float, float, int]) -> list[Turn]:
    """Turns to compare with: to within two frames."""
    return [
        Turn(pytest.approx(start, abs=0.035), pytest.approx(end, abs=0.035), speaker) for start, end, speaker in wanted
    ]


@pytest.mark.parametrize(
    ("seconds", "step", "count"), [(0, 1.0, 1), (3, 1.0, 1), (10, 1.0, 1), (10.1, 1.0, 2), (12, 1.0, 3), (12, 2.0, 2)]
)
def test_windows_reach_to_the_end(seconds: float, step: float, count: int) -> None:
    length = round(seconds * SAMPLE_RATE)
    places = starts(length, step)
    assert len(places) == count
    assert places[-1] + WINDOW >= length


def test_alone_is_who_talks_when_nobody_else_does() -> None:
    active = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=np.bool_)
    assert alone(active).tolist() == [[True, False, False], [False, False, False], [False, False, False]]


def test_turns_go_on_from_window_to_window() -> None:
    every, single = told(heard(lambda at: at < 5, lambda at: 5 <= at < 11), labelled(0, 1, NOBODY))
    assert every == single == approximately((0.03, 5, 0), (5, 11, 1))


def test_two_talk_at_once_and_one_in_the_exclusive_timeline() -> None:
    every, single = told(heard(lambda at: at < 7, lambda at: at >= 5), labelled(0, 1, NOBODY))
    assert every == approximately((0.03, 7, 0), (5, 12, 1))
    assert single == approximately((0.03, 7, 0), (7, 12, 1))


def test_whom_no_window_names_is_told_by_the_moments() -> None:
    middles = np.arange(0.25, 12, 0.5).tolist()
    sounds = np.array([ONE if middle < 5 else OTHER for middle in middles])
    found = with_moments(heard(lambda at: at < 5, lambda at: at >= 5), middles, sounds)
    every, single = told(found, labelled(0, NOBODY, NOBODY))
    assert every == single == approximately((0.03, 5, 0), (5, 12, 1))


def test_the_sound_of_a_moment_outvotes_the_windows() -> None:
    found = heard(lambda at: at >= 0)
    middles = np.arange(0.25, 12, 0.5).tolist()
    sounds = np.array([ONE if middle < 6 else OTHER for middle in middles])
    assert told(found, labelled(0, NOBODY, NOBODY))[1] == approximately((0.03, 12, 0))
    first, second = told(with_moments(found, middles, sounds), labelled(0, NOBODY, NOBODY))[1]
    assert (first.speaker, second.speaker) == (0, 1)
    assert first.end == second.start == pytest.approx(6, abs=0.3)


def test_what_is_decided_at_once_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    found = heard(lambda time: time < 6, lambda time: 4 < time < 9)
    found = with_moments(found, [1.0, 5.0, 8.0], np.stack([ONE, ONE, OTHER]))
    labels = labelled(0, 1, NOBODY)
    whole = told(found, labels)
    monkeypatch.setattr(community, "_DECIDED", 50)
    assert told(found, labels) == whole
    assert len({turn.speaker for turn in whole[0]}) == 2


def test_a_moment_tells_nothing_of_what_is_far_away() -> None:
    found = with_moments(heard(lambda at: at >= 0), [1.0], OTHER[None])
    single = told(found, labelled(0, NOBODY, NOBODY))[1]
    assert [turn.speaker for turn in single] == [1, 0]
    assert single[1].start == pytest.approx(2, abs=0.05)


def test_speakers_are_sought_among_voices_that_are_alone_for_long() -> None:
    embeddings = np.random.default_rng(7).normal(size=(3, VOICES, SIZE)).astype(np.float32)
    embeddings[2, 1] = np.nan
    found = heard(lambda at: at < 9, lambda at: at >= 11.5, embeddings=embeddings)
    # The second voice talks for half a second of the last window, and has no vector there.
    assert found.speaks.tolist() == [[True, False, False]] * 3
    assert vectors(found).tolist() == embeddings[:, 0].astype(np.float64).tolist()


def test_where_nobody_is_alone_for_long_all_voices_count() -> None:
    embeddings = np.ones((3, VOICES, SIZE), dtype=np.float32)
    both = heard(lambda at: at < 9, lambda at: at < 9, embeddings=embeddings)
    assert not both.clean.any()
    assert vectors(both).shape == (6, SIZE)
    assert vectors(heard(embeddings=embeddings)).shape == (0, SIZE)


def test_all_voices_count_where_more_people_are_asked_for_than_are_alone_for_long() -> None:
    embeddings = np.ones((1, VOICES, SIZE), dtype=np.float32)
    found = heard(lambda at: at < 8, lambda at: 8 <= at < 9, windows=1, embeddings=embeddings)
    assert found.clean.tolist() == [[True, False, False]]
    assert [len(vectors(found, least=least)) for least in (1, 2, 100)] == [1, 2, 2]


class TestListen:
    """With networks that are simple: who is loud talks, and the vector is that of the energies."""

    PROJECT = Projection(np.eye(160, dtype=np.float32), np.zeros(160, dtype=np.float32))

    def segment(self, windows: np.ndarray) -> np.ndarray:
        edges = np.linspace(0, WINDOW, FRAMES + 1).astype(int)[:-1]
        loud = np.maximum.reduceat(np.abs(windows[:, 0]), edges, axis=1) > 0.01
        return np.stack([loud, np.zeros_like(loud), np.zeros_like(loud)], axis=2).astype(np.float32)

    def encode(self, energies: Frames) -> Frames:
        return energies[::STRIDE]

    def listen(self, clip: Clip, shares: list[float]) -> Heard:
        blocks = encoded(clip, self.encode, level(clip, lambda _: None))
        return listen(clip, self.segment, blocks, self.PROJECT, step=1.0, batch=4, progress=shares.append)

    def test_every_window_has_activity_and_vectors(self) -> None:
        samples = np.random.default_rng(8).normal(0, 0.1, 25 * SAMPLE_RATE).astype(np.float32)
        samples[5 * SAMPLE_RATE : 8 * SAMPLE_RATE] = 0
        shares: list[float] = []
        found = self.listen(Clip(samples), shares)
        assert found.active.shape == (16, FRAMES, VOICES)
        assert found.embeddings.shape == (16, VOICES, 160)
        assert np.isfinite(found.embeddings[:, 0]).all()
        assert np.isnan(found.embeddings[:, 1:]).all()
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)
        # Two moments a second over the whole, but for the silence.
        assert len(found.moments) == len(found.sounds)
        assert np.diff(found.moments).min() == pytest.approx(0.5)
        assert found.moments[0] < 0.5
        assert found.moments[-1] > 24
        assert not ((found.moments > 5.6) & (found.moments < 7.4)).any()

    @pytest.mark.parametrize("samples", [1, 300, 5000])
    def test_hardly_any_audio_is_one_window(self, samples: int) -> None:
        found = self.listen(Clip(np.full(samples, 0.1, dtype=np.float32)), [])
        assert found.active.shape == (1, FRAMES, VOICES)
        assert len(vectors(found)) <= 1
