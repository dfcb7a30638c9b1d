"""The two networks of a diarization pipeline, in ONNX Runtime: who of up to three voices speaks, and how they sound."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asr.diarization import fbank
from asr.diarization.stats import STRIDE, Frames, Projection
from core.engines import EngineContext
from core.errors import ModelBroken
from core.onnx import open_session
from utils.onnx_outputs import Graph, NotOneTensor

_FRAMES, _MATRIX, _BIAS = "frames", "matrix", "bias"
_ERRORS_ONLY = 3


class Segmentation:
    """Tells which voices speak in windows of ten seconds: input `waveforms`, output (windows, frames, voices)."""

    def __init__(self, path: Path, context: EngineContext) -> None:
        self._session = open_session(path, context)

    def __call__(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return 1 where a voice speaks, of windows of shape (windows, 1, samples)."""
        found: npt.NDArray[np.float32] = self._session.run(None, {"waveforms": windows})[0]
        return found


class SpeakerNetwork:
    """A speaker encoder of the WeSpeaker kind: inputs `fbank` and `weights`; statistics over time, then one matrix.

    `encode` and `project` are its two halves. Raises ModelBroken for a file that is something else.
    """

    def __init__(self, path: Path, context: EngineContext) -> None:
        model = as_onnx(path)
        try:
            graph = Graph(memoryview(model))
            _, matrix, bias = graph.read_by("Gemm")
            more = graph.more_outputs({_FRAMES: graph.made_by("Relu", "Reshape"), _MATRIX: matrix, _BIAS: bias})
        except (NotOneTensor, ValueError) as error:
            raise ModelBroken(f"{path.name} is not a speaker encoder that can be used: {error}") from error
        self._session = open_session(path, context, content=model + more)
        energies = np.zeros((1, 2 * STRIDE, fbank.MELS), dtype=np.float32)
        found = self._session.run([_MATRIX, _BIAS], {"fbank": energies, "weights": _ones(energies)})
        self.project = Projection(*found)

    def encode(self, energies: Frames) -> Frames:
        """Return the frames, shape (count / STRIDE, width), of energies of shape (count, MELS)."""
        given = {"fbank": energies[None], "weights": _ones(energies[None])}
        found: Frames = self._session.run([_FRAMES], given)[0][0].T
        return found


def as_onnx(path: Path) -> bytes:
    """Return a model in the ONNX format; a file in ONNX Runtime's own format is rewritten by ONNX Runtime.

    Only what is in the ONNX format gets the fast layouts of the machine's processor: twice as fast here.
    """
    if path.suffix != ".ort":
        return path.read_bytes()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.save_model_format", "ONNX")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        options.optimized_model_filepath = str(target)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            return target.read_bytes()
        except Exception as error:  # the seam: onnxruntime's errors share no base class
            raise ModelBroken(f"{path.name} cannot be read: {error}") from error


def _ones(energies: Frames) -> Frames:
    return np.ones(energies.shape[:2], dtype=np.float32)
