"""What a speech request may say, validated; see docs/api.md for the meaning of each field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from core import errors
from core.server import from_validation
from tts.settings import TtsSettings
from tts.voice import SpeechOptions
from utils import languages
from utils.audio.encode import FORMATS

Language = Annotated[str | None, BeforeValidator(languages.parse)]


class VoiceObject(BaseModel):
    """A voice as newer SDKs send it."""

    id: str


class SpeechRequest(BaseModel):
    """The body of POST /v1/audio/speech."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    input: str = Field(validation_alias=AliasChoices("input", "text"))
    model: str | None = Field(default=None, max_length=512)
    voice: str | VoiceObject | None = None
    response_format: str = "mp3"
    speed: float = Field(default=1.0, ge=0.25, le=4.0, allow_inf_nan=False)
    instructions: str | None = Field(default=None, max_length=4096)
    stream_format: Literal["audio", "sse"] = "audio"
    stream: bool = True
    language: Language = Field(default=None, validation_alias=AliasChoices("language", "lang", "lang_code"))
    sample_rate: int | None = Field(default=None, ge=8000, le=48000)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)

    @classmethod
    def from_data(cls, data: Any, settings: TtsSettings) -> SpeechRequest:
        """Validate a decoded body; empty strings count as absent. Raises InvalidRequest and its kin."""
        if not isinstance(data, dict):
            raise errors.InvalidRequest("the body must be a JSON object")
        given = {key: value for key, value in data.items() if value is not None and (value != "" or key == "input")}
        try:
            request = cls.model_validate(given)
        except ValidationError as error:
            raise from_validation(error.errors(include_input=False)) from error
        if not request.input.strip():
            raise errors.InvalidRequest("the input is empty", param="input")
        if len(request.input) > settings.max_input:
            raise errors.TextTooLong(
                f"the input has {len(request.input)} characters; at most {settings.max_input} are accepted",
                param="input",
            )
        if request.response_format not in FORMATS:
            raise errors.UnsupportedFormat(
                f"unknown response_format; use one of: {', '.join(FORMATS)}", param="response_format"
            )
        return request

    @property
    def voice_name(self) -> str | None:
        """The voice asked for, whichever way it was sent."""
        return self.voice.id if isinstance(self.voice, VoiceObject) else self.voice

    def options(self) -> SpeechOptions:
        """Return what the engine is told."""
        return SpeechOptions(
            language=self.language,
            speed=self.speed,
            instructions=self.instructions,
            seed=self.seed,
            temperature=self.temperature,
        )
