"""The Piper engine: VITS voices through piper-tts, which is GPL-3 and contains espeak-ng."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from core.engines import EngineContext, EngineOptions
from core.errors import (
    ConfigurationError,
    InternalError,
    ModelBroken,
    NotSupported,
    UnsupportedParameter,
    VoiceNotFound,
)
from core.onnx import open_session
from tts.engine import TtsEngine
from tts.engines.timings import Symbol, timed
from tts.voice import SpeechOptions, Voice
from utils import languages
from utils.audio.pcm import Audio, Samples

LOUDNESS = 0.75
"""Peak of the first thing a speaker says; whatever is too loud with the factor that makes it so lowers that."""
_FAINT = 0.05
_READERS = {
    "pinyin": ("zh", ("unicode_rbnf", "sentence_stream", "g2pw", "transformers")),
    "japanese": ("ja", ("pyopenjtalk",)),
    "thai": ("th", ("tltk", "unicode_rbnf")),
}
"""Alphabets that espeak-ng does not write: the extra of piper-tts that reads them, and what it brings."""
SYMBOL_SECONDS = 0.0242
"""What one symbol of the model's alphabet lasts on average at speed 1."""


class PiperOptions(EngineOptions):
    """Options of the Piper engine; unset keeps the model's own."""

    length_scale: float | None = Field(default=None, gt=0, le=4, description="How long speech lasts at speed 1.")
    noise_scale: float | None = Field(default=None, ge=0, le=2, description="How much the sound varies.")
    noise_w_scale: float | None = Field(default=None, ge=0, le=2, description="How much the rhythm varies.")


class PiperEngine(TtsEngine):
    """A folder with one `NAME.onnx` and its `NAME.onnx.json`; a model of many speakers has a voice for each."""

    Options: ClassVar[type[EngineOptions]] = PiperOptions
    requires = ("piper", "onnxruntime")
    extra = "piper"
    runtime = "onnxruntime"
    licence = "GPL-3.0"
    options: PiperOptions
    max_chars = 400
    first_chars = 32
    speed_range = (0.5, 1.5)
    """It could go on, but at 2.0 stretched speech was understood far better (WER 0.02 against 0.09)."""

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._piper: Any = None
        self._speakers: Mapping[str, int] = {}
        self._gains: dict[int, float] = {}

    @classmethod
    def list_voices(cls, model: Path) -> Sequence[Voice]:
        """Return the voice of the model, or one for each of its speakers, in the model's order."""
        found = _config_file(model)
        if found is None:
            return ()
        config = _read(found)
        language = _language(config)
        return [Voice(id=name, name=name, language=language) for name in _speakers(found, config)]

    def load(self) -> None:
        """Load the model and speak a few numbers; ConfigurationError when something is missing or broken.

        NotSupported when what reads the model's language is not installed.
        """
        from piper import PiperVoice
        from piper.config import PiperConfig

        # It warns of every symbol that a model lacks, in every text.
        logging.getLogger("piper").setLevel(logging.ERROR)
        path = _config_file(self.context.model) if self.context.model else None
        if path is None:
            raise ConfigurationError("the piper engine needs a folder with NAME.onnx and NAME.onnx.json")
        config = _read(path)
        _check_reader(config, path.parent)
        try:
            parsed = PiperConfig.from_dict(config)
        except (KeyError, ValueError, TypeError) as error:
            raise ModelBroken(f"{path.name} is not a Piper configuration: {error!r}") from error
        session = open_session(path.with_suffix(""), self.context, durations=("Ceil",))
        self._piper = PiperVoice(session=session, config=parsed, download_dir=path.parent)
        self._speakers = _speakers(path, config)
        self.sample_rate = parsed.sample_rate
        self.languages = (_primary(_language(config)),)
        self.times_words = len(session.get_outputs()) > 1
        self._prove()

    def close(self) -> None:
        """Forget the weights."""
        self._piper = None

    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        """Speak one piece, one chunk per sentence.

        The sound differs a little every time unless both noise options are 0. Raises VoiceNotFound,
        UnsupportedParameter (also for a language that is not the model's).
        """
        for name in ("instructions", "seed", "temperature"):
            if getattr(options, name) is not None:
                raise UnsupportedParameter(f"piper has no {name}", param=name)
        if options.language and _primary(options.language) not in self.languages:
            raise UnsupportedParameter(f"this model speaks {', '.join(self.languages)} only", param="language")
        if self._piper is None:
            raise InternalError("the model is not loaded")
        config = self._config(voice, options.speed)
        # Punctuation alone has phonemes too, and its silence would be amplified to noise.
        spoken = " ".join(text.split()) if any(map(str.isalnum, text)) else ""
        if options.timestamps:
            yield self._timed(spoken, config)
            return
        for chunk in self._piper.synthesize(spoken, config):
            yield Audio(self._loud(chunk, config), self.sample_rate)

    def _timed(self, text: str, config: Any) -> Audio:
        """Return the whole piece at once: which sentence a word is in shows when all of them are spoken."""
        chunks = list(self._piper.synthesize(text, config, include_alignments=True))
        symbols: list[Symbol] = []
        place = 0
        for chunk in chunks:
            end = place
            for each in chunk.phoneme_alignments or ():
                start, end = end, end + int(each.num_samples)
                symbols.append(Symbol(each.phoneme, start / self.sample_rate, end / self.sample_rate))
            place += len(chunk.audio_float_array)
            symbols.append(Symbol(" ", place / self.sample_rate, place / self.sample_rate))
        samples = np.concatenate([np.zeros(0, np.float32), *(self._loud(chunk, config) for chunk in chunks)])
        return timed(Audio(samples, self.sample_rate), text, symbols, self._sound)

    def _sound(self, word: str) -> str:
        return "".join(phoneme for sentence in self._piper.phonemize(word) for phoneme in sentence)

    def _config(self, voice: Voice, speed: float) -> Any:
        from piper.config import SynthesisConfig

        if voice.id not in self._speakers:
            raise VoiceNotFound("this model has no such voice", param="voice")
        return SynthesisConfig(
            speaker_id=self._speakers[voice.id],
            length_scale=self._length_scale(speed),
            noise_scale=self.options.noise_scale,
            noise_w_scale=self.options.noise_w_scale,
            normalize_audio=False,
        )

    def _loud(self, chunk: Any, config: Any) -> Samples:
        """Return the samples made louder, all of a speaker alike, or the parts of a sentence would not fit together."""
        samples: Samples = chunk.audio_float_array
        peak = max(float(np.abs(samples).max(initial=0.0)), _FAINT)
        known = self._gains.get(config.speaker_id, LOUDNESS / peak)
        gain = self._gains[config.speaker_id] = min(known, 1 / peak)
        return samples * np.float32(gain)

    def _length_scale(self, speed: float) -> float:
        """Return what makes speech `speed` times as fast.

        It is not the inverse: the model rounds every symbol up to whole frames, half a frame on average, at any scale.
        """
        config = self._piper.config
        rounding = config.hop_length / config.sample_rate / 2 / SYMBOL_SECONDS
        own = self.options.length_scale or config.length_scale
        return float(own * (1 / speed - rounding) / (1 - rounding))

    def _prove(self) -> None:
        voice = self.voices()[0]
        # Every language's espeak-ng voice reads digits; a voice trained on letters alone may say nothing.
        for chunk in self.synthesize("1 2 3.", voice, SpeechOptions()):
            if not np.abs(chunk.samples).max() > 0:
                raise ModelBroken("the model loads but does not speak")


def _config_file(model: Path) -> Path | None:
    """Return the first configuration in the folder that has its model beside it."""
    return next((path for path in sorted(model.glob("*.onnx.json")) if path.with_suffix("").is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelBroken(f"{path.name} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ModelBroken(f"{path.name} is not a Piper configuration")
    return found


def _check_reader(config: Mapping[str, Any], folder: Path) -> None:
    """Raise NotSupported for a model whose text nothing that is installed can read."""
    kind = str(config.get("phoneme_type") or "")
    extra, packages = _READERS.get(kind, ("", ()))
    if missing := [name for name in packages if find_spec(name) is None]:
        raise NotSupported(f"this Piper voice needs {', '.join(missing)}: pip install 'piper-tts[{extra}]'")
    if kind == "pinyin" and not (folder / "g2pW").is_dir():
        # The library would fetch it, into the folder of the model.
        raise NotSupported("Chinese Piper voices need the g2pW model in the folder g2pW beside the voice")


def _speakers(path: Path, config: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the ids of the voices, after the file and, of many, the speaker, with the model's numbers for them."""
    name = path.name.removesuffix(".onnx.json")
    numbers: Mapping[str, int] = config.get("speaker_id_map") or {}
    if int(config.get("num_speakers", 1)) <= 1:
        return {name: 0}
    named = {f"{name}-{speaker}": int(number) for speaker, number in numbers.items()}
    return named or {f"{name}-{number}": number for number in range(int(config["num_speakers"]))}


def _language(config: Mapping[str, Any]) -> str:
    """Return the BCP-47 tag of the model: older configurations only name espeak-ng's voice."""
    code = (config.get("language") or {}).get("code") or (config.get("espeak") or {}).get("voice") or "en"
    language, _, region = str(code).replace("_", "-").partition("-")
    return f"{_primary(language)}-{region.upper()}" if len(region) == 2 else _primary(language)  # noqa: PLR2004


def _primary(tag: str) -> str:
    """Return our code of a tag's language: espeak-ng and Piper say cmn and nb where we say zh and no."""
    try:
        return languages.parse(tag) or tag
    except ValueError:
        return tag.partition("-")[0]
