"""What a transcription request may say, validated; see docs/api.md for the meaning of each field."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from asr.diarization import limits
from asr.diarization.attribution import Naming, naming
from asr.diarization.engine import DiarizeOptions
from asr.formats import FORMATS
from asr.result import SubtitleLayout
from asr.settings import AsrSettings
from asr.transcript import TEMPERATURE_LADDER, TranscribeOptions, VadOptions
from core import errors
from core.answers import from_validation
from utils import languages
from utils.audio import wav
from utils.forms import Form, flag

PROMPT_CHARS: Final = 20_000
"""Of a longer prompt the end is kept; the engines keep far less, and tokenizing megabytes takes seconds."""
FIELD_CHARS: Final = 64 << 10
LONG: Final = ("prompt", "known_speaker_references")
"""Fields that may be longer than FIELD_CHARS."""
MAX_SPEAKERS: Final = 16
"""Whose voices a request may bring."""
TIMELESS_FORMATS = frozenset({"json", "text", "txt"})
"""Formats in which there are no times but those of words."""
ARRAYS: Final = (
    "languages",
    "keywords",
    "hotwords",
    "timestamp_granularities",
    "include",
    "known_speaker_names",
    "known_speaker_references",
)
WORDS: Final = ("languages", "timestamp_granularities", "include")
"""Arrays whose items never hold a comma, and may therefore be one comma list in any spelling."""
CHUNKING: Final = "chunking_strategy"
_AUTO = "auto"


def _candidates(values: object) -> object:
    """Read each language; one that means "detect" restricts nothing."""
    if not isinstance(values, list | tuple):
        return values
    return tuple(code for value in values if (code := languages.parse(str(value))))


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


# The words of a choice count in any case.
ANY_CASE: Final = BeforeValidator(_lower)
Flag = Annotated[bool, BeforeValidator(flag)]
Language = Annotated[str | None, BeforeValidator(languages.parse)]
Candidates = Annotated[tuple[str, ...], BeforeValidator(_candidates), Field(max_length=32)]
Prompt = Annotated[str | None, BeforeValidator(lambda text: text and str(text)[-PROMPT_CHARS:])]
Keywords = Annotated[tuple[Annotated[str, Field(max_length=80)], ...], Field(max_length=100)]
SpeakerCount = Annotated[int | None, Field(ge=1, le=limits.MAX_SPEAKERS)]


class ServerVad(BaseModel):
    """Our voice activity detection with the client's numbers; the defaults are OpenAI's."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Annotated[Literal["server_vad"], ANY_CASE]
    threshold: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    prefix_padding_ms: int = Field(default=300, ge=0, le=10_000)
    silence_duration_ms: int = Field(default=200, ge=0, le=60_000)

    def options(self) -> VadOptions:
        """Return the numbers as the engines read them."""
        return VadOptions(
            threshold=self.threshold,
            min_silence_ms=self.silence_duration_ms,
            speech_pad_ms=self.prefix_padding_ms,
        )


class TranscriptionRequest(BaseModel):
    """The fields of POST /v1/audio/transcriptions, apart from the file."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str | None = Field(default=None, max_length=512)
    language: Language = None
    languages: Candidates = ()
    prompt: Prompt = None
    keywords: Keywords = ()
    hotwords: Keywords = ()
    response_format: Annotated[str, ANY_CASE] = "json"
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    timestamp_granularities: tuple[Annotated[Literal["word", "segment"], ANY_CASE], ...] = ("segment",)
    stream: Flag = False
    include: tuple[Annotated[Literal["logprobs"], ANY_CASE], ...] = ()
    chunking_strategy: Literal["auto"] | ServerVad | None = None
    known_speaker_names: tuple[Annotated[str, Field(max_length=200)], ...] = Field(default=(), max_length=MAX_SPEAKERS)
    known_speaker_references: tuple[str, ...] = Field(default=(), max_length=MAX_SPEAKERS)
    diarize: Flag = False
    identify_speakers: Flag = False
    num_speakers: SpeakerCount = None
    min_speakers: SpeakerCount = None
    max_speakers: SpeakerCount = None
    task: Annotated[Literal["transcribe", "translate"], ANY_CASE] = "transcribe"
    translate: Flag = False
    vad_filter: Annotated[bool | None, BeforeValidator(flag)] = None
    word_timestamps: Flag = False
    beam_size: int | None = Field(default=None, ge=1, le=20)
    best_of: int | None = Field(default=None, ge=1, le=20)
    max_line_width: int | None = Field(default=None, ge=10, le=200)
    max_line_count: int | None = Field(default=None, ge=1, le=10)
    sample_rate: int | None = Field(default=None, ge=wav.MIN_RATE, le=wav.MAX_RATE)
    audio_track: int | None = Field(default=None, ge=0, le=31)

    @classmethod
    def from_form(cls, form: Form, **defaults: Any) -> Self:
        """Validate a form; empty fields count as absent. Raises InvalidRequest or UnsupportedFormat."""
        _check_sizes(form, cls.model_fields)
        given: dict[str, Any] = dict(defaults)
        for name in cls.model_fields:
            try:
                value = _read(form, name)
            except ValueError as error:
                raise errors.InvalidRequest(str(error), param=name) from error
            if value not in (None, []):
                given[name] = value
        try:
            request = cls.model_validate(given)
        except ValidationError as error:
            raise from_validation(error.errors(include_input=False), cls.model_fields) from error
        request.check_format()
        request.check_speakers()
        return request

    def check_format(self) -> None:
        """Raise UnsupportedFormat for a format there is not."""
        if self.response_format not in FORMATS:
            raise errors.UnsupportedFormat(
                f"unknown response_format; use one of: {', '.join(FORMATS)}", param="response_format"
            )

    def check_speakers(self) -> None:
        """Raise InvalidRequest for hints about speakers that contradict each other."""
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            raise errors.InvalidRequest("min_speakers is larger than max_speakers", param="min_speakers")
        names, references = len(self.known_speaker_names), len(self.known_speaker_references)
        if names != references:
            raise errors.InvalidRequest(
                f"there are {names} known_speaker_names for {references} known_speaker_references; "
                "each name needs one reference",
                param="known_speaker_names" if names > references else "known_speaker_references",
            )

    @property
    def diarizes(self) -> bool:
        """Whether the answer tells who speaks."""
        return self.diarize or FORMATS[self.response_format].needs_speakers

    @property
    def diarization(self) -> DiarizeOptions:
        """What is said of the speakers beforehand."""
        return DiarizeOptions(
            num_speakers=self.num_speakers, min_speakers=self.min_speakers, max_speakers=self.max_speakers
        )

    @property
    def naming(self) -> Naming:
        """How the answer calls speakers whose names are not known."""
        return naming(self.response_format)

    @property
    def shows_times(self) -> bool:
        """Whether OpenAI's route needs any times: where it does not, some models hear better."""
        timeless = self.response_format in TIMELESS_FORMATS and not self.diarizes
        return self.stream or self.shows_words or not timeless

    @property
    def shows_words(self) -> bool:
        """Whether the answer lists the words."""
        return self.word_timestamps or "word" in self.timestamp_granularities

    @property
    def logprobs(self) -> bool:
        """Whether the answer lists the log-probabilities of the tokens."""
        return "logprobs" in self.include

    @property
    def layout(self) -> SubtitleLayout | None:
        """How subtitles are laid out by words, None for one cue per segment."""
        given = {"max_line_width": self.max_line_width, "max_line_count": self.max_line_count}
        chosen = {name: value for name, value in given.items() if value is not None}
        return SubtitleLayout(**chosen) if chosen else None

    def options(self, settings: AsrSettings) -> TranscribeOptions:
        """Return what the engine is told; the service's settings fill what the request leaves open."""
        single = self.languages[0] if len(self.languages) == 1 else None
        return TranscribeOptions(
            task="translate" if self.translate else self.task,
            language=self.language or single or languages.parse(settings.language),
            languages=self.languages,
            prompt=self.prompt,
            hotwords=self.keywords + self.hotwords,
            temperature=(self.temperature,) if self.temperature else TEMPERATURE_LADDER,
            # Who says what is told by words, whether they are shown or not.
            word_timestamps=self.shows_words or self.layout is not None or self.diarizes,
            vad=self._vad(settings),
            beam_size=self.beam_size,
            best_of=self.best_of,
            logprobs=self.logprobs,
            amplify=self.chunking_strategy == _AUTO,
            # With speakers no text is told before all of the recording was heard.
            early=self.stream and not self.diarizes,
        )

    def _vad(self, settings: AsrSettings) -> VadOptions | None:
        """Return how silence is skipped: a chunking strategy says more than `vad_filter`, and that than the setting."""
        if isinstance(self.chunking_strategy, ServerVad):
            return self.chunking_strategy.options()
        wanted = settings.vad_enabled if self.vad_filter is None else self.vad_filter
        return VadOptions() if wanted or self.chunking_strategy == _AUTO else None


def _check_sizes(form: Form, names: Collection[str]) -> None:
    """Raise InvalidRequest for a field of these `names` that is far longer than any that makes sense."""
    for key, value in form.fields:
        if len(value) > FIELD_CHARS and (name := re.split(r"[\[.]", key, maxsplit=1)[0]) in names and name not in LONG:
            raise errors.InvalidRequest(f"{name} has more than {FIELD_CHARS} characters", param=name)


def _read(form: Form, name: str) -> object:
    if name == CHUNKING:
        return _chunking(form)
    if name in WORDS:
        return [word.strip() for item in form.array(name) for word in item.split(",") if word.strip()]
    return form.array(name) if name in ARRAYS else form.scalar(name)


def _chunking(form: Form) -> object:
    """Return `auto`, the numbers of an object, or None. Raises ValueError."""
    spelled = (form.scalar(CHUNKING) or "").strip('" ').lower()
    if spelled in {_AUTO, "null"}:
        return _AUTO if spelled == _AUTO else None
    try:
        given = form.mapping(CHUNKING)
        return None if given is None else ServerVad.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        raise ValueError(f"{CHUNKING}.{problem['loc'][0]}: {problem['msg']}") from error
    except ValueError as error:
        raise ValueError(f'{CHUNKING} must be "auto" or an object such as {{"type": "server_vad"}}') from error
