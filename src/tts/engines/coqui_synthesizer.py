"""Coqui's older families (Glow-TTS, Tacotron 2, FastPitch …): a spectrogram model and a vocoder, or Griffin-Lim."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import NotSupported, UnsupportedParameter, VoiceNotFound
from tts.engines.coqui_checkpoint import read_config, refuse_statistics
from tts.engines.coqui_files import SINGLE_SPEAKER, CoquiFolder, ids_of
from tts.engines.coqui_model import CoquiModel, CoquiOptions, checked, is_speakable, spelled
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Samples

FAMILIES = frozenset(
    {
        *("glow_tts", "fast_pitch", "fast_speech", "fastspeech2", "speedy_speech", "forward_tts", "align_tts"),
        *("tacotron", "tacotron2", "overflow", "neuralhmm_tts", "delightful_tts"),
    }
)
VOCODER = "vocoder"


class SynthesizerModel(CoquiModel):
    """A model of FAMILIES through the library's Synthesizer; a `vocoder` folder beside the checkpoint is used."""

    def __init__(self, folder: CoquiFolder, *, device: str, options: CoquiOptions) -> None:
        import torch

        options.refuse_all_but()
        if device == "mps":
            raise NotSupported(f"{folder.family} models run on cpu or cuda")
        self._torch = torch
        self._synthesizer = _load(folder, use_cuda=device != "cpu")
        self._model = self._synthesizer.tts_model
        self._length_scale = float(getattr(self._model, "length_scale", 0.0))
        if not self._length_scale:
            self.speed_range = (1.0, 1.0)
        self.sample_rate = int(self._synthesizer.output_sample_rate)
        self.languages = spelled(folder.languages())
        self._ids = ids_of(self.speaker_names())

    def speaker_names(self) -> Sequence[str]:
        """Return the speakers of the embedding table or of the d-vector file."""
        manager = self._model.speaker_manager
        names = [] if manager is None else (manager.embedding_names or manager.speaker_names)
        return list(names) or [SINGLE_SPEAKER]

    def speak(self, text: str, voice: Voice, options: SpeechOptions) -> Generator[Samples, None, None]:
        """Yield the samples of the piece in one chunk."""
        from TTS.utils.synthesizer import PAD_SILENCE_SAMPLES

        self._refuse(options)
        if voice.type != "builtin" or (name := self._ids.get(voice.id)) is None:
            raise VoiceNotFound("this model has no such voice", param="voice")
        language = self.language(options.language or voice.language)
        if not is_speakable(text):
            return
        if self._length_scale:
            self._model.length_scale = self._length_scale / options.speed
        if options.seed is not None:
            self._torch.manual_seed(options.seed)
            # Griffin-Lim draws its phases from numpy.
            np.random.seed(options.seed % 2**32)
        several = len(self.languages) > 1
        spoken = self._synthesizer.tts(
            text, speaker_name=name, language_name=language if several else None, split_sentences=False
        )
        yield checked(np.asarray(spoken[:-PAD_SILENCE_SAMPLES], dtype=np.float32))

    def _refuse(self, options: SpeechOptions) -> None:
        if options.temperature is not None:
            raise UnsupportedParameter("this model has no temperature", param="temperature")
        if not self._length_scale and options.speed != 1.0:
            raise UnsupportedParameter("this model speaks at one speed", param="speed")

    def try_out(self) -> Samples:
        """Return a short word of the first speaker."""
        return next(self.speak("one", Voice(id=next(iter(self._ids)), name=""), SpeechOptions()))


def _load(folder: CoquiFolder, *, use_cuda: bool) -> Any:
    from TTS.utils.synthesizer import Synthesizer

    vocoder = _vocoder(folder)
    config = read_config(folder, FAMILIES)
    # The Synthesizer reads its configuration from a file, and the model's own is not ours to change.
    with tempfile.TemporaryDirectory(prefix="voice-stack-coqui-") as directory:
        path = Path(directory) / "config.json"
        path.write_text(json.dumps(config.to_dict()), encoding="utf-8")
        return Synthesizer(
            tts_checkpoint=str(folder.checkpoint()),
            tts_config_path=str(path),
            vocoder_checkpoint=str(vocoder.checkpoint()) if vocoder else None,
            vocoder_config=str(vocoder.config_path) if vocoder else None,
            use_cuda=use_cuda,
        )


def _vocoder(folder: CoquiFolder) -> CoquiFolder | None:
    path = folder.path / VOCODER
    if not path.is_dir():
        return None
    vocoder = CoquiFolder(path)
    refuse_statistics(vocoder)
    return vocoder
