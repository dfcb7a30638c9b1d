"""Tortoise: slow, expressive English speech, in a voice of its own or cloned from a recording."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from core.errors import InvalidRequest, ModelBroken, NotSupported, TextTooLong, UnsupportedParameter
from tts.engines.coqui_checkpoint import read_config
from tts.engines.coqui_files import SINGLE_SPEAKER, CoquiFolder
from tts.engines.coqui_model import CoquiModel, CoquiOptions, check_reference, checked, is_speakable
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples
from utils.text import sentences

WEIGHTS = (
    *("autoregressive.pth", "diffusion_decoder.pth", "clvp2.pth", "vocoder.pth"),
    *("mel_norms.pth", "rlg_auto.pth", "rlg_diffuser.pth"),
)
PRESET = "ultra_fast"
LATENT_RATE, DIFFUSION_RATE = 22_050, 24_000
SHORTEST_REFERENCE = 1.0
MAX_TOKENS = 398
"""What the library reads at once, without the one that it adds; numbers are many, as it spells them out."""


class TortoiseModel(CoquiModel):
    """A loaded Tortoise; its built-in voice is one that its random latents make, always the same."""

    can_clone = True
    speed_range = (1.0, 1.0)

    def __init__(self, folder: CoquiFolder, *, device: str, options: CoquiOptions) -> None:
        import torch

        options.refuse_all_but("temperature", "top_p", "repetition_penalty", "preset")
        if device == "mps":
            raise NotSupported("tortoise models run on cpu or cuda")
        self._torch = torch
        self._model = _load(folder).to(device)
        self._half = device != "cpu"
        self._options = options
        self._cloned: dict[str, Any] = {}
        self.sample_rate = DIFFUSION_RATE
        self.languages = {"en": "en"}
        torch.manual_seed(0)
        self._own = self._model.get_random_conditioning_latents()

    def speaker_names(self) -> Sequence[str]:
        """Return the name of the only one."""
        return [SINGLE_SPEAKER]

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Compute the latents of a recording."""
        from torchaudio.functional import resample

        check_reference(reference, SHORTEST_REFERENCE)
        audio = self._torch.from_numpy(np.array(reference.samples, dtype=np.float32))[None]
        sample = [resample(audio, reference.sample_rate, rate).clip(-1, 1) for rate in (LATENT_RATE, DIFFUSION_RATE)]
        self._cloned[voice.id] = self._model.get_conditioning_latents([sample])

    def forget(self, voice: Voice) -> None:
        """Drop the latents of a voice."""
        self._cloned.pop(voice.id, None)

    def speak(self, text: str, voice: Voice, options: SpeechOptions) -> Generator[Samples, None, None]:
        """Yield the samples of the piece in one chunk, in more where it has more tokens than the model reads."""
        if options.speed != 1.0:
            raise UnsupportedParameter("this model speaks at one speed", param="speed")
        self.language(options.language)
        latents = self._own if voice.type == "builtin" else self._cloned.get(voice.id)
        if latents is None:
            raise InvalidRequest(f"voice {voice.id!r} was not prepared from its recording", param="voice")
        if not is_speakable(text):
            return
        own = self._options
        how: dict[str, Any] = {"preset": own.preset or PRESET}
        for name in ("temperature", "top_p", "repetition_penalty"):
            if (value := getattr(own, name)) is not None:
                how[name] = value
        if options.temperature is not None:
            how["temperature"] = options.temperature
        for piece in self._pieces(text):
            yield self._made(piece, latents, seed=options.seed, **how)

    def try_out(self) -> Samples:
        """Return a word, made with as little work as the model can do."""
        return self._made(
            "One.", self._own, seed=0, num_autoregressive_samples=1, max_mel_tokens=32, diffusion_iterations=4
        )

    def _pieces(self, text: str) -> Iterator[str]:
        if len(self._model.tokenizer.encode(text)) <= MAX_TOKENS:
            if is_speakable(text):
                yield text
        elif len(text) < 2:  # noqa: PLR2004 - a single character cannot be halved
            raise TextTooLong("one character of the text has more tokens than the model reads", param="input")
        else:
            for half in sentences.split(text, max_chars=(len(text) + 1) // 2):
                yield from self._pieces(half)

    def _made(self, text: str, latents: Any, *, seed: int | None, **how: Any) -> Samples:
        if how.get("temperature") == 0:
            # It always draws; the likeliest candidate is as good as certain at this.
            how["temperature"] = 1e-3
        made = self._model.inference_with_config(
            text,
            conditioning_latents=latents,
            use_deterministic_seed=None if seed is None else seed % 2**32,
            half=self._half,
            verbose=False,
            **how,
        )
        return checked(made["wav"].float().cpu().numpy().reshape(-1))


def _load(folder: CoquiFolder) -> Any:
    """Return the model of a folder with WEIGHTS, at any depth; config.json is not needed.

    The library looks for the weights by name and reads them with weights_only.
    """
    from TTS.tts.configs.tortoise_config import TortoiseConfig
    from TTS.tts.models.tortoise import Tortoise

    if missing := [name for name in WEIGHTS if next(folder.path.rglob(name), None) is None]:
        raise ModelBroken(f"the Tortoise model {folder.path.name} has no {', '.join(missing)}")
    config = read_config(folder, {"tortoise"}) if folder.config_path.exists() else TortoiseConfig()
    # It would fetch an aligner from the network.
    config.model_args.enable_redaction = False
    model = Tortoise(config)
    model.load_checkpoint(config, str(folder.path), eval=True)
    return model
