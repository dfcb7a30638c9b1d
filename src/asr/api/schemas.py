"""What a transcription request may say, validated; see docs/api.md for the meaning of each field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from asr.formats import FORMATS
from asr.result import SubtitleLayout
from asr.settings import AsrSettings
from asr.transcript import TEMPERATURE_LADDER, TranscribeOptions, VadOptions
from core import errors
from core.server import from_validation
from utils import languages
from utils.forms import Form

Granularity = Literal["word", "segment"]
Language = Annotated[str | None, BeforeValidator(languages.parse)]
Candidate = Annotated[str, BeforeValidator(languages.parse)]
ARRAYS = ("languages", "keywords", "hotwords", "timestamp_granularities")
SPEAKER_FORMAT = "diarized_json"


class TranscriptionRequest(BaseModel):
    """The fields of POST /v1/audio/transcriptions, apart from the file."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str | None = Field(default=None, max_length=512)
    language: Language = None
    languages: tuple[Candidate, ...] = Field(default=(), max_length=32)
    prompt: str | None = Field(default=None, max_length=20_000)
    keywords: tuple[Annotated[str, Field(max_length=80)], ...] = Field(default=(), max_length=100)
    hotwords: tuple[Annotated[str, Field(max_length=80)], ...] = Field(default=(), max_length=100)
    response_format: str = "json"
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    timestamp_granularities: tuple[Granularity, ...] = ("segment",)
    stream: bool = False
    task: Literal["transcribe", "translate"] = "transcribe"
    translate: bool = False
    diarize: bool = False
    vad_filter: bool | None = None
    word_timestamps: bool = False
    beam_size: int | None = Field(default=None, ge=1, le=20)
    best_of: int | None = Field(default=None, ge=1, le=20)
    max_line_width: int | None = Field(default=None, ge=10, le=200)
    max_line_count: int | None = Field(default=None, ge=1, le=10)
    audio_track: int | None = Field(default=None, ge=0, le=31)

    @classmethod
    def from_form(cls, form: Form, **defaults: Any) -> TranscriptionRequest:
        """Validate a form; empty fields count as absent. Raises InvalidRequest or UnsupportedFormat."""
        given: dict[str, Any] = dict(defaults)
        for name in cls.model_fields:
            try:
                value = form.array(name) if name in ARRAYS else form.scalar(name)
            except ValueError as error:
                raise errors.InvalidRequest(str(error), param=name) from error
            if value:
                given[name] = value
        try:
            request = cls.model_validate(given)
        except ValidationError as error:
            raise from_validation(error.errors(include_input=False)) from error
        request.check_format()
        return request

    def check_format(self) -> None:
        """Raise UnsupportedFormat for a format there is not, or that no installed engine can fill."""
        if self.response_format == SPEAKER_FORMAT or self.diarize:
            param = "diarize" if self.diarize else "response_format"
            raise errors.UnsupportedFormat("no diarization engine is installed", param=param)
        if self.response_format not in FORMATS:
            raise errors.UnsupportedFormat(
                f"unknown response_format; use one of: {', '.join(FORMATS)}", param="response_format"
            )

    @property
    def shows_words(self) -> bool:
        """Whether the answer lists the words."""
        return self.word_timestamps or "word" in self.timestamp_granularities

    @property
    def layout(self) -> SubtitleLayout | None:
        """How subtitles are laid out by words, None for one cue per segment."""
        given = {"max_line_width": self.max_line_width, "max_line_count": self.max_line_count}
        chosen = {name: value for name, value in given.items() if value is not None}
        return SubtitleLayout(**chosen) if chosen else None

    def options(self, settings: AsrSettings) -> TranscribeOptions:
        """Return what the engine is told; the service's settings fill what the request leaves open."""
        vad = settings.vad_enabled if self.vad_filter is None else self.vad_filter
        single = self.languages[0] if len(self.languages) == 1 else None
        return TranscribeOptions(
            task="translate" if self.translate else self.task,
            language=self.language or single or languages.parse(settings.language),
            languages=self.languages,
            prompt=self.prompt,
            hotwords=self.keywords + self.hotwords,
            temperature=(self.temperature,) if self.temperature else TEMPERATURE_LADDER,
            word_timestamps=self.shows_words or self.layout is not None,
            vad=VadOptions() if vad else None,
            beam_size=self.beam_size,
            best_of=self.best_of,
        )
