"""Voice conversion: any Coqui model speaks with the voice of a recording, which an OpenVoice model gives to its speech.

Coqui's other converters (FreeVC, kNN-VC) fetch a WavLM of their own while they load, and are not supported.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InvalidRequest, ModelBroken, NotSupported
from tts.engines.coqui_model import CoquiModel, check_reference, checked
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples

SHORTEST_REFERENCE = 1.0
CHECKPOINT = "checkpoint.pth"


class ConvertedModel(CoquiModel):
    """A model that cannot clone and a converter: cloned voices are its first own voice, converted piece by piece."""

    can_clone = True

    def __init__(self, own: CoquiModel, folder: Path, *, device: str) -> None:
        import torch

        self._torch = torch
        self._own = own
        self._converter = _load(folder).to(device)
        self._rate = int(self._converter.config.audio.input_sample_rate)
        self._targets: dict[str, Any] = {}
        self.sample_rate = own.sample_rate
        self.speed_range = own.speed_range
        self.languages = own.languages

    def speaker_names(self) -> Sequence[str]:
        """Return those of the model."""
        return self._own.speaker_names()

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Take the tone of a recording."""
        check_reference(reference, SHORTEST_REFERENCE)
        self._targets[voice.id] = self._tone(reference.samples, reference.sample_rate)[0]

    def forget(self, voice: Voice) -> None:
        """Drop the tone of a recording."""
        self._targets.pop(voice.id, None)

    def speak(self, text: str, voice: Voice, options: SpeechOptions) -> Generator[Samples, None, None]:
        """Yield what the model says, in a cloned voice converted."""
        if voice.type == "builtin":
            yield from self._own.speak(text, voice, options)
            return
        if (target := self._targets.get(voice.id)) is None:
            raise InvalidRequest(f"voice {voice.id!r} was not prepared from its recording", param="voice")
        for samples in self._own.speak(text, self._own.first_voice(), options):
            yield self._converted(samples, target)

    def try_out(self) -> Samples:
        """Return a word of the model, converted to its own voice."""
        spoken = self._own.try_out()
        return self._converted(spoken, self._tone(spoken, self.sample_rate)[0])

    def _converted(self, samples: Samples, target: Any) -> Samples:
        tone, spectrum = self._tone(samples, self.sample_rate)
        made = self._converter.inference(spectrum, {"g_src": tone, "g_tgt": target})["model_outputs"][0, 0]
        found = self._resampled(made.float().cpu(), self._rate, self.sample_rate).numpy()
        return checked(found.astype(np.float32))

    def _tone(self, samples: Samples, rate: int) -> tuple[Any, Any]:
        """Return the embedding of a voice, and the spectrum of what it says."""
        audio = self._torch.from_numpy(np.array(samples, dtype=np.float32))
        with self._torch.inference_mode():
            tone, spectrum = self._converter.extract_se(self._resampled(audio, rate, self._rate))
        return tone, spectrum

    def _resampled(self, audio: Any, rate: int, wanted: int) -> Any:
        from torchaudio.functional import resample

        return audio if rate == wanted else resample(audio, rate, wanted)


def _load(folder: Path) -> Any:
    """Return the OpenVoice model of a folder with config.json and checkpoint.pth (`converter` in the releases)."""
    from TTS.vc.configs.openvoice_config import OpenVoiceConfig
    from TTS.vc.models.openvoice import OpenVoice

    try:
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelBroken(f"the voice converter {folder.name} has no readable config.json") from error
    if not isinstance(about, dict) or not isinstance(about.get("data"), dict):
        raise NotSupported(f"{folder.name} is not an OpenVoice model; other voice converters are not supported")
    if not (folder / CHECKPOINT).is_file():
        raise ModelBroken(f"the voice converter {folder.name} has no {CHECKPOINT}")
    config = OpenVoiceConfig()
    # The layers are made before the checkpoint's configuration is read, and the first depends on this.
    config.audio.fft_size = int(about["data"]["filter_length"])
    model = OpenVoice(config)
    model.load_checkpoint(config, str(folder / CHECKPOINT), eval=True)
    return model
