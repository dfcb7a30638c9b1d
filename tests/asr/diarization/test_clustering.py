"""How many speakers there are, and who is who: on made-up vectors whose speakers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization import clustering
from asr.diarization.clustering import (
    NOBODY,
    Clustering,
    assign,
    averages,
    cut,
    grow,
    merged,
    nearest,
    portions,
    split,
)
from asr.diarization.engine import DiarizeOptions
from asr.diarization.likeness import Matrix, unit
from asr.diarization.vbx import Plda, refine

SIZE = 128
EACH = 40


def plda() -> Plda:
    """A model in which speakers differ ten times as much as one does, in every direction."""
    zeros = np.zeros(SIZE)
    return Plda.read(mean1=zeros, mean2=zeros, lda=np.eye(SIZE), mu=zeros, tr=np.eye(SIZE), psi=np.full(SIZE, 10.0))


def people(count: int) -> Matrix:
    """The voices of so many people: unit vectors of any directions."""
    return unit(np.random.default_rng(3).normal(size=(count, SIZE)))


def said(count: int, *, each: int = EACH) -> tuple[Matrix, np.ndarray]:
    """What `count` people say in turn, and who says what."""
    who = np.arange(count * each) % count
    noise = np.random.default_rng(4).normal(0, 0.02, (len(who), SIZE))
    return people(count)[who] + noise, who


def same(labels: np.ndarray, who: np.ndarray) -> bool:
    """Whether two labellings are one up to the names."""
    pairs = set(zip(labels.tolist(), who.tolist(), strict=True))
    return len(pairs) == len(set(labels.tolist())) == len(set(who.tolist()))


@pytest.fixture
def short_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of few embeddings, so that little is much."""
    monkeypatch.setattr(clustering, "PORTION", 20)


class TestCentroids:
    def found(self, embeddings: Matrix, **options: Any) -> Matrix:
        return Clustering().centroids(embeddings, plda(), DiarizeOptions(**options))

    def test_people_are_found_and_counted(self) -> None:
        embeddings, who = said(3)
        found = self.found(embeddings)
        assert found.shape == (3, SIZE)
        assert same(nearest(embeddings, found), who)

    @pytest.mark.usefixtures("short_portions")
    def test_in_portions_they_are_the_same_people(self) -> None:
        embeddings, who = said(3)
        found = self.found(embeddings)
        assert len(found) == 3
        assert same(nearest(embeddings, found), who)

    @pytest.mark.parametrize(
        ("options", "count"),
        [
            ({"num_speakers": 1}, 1),
            ({"num_speakers": 3}, 3),
            ({"num_speakers": 5}, 5),
            ({"min_speakers": 4}, 4),
            ({"max_speakers": 2}, 2),
            ({"min_speakers": 2, "max_speakers": 9}, 3),
        ],
    )
    def test_there_are_as_many_as_the_options_say(self, options: dict[str, int], count: int) -> None:
        found = self.found(said(3)[0], **options)
        assert found.shape == (count, SIZE)
        assert np.isfinite(found).all()

    def test_one_voice_is_one_speaker_whatever_is_asked_for(self) -> None:
        assert self.found(people(1)).shape == (1, SIZE)
        assert self.found(people(1), num_speakers=4).shape == (1, SIZE)

    def test_voices_that_do_not_differ_are_not_told_apart(self) -> None:
        found = self.found(np.repeat(people(1), 10, axis=0), num_speakers=3)
        assert found.shape == (1, SIZE)
        assert np.allclose(found, people(1))

    @pytest.mark.usefixtures("short_portions")
    def test_progress_is_told_between_portions_and_ends_the_work(self) -> None:
        shares: list[float] = []
        Clustering().centroids(said(3)[0], plda(), DiarizeOptions(num_speakers=5), progress=shares.append)
        assert len(shares) >= 2 * len(list(portions(3 * EACH)))
        assert shares == sorted(shares)
        assert shares[-1] <= 1

        def stop(_: float) -> None:
            raise KeyError("nobody waits")

        with pytest.raises(KeyError):
            Clustering().centroids(said(3)[0], plda(), DiarizeOptions(), progress=stop)
        with pytest.raises(KeyError):
            split(said(3)[0], 0.5, DiarizeOptions(), progress=stop)


class TestTrees:
    def test_near_ones_grow_together(self) -> None:
        embeddings, who = said(4, each=5)
        assert same(grow(embeddings, 0.6), who)
        assert grow(embeddings[:1], 0.6).tolist() == [0]

    @pytest.mark.parametrize("count", [1, 4, 20])
    def test_cut_makes_as_many(self, count: int) -> None:
        labels = cut(said(4, each=5)[0], count)
        assert sorted(set(labels.tolist())) == list(range(count))

    @pytest.mark.usefixtures("short_portions")
    def test_cut_makes_as_many_of_several_portions(self) -> None:
        embeddings, who = said(3)
        assert same(cut(embeddings, 3), who)

    @pytest.mark.parametrize("each", [5, 40])
    @pytest.mark.usefixtures("short_portions")
    def test_split_finds_how_many(self, each: int) -> None:
        embeddings, who = said(3, each=each)
        assert same(split(embeddings, 0.5, DiarizeOptions()), who)

    def test_split_heeds_the_options_and_not_its_threshold(self) -> None:
        embeddings, _ = said(3)
        assert set(split(embeddings, 0.5, DiarizeOptions(num_speakers=1)).tolist()) == {0}
        assert set(split(embeddings, 2.0, DiarizeOptions(min_speakers=2)).tolist()) == {0, 1}
        assert set(split(embeddings, 0.5, DiarizeOptions(max_speakers=2)).tolist()) == {0, 1}

    def test_the_threshold_is_a_cosine_distance(self) -> None:
        turned = np.array([[1.0, 0.0], [np.cos(1), np.sin(1)]])  # 0.46 apart
        assert split(turned, 0.45, DiarizeOptions()).tolist() != [0, 0]
        assert split(turned, 0.47, DiarizeOptions()).tolist() == [0, 0]

    def test_a_vector_without_direction_does_no_harm(self) -> None:
        labels = split(np.vstack([people(2), np.zeros((1, SIZE))]), 0.1, DiarizeOptions())
        assert sorted(labels.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 19, 20, 21, 50])
@pytest.mark.usefixtures("short_portions")
def test_portions_cover_everything_once(count: int) -> None:
    parts = list(portions(count))
    assert [place for part in parts for place in range(part.start, part.stop)] == list(range(count))
    assert all(part.stop - part.start <= 20 for part in parts)


def test_the_most_alike_are_merged_first() -> None:
    angles = np.array([0.0, 0.3, 0.7])  # 0.3 and 0.4 apart: cosine similarities of 0.955 and 0.921
    centroids = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = merged(centroids, np.array([3.0, 1.0, 1.0]), 0.9)
    assert len(found) == 2
    assert found[0] == pytest.approx(0.75 * centroids[0] + 0.25 * centroids[1])
    assert found[1] == pytest.approx(centroids[2])
    assert len(merged(centroids, np.ones(3), 0.99)) == 3
    assert len(merged(centroids, np.ones(3), -1)) == 1


def test_averages() -> None:
    found = averages(np.array([[0.0, 2.0], [4.0, 4.0], [2.0, 4.0]]), np.array([1, 0, 1]))
    assert found.tolist() == [[4.0, 4.0], [1.0, 3.0]]


class TestFew:
    def labels(self, *members: int, **options: Any) -> np.ndarray:
        who = np.repeat(np.arange(len(members)), members)
        return split(people(len(members))[who], 0.5, DiarizeOptions(**options))

    def test_what_few_windows_hear_is_nobody_of_his_own(self) -> None:
        assert len(np.bincount(self.labels(20, 20, 1, 2))) == 2
        assert len(np.bincount(self.labels(20, 20, 3))) == 3

    def test_in_a_short_recording_few_windows_are_many(self) -> None:
        assert len(np.bincount(self.labels(3, 1))) == 2
        assert self.labels(1).tolist() == [0]

    def test_they_are_there_when_they_are_asked_for(self) -> None:
        assert len(np.bincount(self.labels(20, 20, 1, num_speakers=3))) == 3

    def test_where_all_are_few_the_largest_stay(self) -> None:
        assert len(np.bincount(self.labels(*[2] * 20))) == 20


class TestAssign:
    CENTROIDS = np.array([[1.0, 0.0], [0.0, 1.0]])

    def test_two_voices_of_a_window_are_two_speakers(self) -> None:
        embeddings = np.array([[[0.9, 0.3], [1.0, 0.1], [np.nan, np.nan]]], dtype=np.float32)
        speaks = np.array([[True, True, False]])
        assert assign(embeddings, speaks, self.CENTROIDS).tolist() == [[1, 0, NOBODY]]

    def test_who_does_not_speak_takes_nobodys_place(self) -> None:
        embeddings = np.array([[[1.0, 0.0], [0.5, 0.4], [1.0, 0.0]]])
        speaks = np.array([[False, True, False]])
        assert assign(embeddings, speaks, self.CENTROIDS).tolist() == [[NOBODY, 0, NOBODY]]

    def test_of_more_voices_than_speakers_somebody_is_left(self) -> None:
        embeddings = np.array([[[0.5, 0.5], [1.0, 0.0], [0.1, 1.0]]])
        assert assign(embeddings, np.ones((1, 3), dtype=np.bool_), self.CENTROIDS).tolist() == [[NOBODY, 0, 1]]


class TestVbx:
    def test_the_space_has_the_variances_of_the_model(self) -> None:
        spread = np.linspace(1, 5, SIZE)
        zeros = np.zeros(SIZE)
        model = Plda.read(mean1=zeros, mean2=zeros, lda=np.eye(SIZE), mu=zeros, tr=np.eye(SIZE), psi=spread)
        assert model.between == pytest.approx(spread[::-1])
        points = model(people(4))
        assert np.linalg.norm(points, axis=1) == pytest.approx(np.full(4, SIZE**0.5))

    def test_loudness_of_a_vector_does_not_matter(self) -> None:
        assert plda()(people(2) * 7) == pytest.approx(plda()(people(2)))

    def test_a_speaker_too_many_is_given_up(self) -> None:
        embeddings, who = said(2)
        labels = who.copy()
        labels[:6:2] = 2  # three of the first one's
        belongs = refine(plda()(embeddings), plda().between, labels, fa=0.1, fb=0.8)
        assert belongs.shape == (2 * EACH, 2)
        assert same(belongs.argmax(axis=1), who)
        assert belongs.sum(axis=1) == pytest.approx(np.ones(2 * EACH), abs=1e-3)


def test_unit_leaves_nothing_as_it_is() -> None:
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]
