"""The proof at load: a known signal, and answers to it that are right, nearly right or wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization import reference
from asr.diarization.engine import SAMPLE_RATE, Vector
from asr.diarization.engines.community1 import Community1Engine
from asr.diarization.networks import Segmentation
from asr.diarization.reference import MOST_FRAMES_APART, STORED, Reference, prove, signal
from core.engines import EngineContext
from core.errors import ModelBroken
from utils.audio.pcm import Samples

FRAMES, VOICES, SIZE = 589, 3, 256


@pytest.fixture
def right() -> Reference:
    """Two voices one after the other, and a vector."""
    active = np.zeros((FRAMES, VOICES), dtype=np.bool_)
    active[30:260, 0] = True
    active[320:560, 2] = True
    vector = np.random.default_rng(0).normal(size=SIZE)
    return Reference(active, (vector / np.linalg.norm(vector)).astype(np.float32))


def pitch(samples: Samples) -> float:
    """The frequency at which samples repeat, in Hz, between 80 and 320."""
    spectrum = np.abs(np.fft.rfft(samples, 1 << 15)) ** 2
    alike = np.fft.irfft(spectrum)[SAMPLE_RATE // 320 : SAMPLE_RATE // 80]
    return SAMPLE_RATE / (SAMPLE_RATE // 320 + int(alike.argmax()))


class TestSignal:
    def test_is_ten_seconds_that_nobody_can_change(self) -> None:
        samples = signal()
        assert (samples.dtype, samples.shape) == (np.float32, (10 * SAMPLE_RATE,))
        assert 0.2 < np.abs(samples).max() < 0.4
        with pytest.raises(ValueError, match="read-only"):
            samples[0] = 1

    def test_two_voices_of_different_pitch_talk_apart(self) -> None:
        one, between, other = (signal()[int(a * SAMPLE_RATE) :][:SAMPLE_RATE] for a in (0.5, 4.5, 5.5))
        assert not between.any()
        assert pitch(one) == pytest.approx(115, rel=0.15)
        assert pitch(other) == pytest.approx(205, rel=0.15)


class TestChecks:
    def test_the_same_answers_pass(self, right: Reference) -> None:
        right.check_activity(right.active)
        right.check_vector(right.vector * 3)

    def test_a_few_other_frames_pass_and_more_do_not(self, right: Reference) -> None:
        few, more = right.active.copy(), right.active.copy()
        few[: int(MOST_FRAMES_APART * FRAMES), 1] = True
        more[: int(2 * MOST_FRAMES_APART * FRAMES), 1] = True
        right.check_activity(few)
        with pytest.raises(ModelBroken, match="hears other voices in 10% of a known signal"):
            right.check_activity(more)

    @pytest.mark.parametrize("wrong", [np.zeros((FRAMES, VOICES), np.bool_), np.zeros((1, VOICES), np.bool_)])
    def test_silence_and_another_shape_do_not_pass(self, right: Reference, wrong: npt.NDArray[np.bool_]) -> None:
        with pytest.raises(ModelBroken, match="segmentation model"):
            right.check_activity(wrong)

    def test_a_nearly_equal_vector_passes_and_another_voice_does_not(self, right: Reference) -> None:
        noise = np.random.default_rng(1).normal(size=SIZE).astype(np.float32) / np.float32(SIZE**0.5)
        right.check_vector(right.vector + np.float32(0.05) * noise)
        with pytest.raises(ModelBroken, match="knows a known voice by"):
            right.check_vector(right.vector + noise)

    @pytest.mark.parametrize("size", [SIZE, 192])
    def test_nonsense_does_not_pass(self, right: Reference, size: int) -> None:
        with pytest.raises(ModelBroken, match="speaker encoder"):
            right.check_vector(np.full(size, np.nan, dtype=np.float32))


def test_answers_are_read_as_they_were_written(right: Reference, tmp_path: Path) -> None:
    right.write(tmp_path / "answers.json")
    found = Reference.read(tmp_path / "answers.json")
    assert (found.active == right.active).all()
    assert np.allclose(found.vector, right.vector, atol=1e-5)


class TestProve:
    @pytest.fixture(autouse=True)
    def stored(self, right: Reference, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        right.write(tmp_path / "answers.json")
        read = Reference.read
        monkeypatch.setattr(reference.Reference, "read", lambda: read(tmp_path / "answers.json"))

    def test_asks_the_models_it_is_given(self, right: Reference) -> None:
        asked: list[tuple[int, ...]] = []

        def segment(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            asked.append(windows.shape)
            return right.active[None].astype(np.float32)

        def embed(samples: Samples) -> Vector:
            asked.append(samples.shape)
            return right.vector

        prove(segment=segment, embed=embed)
        assert asked == [(1, 1, 10 * SAMPLE_RATE), (5 * SAMPLE_RATE,)]

    def test_models_that_answer_something_else_are_broken(self, right: Reference) -> None:
        with pytest.raises(ModelBroken, match="segmentation model"):
            prove(segment=lambda _: np.zeros((1, FRAMES, VOICES), np.float32), embed=lambda _: right.vector)
        with pytest.raises(ModelBroken, match="speaker encoder"):
            prove(embed=lambda _: -right.vector)

    def test_models_of_somebody_elses_are_not_asked(self) -> None:
        prove()


class TestStored:
    def test_says_that_two_voices_talk(self) -> None:
        found = Reference.read()
        assert found.active.any(axis=1).mean() > 0.3
        assert found.vector.shape == (SIZE,)
        assert np.linalg.norm(found.vector) == pytest.approx(1, abs=0.01)

    def test_is_a_file_beside_the_engine(self) -> None:
        assert STORED.is_file()
        assert (STORED.parent / "community1.py").is_file()

    @pytest.mark.e2e
    def test_the_pulled_models_answer_so(self, model_dir: Callable[[str], Path]) -> None:
        folder = model_dir("diarization-community1")
        context = EngineContext(model=folder, model_id=folder.name, threads=1)
        engine = Community1Engine(context)
        engine.load()
        prove(segment=Segmentation(folder / "segmentation.ort", context), embed=engine.embed)
