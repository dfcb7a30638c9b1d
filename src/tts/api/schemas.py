"""What a speech request may say, validated; see docs/api.md for the meaning of each field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from core import errors
from core.answers import from_validation
from tts.settings import TtsSettings
from tts.speech import Delivery
from tts.voice import SpeechOptions
from utils import languages
from utils.audio.encode import FORMATS

Language = Annotated[str | None, AfterValidator(languages.parse)]
_Any = BeforeValidator(lambda given: given.strip().lower() if isinstance(given, str) else given)
_Name = Annotated[str, Field(max_length=512)]


class VoiceObject(BaseModel):
    """A voice as newer SDKs send it."""

    id: _Name


class SpeechRequest(BaseModel):
    """The body of POST /v1/audio/speech."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    input: str = Field(validation_alias=AliasChoices("input", "text"))
    model: _Name | None = None
    voice: _Name | VoiceObject | None = None
    response_format: Annotated[str, _Any] = "mp3"
    speed: float = Field(default=1.0, ge=0.25, le=4.0, allow_inf_nan=False)
    instructions: str | None = Field(default=None, max_length=4096)
    stream_format: Annotated[Literal["audio", "sse"], _Any] = "audio"
    stream: bool = True
    language: Language = Field(default=None, validation_alias=AliasChoices("language", "lang", "lang_code"))
    sample_rate: int | None = Field(default=None, ge=8000, le=48000)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    volume_multiplier: float = Field(default=1.0, ge=0, le=4, allow_inf_nan=False)
    pause_between_sentences_ms: int | None = Field(default=None, ge=0, le=10_000)
    normalize: bool = True
    timestamps: Annotated[Literal["none", "word"], _Any] = "none"
    reference_audio: str | None = Field(default=None, validation_alias=AliasChoices("reference_audio", "ref_audio"))
    reference_text: str | None = Field(
        default=None, max_length=4096, validation_alias=AliasChoices("reference_text", "ref_text")
    )
    consent: str | None = None
    consent_confirmed: str | bool | None = None
    consent_attestation: str | bool | None = None

    @classmethod
    def from_data(cls, data: Any, settings: TtsSettings) -> SpeechRequest:
        """Validate a decoded body; empty strings count as absent. Raises InvalidRequest and its kin."""
        if not isinstance(data, dict):
            raise errors.InvalidRequest("the body must be a JSON object")
        given = {key: value for key, value in data.items() if value is not None and (value != "" or key == "input")}
        if "text" in given and given.get("input") == "":
            del given["input"]
        try:
            request = cls.model_validate(given)
        except ValidationError as error:
            raise from_validation(error.errors(include_input=False), cls.model_fields) from error
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

    @property
    def attestations(self) -> dict[str, str | bool | None]:
        """What the client says about the consent of the person whose voice is cloned."""
        return {"consent_confirmed": self.consent_confirmed, "consent_attestation": self.consent_attestation}

    def options(self) -> SpeechOptions:
        """Return what the engine is told."""
        return SpeechOptions(
            language=self.language,
            speed=self.speed,
            instructions=self.instructions,
            seed=self.seed,
            temperature=self.temperature,
        )

    def delivery(self) -> Delivery:
        """Return how the speech is handed over."""
        pause = self.pause_between_sentences_ms
        return Delivery(
            response_format=self.response_format,
            sample_rate=self.sample_rate,
            volume=self.volume_multiplier,
            pause=None if pause is None else pause / 1000,
            normalize=self.normalize,
            timestamps=self.timestamps == "word",
        )
