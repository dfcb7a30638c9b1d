"""XTTS: speech that is streamed while the model generates it, and voices cloned from a recording."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InvalidRequest, TextTooLong, VoiceNotFound
from tts.engines.coqui_checkpoint import load_xtts
from tts.engines.coqui_files import CoquiFolder, ids_of, primary
from tts.engines.coqui_latents import LatentCache, Latents
from tts.engines.coqui_model import CoquiModel, CoquiOptions, check_reference, checked, is_speakable, spelled
from tts.traces import recording_hash
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples
from utils.text import sentences

log = logging.getLogger(__name__)
STREAM_CHUNK_SIZE = 20
REFERENCE_RATE = 22_050
SHORTEST_REFERENCE = 0.5
# Languages whose text the library can only read with another package.
LANGUAGE_PACKAGES = {"ja": "cutlet", "zh": "pypinyin"}
# The weights that latents come from: a model fine-tuned elsewhere shares them, and their cache.
_CONDITIONING = ("mel_stats", "gpt.conditioning_", "hifigan_decoder.speaker_encoder.")
_SAMPLING = ("temperature", "length_penalty", "repetition_penalty", "top_k", "top_p")


class XttsModel(CoquiModel):
    """A loaded XTTS checkpoint."""

    can_clone = True

    def __init__(self, folder: CoquiFolder, *, device: str, options: CoquiOptions, cache: Path | None) -> None:
        import torch

        options.refuse_all_but(*_SAMPLING, "stream_chunk_size")
        self._torch = torch
        self._options = options
        self._model = load_xtts(folder).to(device)
        self._config = self._model.config
        self._cache_folder = cache
        self._cache: LatentCache | None = None
        self._cloned: dict[str, Latents] = {}
        self.sample_rate = int(self._model.args.output_sample_rate)
        self.languages = _readable(folder.languages())
        manager = self._model.speaker_manager
        speakers = manager.speakers if manager else {}
        self._builtin = {name: _as_latents(*speaker.values()) for name, speaker in speakers.items()}
        self._ids = ids_of(self._builtin)

    def speaker_names(self) -> Sequence[str]:
        """Return the speakers of speakers_xtts.pth."""
        return list(self._builtin)

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Take the latents of a recording from the cache, or compute them."""
        if self._cache is None:
            self._cache = LatentCache(self._cache_folder, self._conditioning_hash())
        recording = recording_hash(reference)
        latents = self._cache.get(recording)
        if latents is None:
            latents = self._compute(reference)
            if not voice.one_shot:  # nothing of a recording that came with a request is kept
                self._cache.put(recording, latents)
            log.info("computed the speaker latents of voice %s", voice.id)
        self._cloned[voice.id] = latents

    def forget(self, voice: Voice) -> None:
        """Drop the latents of a voice from memory."""
        self._cloned.pop(voice.id, None)

    def speak(self, text: str, voice: Voice, options: SpeechOptions) -> Generator[Samples, None, None]:
        """Yield chunks of about a second; the cross-fade between them is the library's."""
        language = self.language(options.language or voice.language) or next(iter(self.languages.values()))
        latents = self._latents(voice)
        if not is_speakable(text):
            return
        self._seed(options.seed)
        sampling = self._sampling(options.temperature) | {"speed": options.speed}
        chunk_size = self._options.stream_chunk_size or STREAM_CHUNK_SIZE
        for piece in self._pieces(text, language):
            yield from self._stream(piece, language, latents, chunk_size, sampling)

    def try_out(self) -> Samples:
        """Return the first tokens of a word, in a built-in voice or in none that anybody has."""
        noise = np.random.default_rng(0).normal(scale=0.1, size=REFERENCE_RATE).astype(np.float32)
        latents = next(iter(self._builtin.values()), None) or self._compute(Audio(noise, REFERENCE_RATE))
        language = self.languages.get("en") or next(iter(self.languages.values()))
        stream = self._stream("One.", language, latents, 4, self._sampling(None))
        with contextlib.closing(stream):
            return next(stream)

    def _stream(
        self, text: str, language: str, latents: Latents, chunk_size: int, how: Mapping[str, float]
    ) -> Generator[Samples, None, None]:
        generator = self._model.inference_stream(
            text,
            language,
            self._torch.from_numpy(latents.gpt),
            self._torch.from_numpy(latents.speaker),
            stream_chunk_size=chunk_size,
            enable_text_splitting=False,
            **how,
        )
        with contextlib.closing(generator):
            for chunk in generator:
                samples = chunk.detach().float().cpu().numpy().reshape(-1)
                if samples.size:
                    yield checked(samples)

    def _sampling(self, temperature: float | None) -> dict[str, float]:
        own = {name: getattr(self._options, name, None) for name in _SAMPLING}
        how: dict[str, float] = {
            name: getattr(self._config, name) if value is None else value for name, value in own.items()
        }
        if temperature is not None:
            how["temperature"] = temperature
        if how["temperature"] == 0:
            # The stream generator always draws; one candidate is how it is made greedy.
            how |= {"temperature": 1.0, "top_k": 1}
        return how

    def _seed(self, seed: int | None) -> None:
        # Without a seed the generator must not go on from the seed of the request before.
        if seed is None:
            self._torch.seed()
        else:
            self._torch.manual_seed(seed)

    def _pieces(self, text: str, language: str) -> Iterator[str]:
        """Cut at the library's character limit, and further where the text has more tokens than the model reads."""
        limit = self._model.tokenizer.char_limits.get(primary(language), 250)
        for piece in sentences.split(text, max_chars=limit):
            yield from self._halves(piece, language)

    def _halves(self, piece: str, language: str) -> Iterator[str]:
        tokens = len(self._model.tokenizer.encode(piece.strip().lower(), lang=language))
        if tokens < self._model.args.gpt_max_text_tokens:
            if is_speakable(piece):
                yield piece
        elif len(piece) < 2:  # noqa: PLR2004 - a single character cannot be halved
            raise TextTooLong("one character of the text has more tokens than the model reads", param="input")
        else:
            for half in sentences.split(piece, max_chars=(len(piece) + 1) // 2):
                yield from self._halves(half, language)

    def _latents(self, voice: Voice) -> Latents:
        if voice.type == "builtin":
            if (name := self._ids.get(voice.id)) is None:
                raise VoiceNotFound("this model has no such voice", param="voice")
            return self._builtin[name]
        if (latents := self._cloned.get(voice.id)) is None:
            raise InvalidRequest(f"voice {voice.id!r} was not prepared from its recording", param="voice")
        return latents

    def _compute(self, reference: Audio) -> Latents:
        """Do what the library's get_conditioning_latents does with a file.

        Its loader needs torchcodec and FFmpeg's shared libraries; the recording is decoded already.
        """
        from torchaudio.functional import resample

        check_reference(reference, SHORTEST_REFERENCE)
        config = self._config
        with self._torch.inference_mode():
            audio = self._torch.from_numpy(np.array(reference.samples, dtype=np.float32))[None]
            audio = resample(audio, reference.sample_rate, REFERENCE_RATE).clip(-1, 1)
            audio = audio[:, : REFERENCE_RATE * config.max_ref_len].to(self._model.device)
            if config.sound_norm_refs:
                audio = audio / audio.abs().max() * 0.75
            speaker = self._model.get_speaker_embedding(audio, REFERENCE_RATE)
            gpt = self._model.get_gpt_cond_latents(
                audio, REFERENCE_RATE, length=config.gpt_cond_len, chunk_length=config.gpt_cond_chunk_len
            )
            return _as_latents(gpt, speaker)

    def _conditioning_hash(self) -> str:
        config = self._config
        settings = (config.gpt_cond_len, config.gpt_cond_chunk_len, config.max_ref_len, config.sound_norm_refs)
        digest = hashlib.sha256(repr(settings).encode())
        for name, tensor in sorted(self._model.state_dict().items()):
            if name.startswith(_CONDITIONING):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(tensor.float().cpu().numpy()).data)
        return digest.hexdigest()


def _as_latents(gpt: Any, speaker: Any) -> Latents:
    return Latents(gpt.detach().float().cpu().numpy(), speaker.detach().float().cpu().numpy())


def _readable(languages: Sequence[str]) -> dict[str, str]:
    """Return the languages whose text can be read with what is installed."""
    found = spelled(languages)
    for code, package in LANGUAGE_PACKAGES.items():
        if code in found and find_spec(package) is None:
            log.info("%s is left out: it needs pip install 'coqui-tts[%s]'", code, code)
            del found[code]
    return found
