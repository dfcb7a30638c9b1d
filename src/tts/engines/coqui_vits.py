"""VITS: a whole piece of text at once, in one of the voices or languages the model was trained with."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from core.errors import InvalidRequest, UnsupportedParameter, VoiceNotFound
from tts.engines.coqui_checkpoint import load_speaker_encoder, read_config
from tts.engines.coqui_files import SINGLE_SPEAKER, CoquiFolder, ids_of
from tts.engines.coqui_model import CoquiModel, CoquiOptions, check_reference, checked, is_speakable, spelled
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples

SHORTEST_REFERENCE = 0.5


class VitsModel(CoquiModel):
    """A loaded VITS checkpoint, with one speaker or many; YourTTS and its kin clone, with the encoder beside them."""

    def __init__(self, folder: CoquiFolder, *, device: str, options: CoquiOptions) -> None:
        import torch

        options.refuse_all_but("noise_scale", "duration_noise_scale")
        self._torch = torch
        self._model = _load(folder).to(device)
        if options.noise_scale is not None:
            self._model.inference_noise_scale = options.noise_scale
        if options.duration_noise_scale is not None:
            self._model.inference_noise_scale_dp = options.duration_noise_scale
        self._length_scale = float(self._model.length_scale)
        self.sample_rate = int(self._model.config.audio.sample_rate)
        self.languages = spelled(folder.languages())
        self._ids = ids_of(self.speaker_names())
        self._encoder = load_speaker_encoder(folder)
        self.can_clone = self._encoder is not None
        self._cloned: dict[str, Any] = {}

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Compute the d-vector of a recording, where the model comes with an encoder."""
        if self._encoder is None:
            super().clone(voice, reference)
            return
        check_reference(reference, SHORTEST_REFERENCE)
        self._cloned[voice.id] = self._d_vector(reference).to(self._model.device)

    def forget(self, voice: Voice) -> None:
        """Drop the d-vector of a voice."""
        self._cloned.pop(voice.id, None)

    def speaker_names(self) -> Sequence[str]:
        """Return the speakers of the embedding table or of the d-vector file."""
        manager = self._model.speaker_manager
        names = [] if manager is None else (manager.embedding_names or manager.speaker_names)
        return list(names) or [SINGLE_SPEAKER]

    def speak(self, text: str, voice: Voice, options: SpeechOptions) -> Generator[Samples, None, None]:
        """Yield the samples of the piece in one chunk, none when the alphabet has none of its characters."""
        if options.temperature is not None:
            raise UnsupportedParameter("VITS models have no temperature", param="temperature")
        who = self._speaker(voice)
        language = self._language(options.language or voice.language)
        if not (is_speakable(text) and self._tokens(text, language)):
            return
        if options.seed is None:
            self._torch.seed()
        else:
            self._torch.manual_seed(options.seed)
        self._model.length_scale = self._length_scale / options.speed
        spoken = self._model.synthesize(text, language=language, **who)["wav"]
        samples = np.asarray(spoken, dtype=np.float32).reshape(-1)
        if samples.size:
            yield checked(samples)

    def try_out(self) -> Samples:
        """Return a word of the model's own alphabet, spoken by its first speaker."""
        voice = Voice(id=next(iter(self._ids)), name="")
        language = self._language(None)
        characters = self._model.tokenizer.characters.characters or ""
        letters = "".join(character for character in characters if character.isalnum())[:8]
        text = "one" if self._tokens("one", language) else letters
        return next(self.speak(text, voice, SpeechOptions()))

    def _speaker(self, voice: Voice) -> dict[str, Any]:
        """Return who speaks, as arguments for the library."""
        if voice.type == "builtin":
            if (name := self._ids.get(voice.id)) is None:
                raise VoiceNotFound("this model has no such voice", param="voice")
            return {"speaker": name}
        if (vector := self._cloned.get(voice.id)) is None:
            if not self.can_clone:
                raise VoiceNotFound("this model has no such voice", param="voice")
            raise InvalidRequest(f"voice {voice.id!r} was not prepared from its recording", param="voice")
        # The name is looked up first, then what it stands for replaced.
        first = next(iter(self._ids.values()))
        return {"speaker": first, "extra_aux_input": {"speaker_ids": None, "d_vectors": vector}}

    def _d_vector(self, reference: Audio) -> Any:
        """Do what the library's compute_embedding_from_clip does with a file; the recording is decoded already."""
        from torchaudio.functional import resample

        encoder = self._encoder
        audio = self._torch.from_numpy(np.array(reference.samples, dtype=np.float32))
        audio = resample(audio, reference.sample_rate, int(encoder.encoder_ap.sample_rate))
        if not encoder.encoder_config.model_params.get("use_torch_spec", False):
            audio = self._torch.from_numpy(encoder.encoder_ap.melspectrogram(audio.numpy()))
        return encoder.encoder.compute_embedding(audio[None])

    def _language(self, wanted: str | None) -> str | None:
        """Return what the library must be told: a name when it has several, None when it has one."""
        found = self.language(wanted)
        names = self._model.language_manager.language_names
        if len(names) < 2:  # noqa: PLR2004 - one language needs no name
            return None
        return found or next(iter(self.languages.values()))

    def _tokens(self, text: str, language: str | None) -> bool:
        """Return whether anything of the text is in the alphabet; blanks between characters do not count."""
        tokenizer = self._model.tokenizer
        fillers = {tokenizer.blank_id, tokenizer.pad_id}
        if tokenizer.use_eos_bos:
            fillers |= {tokenizer.characters.bos_id, tokenizer.characters.eos_id}
        return bool(set(tokenizer.text_to_ids(text, language=language)) - fillers)


def _load(folder: CoquiFolder) -> Any:
    from TTS.tts.models.vits import Vits

    config = read_config(folder, {"vits"})
    model = Vits(config)
    model.load_checkpoint(config, checkpoint_path=str(folder.checkpoint()), eval=True)
    # The discriminator is for training, and a third of the weights.
    model.disc = None
    return model
