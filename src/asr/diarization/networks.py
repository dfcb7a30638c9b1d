"""The two networks of a diarization pipeline, in ONNX Runtime: who of up to three voices speaks, and how they sound."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asr.diarization import fbank
from asr.diarization.clip import Clip
from asr.diarization.community import FRAMES, VOICES, WINDOW
from asr.diarization.engine import SAMPLE_RATE, EncoderFacts, Vector
from asr.diarization.likeness import unit
from asr.diarization.own_weights import own_name
from asr.diarization.shares import unheard
from asr.diarization.stats import STRIDE, Frames, Projection, encoded, level
from core.engines import EngineContext
from core.errors import ConfigurationError, InvalidAudio, ModelBroken
from core.onnx import open_session
from utils.audio.pcm import Samples
from utils.digest import sha256_of
from utils.onnx_outputs import Graph, NotOneTensor

WESPEAKER = EncoderFacts(model="wespeaker-resnet34-lm", size=256, verify=0.5, identify=0.5)
"""What is known of the speaker encoder of community-1."""
PULLED = frozenset({"diarization-community1", "wespeaker-resnet34-lm"})
SHA256 = frozenset(
    {
        "9715e3996ef181252aa1cc0c9398060f42b2c984c2fb65e3604262555e2efb1a",
        "6e4af7d49562e6e7042672e444d6394935cb2c23c3a7dd4919da45922b91735b",
    }
)
"""Of the catalogue's segmentation and speaker encoder."""
LEAST_SAMPLES = SAMPLE_RATE // 10
"""Of less no vector is made."""
_FRAMES, _MATRIX, _BIAS = "frames", "matrix", "bias"
_ERRORS_ONLY = 3


class Segmentation:
    """Tells which voices speak in windows of ten seconds: input `waveforms`, output (windows, FRAMES, VOICES).

    Raises ModelBroken for a file that is something else.
    """

    def __init__(self, path: Path, context: EngineContext) -> None:
        self._session = open_session(path, context, spins=False)
        try:
            shape = self(np.zeros((1, 1, WINDOW), dtype=np.float32)).shape
        except Exception as error:  # the seam: onnxruntime's errors share no base class
            raise ModelBroken(f"{path.name} is not a segmentation model that can be used: {error}") from error
        if shape != (1, FRAMES, VOICES):
            raise ModelBroken(
                f"{path.name} is not a segmentation model that can be used: it answers {shape} to a window of ten "
                f"seconds, not {(1, FRAMES, VOICES)}: whether each of {VOICES} voices speaks, powerset decoded"
            )

    def __call__(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return 1 where a voice speaks, of windows of shape (windows, 1, samples)."""
        found: npt.NDArray[np.float32] = self._session.run(None, {"waveforms": windows})[0]
        return found


class SpeakerNetwork:
    """A speaker encoder of the WeSpeaker kind: inputs `fbank` and `weights`; statistics over time, then one matrix.

    `encode` and `project` are its two halves, `size` is that of its vectors. Raises ModelBroken for a file that is
    something else.
    """

    def __init__(self, path: Path, context: EngineContext) -> None:
        model = as_onnx(path)
        try:
            graph = Graph(memoryview(model))
            _, matrix, bias = graph.read_by("Gemm")
            more = graph.more_outputs({_FRAMES: graph.made_by("Relu", "Reshape"), _MATRIX: matrix, _BIAS: bias})
        except (NotOneTensor, ValueError) as error:
            raise ModelBroken(f"{path.name} is not a speaker encoder that can be used: {error}") from error
        self._session = open_session(path, context, content=model + more, spins=False)
        energies = np.zeros((1, 2 * STRIDE, fbank.MELS), dtype=np.float32)
        try:
            found = self._session.run([_MATRIX, _BIAS], {"fbank": energies, "weights": _ones(energies)})
            self.project = Projection(*found)
            self.size = len(self.project.bias)
            self.project(self.encode(energies[0]), np.ones((1, 2), dtype=np.float32))
        except Exception as error:  # the seam: onnxruntime's errors share no base class
            raise ModelBroken(f"{path.name} is not a speaker encoder that can be used: {error}") from error

    def encode(self, energies: Frames) -> Frames:
        """Return the frames, shape (count / STRIDE, width), of energies of shape (count, MELS)."""
        given = {"fbank": energies[None], "weights": _ones(energies[None])}
        found: Frames = self._session.run([_FRAMES], given)[0][0].T
        return found

    def embed(self, samples: Samples) -> Vector:
        """Return the vector of the voice in 16 kHz samples of speech, shape (size,), at length 1.

        Raises InvalidAudio for less than LEAST_SAMPLES.
        """
        if len(samples) < LEAST_SAMPLES:
            raise InvalidAudio("there is too little speech to tell whose voice it is", param="file")
        clip = Clip(samples)
        frames = np.concatenate(list(encoded(clip, self.encode, level(clip, unheard))))
        found: Vector = unit(self.project(frames, np.ones((1, len(frames)), dtype=np.float32))[0]).astype(np.float32)
        return found


def model_file(folder: Path | None, name: str, own: Path | None) -> Path:
    """Return the file of a network: one of the user's `own`, else NAME.onnx or NAME.ort of the model's folder.

    Raises ModelBroken where the file is not there, ConfigurationError for a model without a folder.
    """
    if own is not None:
        if not own.is_file():
            raise ModelBroken(f"there is no file {own}")
        return own
    if folder is None:
        raise ConfigurationError(f"a folder with {name}.ort is needed, and the model has none")
    found = next((path for end in ("onnx", "ort") if (path := folder / f"{name}.{end}").is_file()), None)
    if found is None:
        raise ModelBroken(f"there is no {name}.ort")
    return found


def is_own(path: Path, context: EngineContext) -> bool:
    """Return whether a network is the user's own, and not one of the catalogue's, which answers as they do.

    What lies in the folder of a pulled model is meant to be the catalogue's, also where it is damaged.
    """
    if context.model_id in PULLED and path.parent == context.model:
        return False
    return sha256_of(path) not in SHA256


def encoder_facts(network: SpeakerNetwork, own: Path | None) -> EncoderFacts:
    """Return what vectors of the network are: those of an encoder of the user's `own` compare with no others."""
    return WESPEAKER if own is None else replace(WESPEAKER, model=own_name(own.stem, own), size=network.size)


def as_onnx(path: Path) -> bytes:
    """Return a model in the ONNX format; a file in ONNX Runtime's own format is rewritten by ONNX Runtime.

    Only what is in the ONNX format gets the fast layouts of the machine's processor: twice as fast here.
    """
    if path.suffix != ".ort":
        return path.read_bytes()
    import onnxruntime  # noqa: PLC0415 - in worker processes alone

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1  # nothing is computed
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
