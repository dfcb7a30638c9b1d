"""The sherpa-onnx engine: VITS (Piper, MeloTTS), Kokoro, Matcha, Kitten, Supertonic, ZipVoice and Pocket on the CPU.

What a folder holds is found out by core.sherpa. Texts are read by the model's lexicon where it has one (Kokoro: Chinese
alone), by the model itself, or by espeak-ng.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from pydantic import Field

from core import sherpa
from core.devices import usable_cores
from core.engines import EngineContext, EngineOptions
from core.errors import (
    ConfigurationError,
    InternalError,
    InvalidAudio,
    InvalidRequest,
    ModelBroken,
    UnsupportedParameter,
    VoiceNotFound,
)
from tts.engine import TtsEngine
from tts.engines.kokoro_phonemes import IDEOGRAPHS
from tts.engines.sherpa_onnx_phonemes import Phonemes, lexicons
from tts.engines.sherpa_onnx_voices import CLONES, languages_of, voices_of
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio

_MOST_THREADS = 4
_SPEEDS = {"kokoro": (0.5, 1.0), "kitten": (0.5, 1.0), "pocket": (1.0, 1.0)}
_USUAL_SPEEDS = (0.5, 1.5)
_SAMPLES = {"supertonic": ("seed",), "pocket": ("seed", "temperature")}
"""The options of a request that a family takes."""
_READ_PHONEMES = ("piper", "coqui", "icefall", "inflect")
_MIN_REFERENCE_SECONDS = 1.0
_MAX_REFERENCE_SECONDS = 30.0
_FAINT = 1e-3


class SherpaOnnxOptions(EngineOptions):
    """Options of the sherpa-onnx engine; unset keeps the library's own."""

    int8: bool = Field(default=True, description="Whether to take the 8-bit network of a folder that has two.")
    languages: str = Field(
        default="", description="Codes of the model's languages, commas between, where the model does not say."
    )
    noise_scale: float | None = Field(default=None, ge=0, le=2, description="VITS, Matcha: how much the sound varies.")
    noise_w_scale: float | None = Field(default=None, ge=0, le=2, description="VITS: how much the rhythm varies.")
    num_steps: int | None = Field(default=None, ge=1, le=100, description="Steps of the families that denoise.")


class SherpaOnnxEngine(TtsEngine):
    """A folder with the files of one model of sherpa-onnx; a model of many speakers has a voice for each."""

    Options: ClassVar[type[EngineOptions]] = SherpaOnnxOptions
    options: SherpaOnnxOptions
    requires = ("sherpa_onnx",)  # the espeak-ng it reads with comes with the base install
    extra = "sherpa"
    licence = "Apache-2.0; espeak-ng beside it is GPL-3.0"
    max_chars = 250
    first_chars = 32
    speed_range = _USUAL_SPEEDS

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._library: Any = None
        self._tts: Any = None
        self._model = sherpa.SherpaModel(family="", kind="tts")
        self._numbers: dict[str, int] = {}
        self._phonemes: Phonemes | None = None
        self._reads_chinese = False  # by a lexicon, and all else by phonemes
        self._references: dict[str, Audio] = {}

    @classmethod
    def list_voices(cls, model: Path) -> Sequence[Voice]:
        """Return the voices of the model in its order; none for a model that only clones."""
        found = sherpa.find(model)
        return voices_of(found) if found and found.kind == "tts" else ()

    def load(self) -> None:
        """Open the model and speak a few numbers. Raises ConfigurationError, ModelBroken."""
        import sherpa_onnx

        self._library = sherpa_onnx
        if not hasattr(getattr(sherpa_onnx, "GenerationConfig", None), "phoneme_codepoints"):
            raise ConfigurationError("speaking needs sherpa-onnx 2 or newer: pip install -U 'voice-stack[sherpa]'")
        model = self._model = sherpa.opened(self.context.model, ("tts",), int8=self.options.int8, family=None)
        lexicon = lexicons(cast("Path", self.context.model), model.family)
        config = self._config(lexicon)
        if not config.validate():
            raise ModelBroken("sherpa-onnx cannot use this model; its reason is in the log")
        try:
            self._tts = sherpa_onnx.OfflineTts(config)
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelBroken(f"sherpa-onnx cannot load the {model.family} model: {error}") from error
        self.sample_rate = int(self._tts.sample_rate)
        if self.sample_rate <= 0:
            raise ModelBroken(f"the {model.family} model does not say its sample rate")
        self._numbers = {voice.id: number for number, voice in enumerate(voices_of(model))}
        named = tuple(code.strip() for code in self.options.languages.split(",") if code.strip())
        self.languages = named or languages_of(model)
        self.speed_range = _SPEEDS.get(model.family, _USUAL_SPEEDS)
        self.can_clone = model.family in CLONES
        self._reads_chinese = model.family == "kokoro" and bool(lexicon)
        if self._reads_phonemes and (not lexicon or self._reads_chinese):
            self._phonemes = Phonemes(model.files["tokens"])
        self._prove()

    def close(self) -> None:
        """Forget the weights and the recordings."""
        self._tts = self._phonemes = None
        self._references.clear()

    def check(self, text: str, voice: Voice, options: SpeechOptions) -> None:
        """Raise InvalidRequest for ideographs without a lexicon, or a recording to be cloned without its text."""
        code = self._code(voice, options)
        if self._reader(code) is not None and IDEOGRAPHS.search(text):
            if code.startswith("ja"):
                raise InvalidRequest("this model reads Japanese in kana only, not in kanji", param="input")
            if code.startswith("zh") and self._model.family == "kokoro":  # espeak-ng's tones are not Kokoro's
                raise InvalidRequest("this model cannot read Chinese: it has no lexicon-zh.txt", param="input")
        if self._model.family == "zipvoice" and voice.type == "cloned" and not voice.transcript:
            raise InvalidRequest("zipvoice needs to know what is said in the recording of a voice", param="voice")

    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        """Speak one piece: a chunk for each sentence of a model that is given phonemes, else one.

        Raises VoiceNotFound, UnsupportedParameter.
        """
        self._refuse(options)
        if self._tts is None:
            raise InternalError("the model is not loaded")
        config = self._asked(voice, options)
        spoken = " ".join(text.split()) if any(map(str.isalnum, text)) else ""
        if not spoken:
            return
        phonemes = self._reader(code := self._code(voice, options))
        if phonemes is None:
            yield from self._spoken(spoken, config)
            return
        # A voice of one language says which of espeak-ng's voices it was trained with.
        own = self._model.facts.get("voice") if self._model.family in {"vits", "matcha"} else None
        for sentence in phonemes.sentences(spoken, own or code):
            config.phoneme_codepoints = [sentence]
            yield from self._spoken("", config)

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Keep a recording. Raises InvalidAudio for one that is silent, under a second or over 30 seconds long."""
        if not self.can_clone:
            super().clone(voice, reference)
        if not _MIN_REFERENCE_SECONDS <= reference.duration <= _MAX_REFERENCE_SECONDS:
            raise InvalidAudio("a recording to speak like has 1 to 30 seconds", param="voice")
        if float(np.abs(reference.samples).max(initial=0.0)) < _FAINT:
            raise InvalidAudio("the recording is silent", param="voice")
        self._references[voice.id] = reference

    def forget(self, voice: Voice) -> None:
        """Drop a recording."""
        self._references.pop(voice.id, None)

    def _reader(self, code: str) -> Phonemes | None:
        """Return what makes phonemes of a language, None where the library reads texts."""
        return None if self._reads_chinese and code.startswith("zh") else self._phonemes

    @property
    def _reads_phonemes(self) -> bool:
        """Whether a model without a lexicon is given phonemes."""
        comment = self._model.facts.get("comment", "")
        vits = self._model.family == "vits" and any(mark in comment for mark in _READ_PHONEMES)
        return vits or self._model.family in {"kokoro", "kitten", "matcha"}

    def _config(self, lexicon: str) -> Any:
        library, model = self._library, self._model
        values: dict[str, Any] = {name: str(path) for name, path in model.files.items()}
        if lexicon and model.family in {"vits", "kokoro", "matcha", "zipvoice"}:
            values["lexicon"] = lexicon
        if self.options.noise_scale is not None and model.family in {"vits", "matcha"}:
            values["noise_scale"] = self.options.noise_scale
        if self.options.noise_w_scale is not None and model.family == "vits":
            values["noise_scale_w"] = self.options.noise_w_scale
        if model.family == "matcha":
            values.setdefault("vocoder", "")
        make = getattr(library, f"OfflineTts{model.family.capitalize()}ModelConfig")
        return library.OfflineTtsConfig(
            model=library.OfflineTtsModelConfig(
                **{model.family: make(**values)},
                num_threads=self.context.threads or min(_MOST_THREADS, usable_cores()),
                provider="cpu",
            ),
            rule_fsts=sherpa.joined(cast("Path", self.context.model), "*.fst"),
            silence_scale=1.0,  # its own would cut pauses to a fifth
        )

    def _refuse(self, options: SpeechOptions) -> None:
        taken = _SAMPLES.get(self._model.family, ())
        for name in ("instructions", "seed", "temperature"):
            if getattr(options, name) is not None and name not in taken:
                raise UnsupportedParameter(f"{self._model.family} has no {name}", param=name)
        if options.language and self.languages and options.language.partition("-")[0] not in self.languages:
            raise UnsupportedParameter(f"this model speaks {', '.join(self.languages)} only", param="language")

    def _asked(self, voice: Voice, options: SpeechOptions) -> Any:
        """Return what the library is to be told."""
        config = self._library.GenerationConfig()
        config.speed = options.speed
        config.silence_scale = 1.0
        if self.options.num_steps is not None:
            config.num_steps = self.options.num_steps
        extra = {name: str(getattr(options, name)) for name in _SAMPLES.get(self._model.family, ())}
        extra = {name: value for name, value in extra.items() if value != "None"}
        if self._model.family == "supertonic":
            extra["lang"] = self._code(voice, options).partition("-")[0]
        config.extra = extra
        if voice.id in self._numbers:
            config.sid = self._numbers[voice.id]
        elif reference := self._references.get(voice.id):
            config.reference_audio = reference.samples
            config.reference_sample_rate = reference.sample_rate
            config.reference_text = voice.transcript or ""
        else:
            raise VoiceNotFound("this model has no such voice", param="voice")
        return config

    def _code(self, voice: Voice, options: SpeechOptions) -> str:
        """Return the language to speak; one without a region leaves the region to the voice."""
        own = voice.language or next(iter(self.languages), "en")
        asked = options.language or own
        return (own if asked == own.partition("-")[0] else asked).lower()

    def _spoken(self, text: str, config: Any) -> Iterator[Audio]:
        try:
            made = self._tts.generate(text, config)
        except (RuntimeError, ValueError, IndexError) as error:
            raise InternalError(f"sherpa-onnx cannot speak this: {error}") from error
        samples = np.asarray(made.samples, dtype=np.float32)
        if samples.size:
            yield Audio(np.clip(samples, -1.0, 1.0), self.sample_rate)

    def _prove(self) -> None:
        """Speak, where there is a voice; a model that only clones is proved by its first recording."""
        for voice in voices_of(self._model)[:1]:
            chunks = list(self.synthesize("1 2 3.", voice, SpeechOptions()))
            if not any(np.abs(chunk.samples).max(initial=0.0) > 0 for chunk in chunks):
                raise ModelBroken("the model loads but does not speak")
