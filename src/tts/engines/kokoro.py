"""The Kokoro engine: an 82 M parameter model through kokoro-onnx, with espeak-ng (GPL-3) for the phonemes.

A voice is a style and speaks every language of the model: the language decides the phonemes, the voice who says them.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from core.engines import EngineContext, EngineOptions
from core.errors import (
    ConfigurationError,
    InternalError,
    ModelBroken,
    UnsupportedParameter,
    VoiceNotFound,
)
from core.onnx import open_session
from tts.engine import TtsEngine
from tts.engines import kokoro_phonemes
from tts.engines.timings import Symbol, timed
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples

STYLE_BYTES = 256 * 4
_DURATIONS = ("Round", "Clip")
"""The operators that make the frames of each phoneme, at the end of the duration predictor."""
_PREFIXES = {
    "a": "en-US",
    "b": "en-GB",
    "e": "es",
    "f": "fr",
    "h": "hi",
    "i": "it",
    "j": "ja",
    "p": "pt-BR",
    "z": "zh",
}
_GENDERS: dict[str, Literal["female", "male"]] = {"f": "female", "m": "male"}
_ESPEAK = {
    "en": "en-us",
    "en-GB": "en-gb",
    "es": "es",
    "fr": "fr-fr",
    "hi": "hi",
    "it": "it",
    "ja": "ja",
    "pt": "pt-br",
    "zh": "cmn",
}


class KokoroOptions(EngineOptions):
    """Options of the Kokoro engine."""

    sentence_pause: float = Field(default=0.25, ge=0, le=5, description="Seconds of silence after a sentence.")
    clause_pause: float = Field(default=0.1, ge=0, le=5, description="Seconds of silence where a sentence is cut.")


class KokoroEngine(TtsEngine):
    """A folder with one `*.onnx` and `voices/*.bin`, float32 styles of shape (n, 1, 256) by number of phonemes."""

    Options: ClassVar[type[EngineOptions]] = KokoroOptions
    requires = ("kokoro_onnx", "onnxruntime", "espeakng_loader")
    runtime = "onnxruntime"
    licence = "MIT; espeak-ng inside is GPL-3.0"
    options: KokoroOptions
    sample_rate = 24_000
    max_chars = 400
    first_chars = 32
    open_end = "…"
    can_mix = True
    speed_range = (0.5, 1.0)
    """It could go up to 2.0, but stretched speech is understood better (WER 0.03 against 0.26) and keeps the speed."""
    languages = ("en", "es", "fr", "hi", "it", "ja", "pt", "zh")

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._kokoro: Any = None
        self._split: Any = None
        self._styles: dict[str, Path] = {}
        self._phonemizer: kokoro_phonemes.Phonemizer | None = None

    @classmethod
    def list_voices(cls, model: Path) -> Sequence[Voice]:
        """Return the voices in the folder, by id."""
        return [_voice(path.stem) for path in _style_files(model)]

    def load(self) -> None:
        """Load model and phonemizer and speak a word; ConfigurationError when something is missing or broken."""
        from kokoro_onnx import Kokoro
        from kokoro_onnx.chunker import split_phonemes

        # It warns whenever espeak says two words as one, which is not an error and would be in every log.
        logging.getLogger("phonemizer").setLevel(logging.ERROR)

        if self.context.model is None:
            raise ConfigurationError("the kokoro engine needs a model folder")
        self._styles = {path.stem: path for path in _style_files(self.context.model)}
        if not self._styles:
            raise ModelBroken(f"no voices in {self.context.model / 'voices'}")
        session = open_session(_onnx_file(self.context.model), self.context, durations=_DURATIONS)
        with tempfile.TemporaryDirectory() as folder:
            # The library wants its voices in one .npz; ours are read one at a time, so it gets an empty one.
            empty = Path(folder) / "voices.npz"
            np.savez(empty)
            self._kokoro = Kokoro.from_session(session, str(empty))
            self._kokoro.voices.close()
        cache = self.context.cache
        self._phonemizer = kokoro_phonemes.Phonemizer(self._kokoro.tokenizer, cache and cache / "kokoro")
        self._split = split_phonemes
        self.times_words = bool(self._kokoro.has_timings)
        self.clause_pause = self.options.clause_pause
        self._prove()

    def close(self) -> None:
        """Forget the weights, and remove the copies of espeak-ng that its wrapper keeps in the temporary folder."""
        if self._kokoro is None:
            return
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
        from phonemizer.phonemize import clear_backends_cache

        self._kokoro = self._phonemizer = None
        clear_backends_cache()
        EspeakWrapper.available_voices.cache_clear()

    def check(self, text: str, voice: Voice, options: SpeechOptions) -> None:
        """Raise InvalidRequest for ideographs that nothing here can read, UnsupportedParameter for a language."""
        kokoro_phonemes.check(text, _espeak_code(voice, options.language))

    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        """Speak one piece as one chunk, trimmed, with a pause at its end; more chunks when it has over 510 phonemes.

        Raises VoiceNotFound, UnsupportedParameter.
        """
        for name in ("instructions", "seed", "temperature"):
            if getattr(options, name) is not None:
                raise UnsupportedParameter(f"kokoro has no {name}", param=name)
        code = _espeak_code(voice, options.language)
        phonemes = self._phonemes(text, code)
        style = self._style(voice)
        batches = [batch for batch in self._split(phonemes) if any(map(str.isalpha, batch))]
        if options.timestamps and batches:
            yield self._timed(text, batches, style, code, options.speed)
            return
        for batch in batches:
            yield Audio(self._speak(batch, style, options.speed)[0], self.sample_rate)

    def _timed(self, text: str, batches: Sequence[str], style: Samples, code: str, speed: float) -> Audio:
        """Return the whole piece at once: which batch a word is in shows when all of them are spoken."""
        samples: list[Samples] = []
        symbols: list[Symbol] = []
        for batch in batches:
            before = sum(map(len, samples)) / self.sample_rate
            made, timings = self._speak(batch, style, speed)
            samples.append(made)
            symbols += [Symbol(each.phoneme, before + each.start, before + each.end) for each in timings]
            symbols.append(Symbol(" ", before, before))
        audio = Audio(np.concatenate(samples), self.sample_rate)
        return timed(audio, text, symbols, lambda word: self._phonemes(word, code))

    def _speak(self, batch: str, style: Samples, speed: float) -> tuple[Samples, Sequence[Any]]:
        # Without pauses of its own inside the batch, which it adds since it knows the durations: ours are enough.
        samples, _, timings = self._kokoro.create_timed(
            batch, style, speed=speed, is_phonemes=True, sentence_pause=0, clause_pause=0
        )
        return _finish(samples, self._pause(batch)), timings

    def _phonemes(self, text: str, code: str) -> str:
        if self._phonemizer is None:
            raise InternalError("the model is not loaded")
        return self._phonemizer.phonemes(text, code)

    def _style(self, voice: Voice) -> Samples:
        """Return the style of a voice, of a mix the weighted mean of its voices' styles."""
        if not voice.mix:
            return self._read_style(voice.id)
        styles = [self._read_style(share.id) for share in voice.mix]
        rows = min(map(len, styles))
        shares = zip(styles, voice.mix, strict=True)
        mixed: Samples = np.sum([style[:rows] * np.float32(share.weight) for style, share in shares], axis=0)
        return mixed

    def _read_style(self, name: str) -> Samples:
        path = self._styles.get(name)
        if path is None:
            raise VoiceNotFound("this model has no such voice", param="voice")
        return np.fromfile(path, dtype="<f4").reshape(-1, 1, 256)

    def _pause(self, phonemes: str) -> float:
        if phonemes.endswith((".", "!", "?", "…")):
            return self.options.sentence_pause
        return self.options.clause_pause if phonemes.endswith((",", ";", ":")) else 0.0

    def _prove(self) -> None:
        voice = _voice(next(iter(self._styles)))
        chunks = list(self.synthesize("Hello.", voice, SpeechOptions(language="en")))
        if not chunks or not np.abs(chunks[0].samples).max() > 0:
            raise ModelBroken("the model loads but does not speak")


def _finish(samples: Samples, pause: float) -> Samples:
    silence = np.zeros(round(pause * KokoroEngine.sample_rate), dtype=np.float32)
    return np.concatenate([np.clip(samples, -1.0, 1.0), silence])


def _voice(name: str) -> Voice:
    return Voice(id=name, name=name, language=_PREFIXES.get(name[:1]), gender=_GENDERS.get(name[1:2]))


def _espeak_code(voice: Voice, language: str | None) -> str:
    """Return espeak-ng's name of the language; a language without a region leaves the region to the voice."""
    own = voice.language or "en"
    spoken = own if not language or language == own.partition("-")[0] else language
    code = _ESPEAK.get(spoken) or _ESPEAK.get(spoken.partition("-")[0])
    if code is None:
        raise UnsupportedParameter(f"kokoro does not speak {spoken}", param="language")
    return code


def _style_files(model: Path) -> list[Path]:
    """Return the files of voices, sorted; a file that cannot hold styles is not one."""
    folder = model / "voices"
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.suffix == ".bin" and path.is_file())
    return [path for path in files if (size := path.stat().st_size) and size % STYLE_BYTES == 0]


def _onnx_file(model: Path) -> Path:
    found = sorted(model.glob("*.onnx"))
    if not found:
        raise ModelBroken(f"no .onnx file in {model}")
    return found[0]
