"""The numpy network of Resemblyzer's encoder, against its formulas written out; and what its engine refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.engine import SAMPLE_RATE
from asr.diarization.engines import ge2e
from asr.diarization.engines.ge2e import Ge2eEngine
from asr.diarization.ge2e import FRAME, LOUDNESS, MELS, SHIFT, WINDOW, Ge2eNetwork, gain, mel
from asr.diarization.own_weights import own_name
from core.engines import EngineContext
from core.errors import ConfigurationError, ModelBroken
from utils.audio.pcm import Samples
from utils.digest import sha256_of

WIDTH, SIZE = 5, 7
NOISE: Samples = np.random.default_rng(9).normal(0, 0.05, 3 * SAMPLE_RATE).astype(np.float32)


def state(width: int = WIDTH, size: int = SIZE) -> dict[str, Any]:
    """Weights by torch's names, as small numbers."""
    numbers = np.random.default_rng(10)
    found: dict[str, Any] = {}
    for layer in range(3):
        inputs = width if layer else MELS
        found[f"lstm.weight_ih_l{layer}"] = numbers.normal(0, 0.3, (4 * width, inputs))
        found[f"lstm.weight_hh_l{layer}"] = numbers.normal(0, 0.3, (4 * width, width))
        found[f"lstm.bias_ih_l{layer}"] = numbers.normal(0, 0.3, 4 * width)
        found[f"lstm.bias_hh_l{layer}"] = numbers.normal(0, 0.3, 4 * width)
    found["linear.weight"] = numbers.normal(0, 0.5, (size, width))
    found["linear.bias"] = numbers.normal(0.2, 0.5, size)
    return found


def expected(weights: dict[str, Any], energies: np.ndarray) -> np.ndarray:
    """The vector by the formulas of torch.nn.LSTM, one step after the other."""
    inputs = energies.astype(np.float64)
    for layer in range(3):
        given, before = weights[f"lstm.weight_ih_l{layer}"], weights[f"lstm.weight_hh_l{layer}"]
        bias = weights[f"lstm.bias_ih_l{layer}"] + weights[f"lstm.bias_hh_l{layer}"]
        width = before.shape[1]
        state, cell, states = np.zeros(width), np.zeros(width), []
        for step in inputs:
            i, f, g, o = np.split(given @ step + before @ state + bias, 4)
            cell = cell / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            state = np.tanh(cell) / (1 + np.exp(-o))
            states.append(state)
        inputs = np.array(states)
    vector = np.maximum(weights["linear.weight"] @ inputs[-1] + weights["linear.bias"], 0)
    return vector / np.linalg.norm(vector)


class TestNetwork:
    def test_it_computes_the_formulas(self) -> None:
        weights = state()
        (found,) = Ge2eNetwork(weights)([NOISE[:8000]])
        assert found == pytest.approx(expected(weights, mel(NOISE[:8000])), abs=1e-4)

    def test_windows_do_not_depend_on_those_beside_them(self) -> None:
        network = Ge2eNetwork(state())
        windows = [NOISE[:4000], NOISE[4000:30000], NOISE[:400]]
        together = network(windows)
        assert together.shape == (3, SIZE)
        for window, vector in zip(windows, together, strict=True):
            assert network([window])[0] == pytest.approx(vector, abs=1e-5)

    def test_more_windows_than_a_batch(self) -> None:
        found = Ge2eNetwork(state())([NOISE[start : start + 1600] for start in range(0, 40 * 160, 160)])
        assert found.shape == (40, SIZE)
        assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(40), abs=1e-5)

    def test_loud_input_does_not_overflow(self) -> None:
        assert np.isfinite(Ge2eNetwork(state())([NOISE[:8000] * 1000])).all()

    def test_a_missing_tensor_is_told(self) -> None:
        weights = state()
        del weights["lstm.bias_hh_l1"]
        with pytest.raises(KeyError, match="bias_hh_l1"):
            Ge2eNetwork(weights)

    @pytest.mark.parametrize("name", ["lstm.weight_ih_l1", "lstm.weight_hh_l0", "linear.weight"])
    def test_shapes_that_do_not_fit_are_told(self, name: str) -> None:
        weights = state()
        weights[name] = weights[name][:, :-1]
        with pytest.raises(ValueError, match="do not fit"):
            Ge2eNetwork(weights)


class TestMel:
    def test_frames_fit_whole(self) -> None:
        assert mel(NOISE[:WINDOW]).shape == (1 + (WINDOW - FRAME) // SHIFT, MELS)
        assert mel(NOISE[: WINDOW + FRAME - SHIFT]).shape == (160, MELS)
        assert mel(NOISE[:10]).shape == (1, MELS)

    def test_ten_times_as_loud_is_a_hundred_times_the_energy(self) -> None:
        assert mel(NOISE[:8000] * 10) == pytest.approx(100 * mel(NOISE[:8000]), rel=1e-3)

    def test_a_tone_is_in_its_band(self) -> None:
        """On Slaney's scale of 40 bands up to 8 kHz, 1 kHz (mel 15) is nearest to the 14th: mel 15.4."""
        tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / SAMPLE_RATE).astype(np.float32)
        assert int(mel(tone).mean(axis=0).argmax()) == 13


def test_only_what_is_quiet_is_amplified() -> None:
    assert gain(LOUDNESS**2 / 4) == pytest.approx(2)
    assert gain(LOUDNESS**2 * 4) == 1
    assert gain(0.0) == 1


class TestEngine:
    def test_without_a_folder_it_says_what_it_needs(self) -> None:
        with pytest.raises(ConfigurationError, match="pretrained"):
            Ge2eEngine(EngineContext()).load()

    def test_a_missing_or_damaged_file_is_told(self, tmp_path: Path) -> None:
        engine = Ge2eEngine(EngineContext(model=tmp_path))
        with pytest.raises(ModelBroken, match="pretrained"):
            engine.load()
        (tmp_path / "pretrained.pt").write_bytes(b"not a file of torch")
        with pytest.raises(ModelBroken, match="pretrained"):
            engine.load()

    def test_vectors_of_other_weights_are_no_resemblyzers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ge2e, "read_tensors", lambda *_: state(size=256))
        (tmp_path / "pretrained.pt").write_bytes(b"weights")
        engine = Ge2eEngine(EngineContext(model=tmp_path))
        engine.load()
        assert engine.facts.model == own_name("ge2e", tmp_path / "pretrained.pt")
        monkeypatch.setattr(ge2e, "WEIGHTS_SHA256", sha256_of(tmp_path / "pretrained.pt"))
        engine = Ge2eEngine(EngineContext(model=tmp_path))
        engine.load()
        assert engine.facts.model == "ge2e"
