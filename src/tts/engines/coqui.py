"""The Coqui engine: XTTS, VITS and the library's older families, from a model folder as Coqui publishes it.

It loads what it is given: whether the licence of XTTS's weights was accepted is asked by the catalogue.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from core.engines import EngineContext, EngineOptions
from core.errors import ConfigurationError, InternalError, ModelBroken, NotSupported, UnsupportedParameter
from tts.engine import TtsEngine
from tts.engines.coqui_files import CoquiFolder, as_voices
from tts.engines.coqui_model import CoquiModel, CoquiOptions, checked, translated
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio

# Below the cache folder that all TTS engines share.
LATENTS = "coqui-latents"
NUMBA = "numba"


class CoquiEngine(TtsEngine):
    """A Coqui model; what it can do (cloning, speeds, languages) depends on its family and is known after `load`."""

    Options: ClassVar[type[EngineOptions]] = CoquiOptions
    requires = ("TTS", "torch", "torchaudio")
    extra = "coqui"
    runtime = "torch"
    licence = "MPL-2.0"
    max_chars = 250
    speed_range = (0.5, 2.0)
    can_clone = True
    options: CoquiOptions

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._model: CoquiModel | None = None

    @classmethod
    def list_voices(cls, model: Path) -> Sequence[Voice]:
        """Return the speakers that JSON files name; those of XTTS are known after `load` only."""
        return CoquiFolder(model).voices()

    def load(self) -> None:
        """Load the weights, never code: every torch.load of the process is forced to weights_only.

        Raises ConfigurationError for a folder that cannot be loaded, NotSupported for an unknown family.
        """
        if self.context.model is None:
            raise ConfigurationError("the coqui engine needs a model folder")
        if self.context.compute_type not in {"default", "auto", "float32"}:
            raise ConfigurationError("the coqui engine computes in float32")
        # The library asks for weights_only itself; this keeps its next release, or a plug-in, from not asking.
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
        if self.context.cache:
            # librosa compiles with numba, which refuses to be imported where neither its folder nor a home is writable.
            os.environ.setdefault("NUMBA_CACHE_DIR", str(self.context.cache / NUMBA))
        for name in ("TTS", "transformers"):
            # Coqui warns with the text it was given, transformers about settings that are Coqui's.
            logging.getLogger(name).setLevel(logging.ERROR)
        with translated("loading the model", ConfigurationError):
            self._model = self._converting(self._open(CoquiFolder(self.context.model)), self.context.model)
            spoken = checked(self._model.try_out())
        if not spoken.size:
            raise ModelBroken("the model loads but does not speak")
        self.sample_rate = self._model.sample_rate
        self.languages = tuple(self._model.languages)
        self.speed_range = self._model.speed_range
        self.can_clone = self._model.can_clone

    def close(self) -> None:
        """Forget the weights; the end of the process is what really frees them."""
        self._model = None

    def voices(self) -> Sequence[Voice]:
        """Return the built-in voices, those of XTTS too once the model is loaded."""
        if self._model is None:
            return super().voices()
        return as_voices(self._model.speaker_names(), languages=list(self._model.languages))

    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        """Speak one piece; XTTS yields chunks while it generates, the others one chunk.

        Raises VoiceNotFound, UnsupportedParameter, NotSupported for a language whose package is missing.
        """
        model = self._loaded()
        if options.instructions is not None:
            raise UnsupportedParameter("Coqui models take no instructions", param="instructions")
        low, high = model.speed_range
        if not low <= options.speed <= high:
            raise UnsupportedParameter(f"the model speaks at speeds from {low} to {high}", param="speed")
        with translated("speaking", InternalError), contextlib.closing(model.speak(text, voice, options)) as spoken:
            for samples in spoken:
                yield Audio(samples, model.sample_rate)

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Prepare a voice from a recording; its latents are computed once and kept under the recording's hash.

        Raises InvalidAudio for a recording that is silent or too short, NotSupported for families without cloning.
        """
        model = self._loaded()
        with translated("cloning", InternalError):
            model.clone(voice, reference)

    def forget(self, voice: Voice) -> None:
        """Drop the latents of a voice."""
        if self._model is not None:
            self._model.forget(voice)

    def _loaded(self) -> CoquiModel:
        if self._model is None:
            raise InternalError("the model is not loaded")
        return self._model

    def _open(self, folder: CoquiFolder) -> CoquiModel:
        from tts.engines.coqui_synthesizer import FAMILIES, SynthesizerModel
        from tts.engines.coqui_tortoise import TortoiseModel
        from tts.engines.coqui_vits import VitsModel
        from tts.engines.coqui_xtts import XttsModel

        device, options, cache = self._device(), self.options, self.context.cache
        if folder.family == "xtts":
            return XttsModel(folder, device=device, options=options, cache=cache and cache / LATENTS)
        if folder.family == "vits":
            return VitsModel(folder, device=device, options=options)
        if folder.family == "tortoise":
            return TortoiseModel(folder, device=device, options=options)
        if folder.family in FAMILIES:
            return SynthesizerModel(folder, device=device, options=options)
        if folder.family == "bark":
            # Beside weights the library fetches a tokenizer and a codec, and deletes weights it does not know.
            raise NotSupported("Bark models are not supported: the library loads parts of them from the network")
        raise NotSupported(f"Coqui models of the family {folder.family or '(none named)'!r} are not supported")

    def _converting(self, model: CoquiModel, folder: Path) -> CoquiModel:
        """Return the model with the converter that the options name, if they do."""
        from tts.engines.coqui_conversion import ConvertedModel

        if self.options.converter is None:
            return model
        if model.can_clone:
            raise ConfigurationError("this Coqui model clones voices by itself; it takes no converter")
        return ConvertedModel(model, folder / Path(self.options.converter).expanduser(), device=self._device())

    def _device(self) -> str:
        """Return torch's name of the device; ROCm's devices are called cuda there."""
        import torch

        if self.context.threads:
            torch.set_num_threads(self.context.threads)
        wanted = self.context.device
        present = {
            "cpu": True,
            "cuda": torch.cuda.is_available(),
            "rocm": torch.cuda.is_available(),
            "mps": torch.backends.mps.is_available(),
        }
        if not present[wanted]:
            raise ConfigurationError(f"torch finds no {wanted} device")
        return f"cuda:{self.context.device_index}" if wanted in {"cuda", "rocm"} else wanted
