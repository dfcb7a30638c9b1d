"""The voices of elevenlabs.io: a cloud that gets the texts, and is paid by the character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field, field_validator

from core.engines import EngineContext, EngineOptions
from core.errors import ModelBroken, UnsupportedParameter
from core.remote import Remote
from core.remote_options import model_name
from tts.engines.remote_speech import RemoteTtsEngine, RemoteTtsOptions
from tts.voice import SpeechOptions, Voice

VENDOR, VARIABLE = "api.elevenlabs.io", "ELEVENLABS_API_KEY"
_RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
_MAX_SEED = 2**32 - 1
# Others answer with an error when they are told the language.
_TAKES_LANGUAGE = "_v2_5"


class ElevenLabsOptions(RemoteTtsOptions):
    """Options of the elevenlabs engine; unset voice settings keep those of the voice."""

    url: str = Field(default=f"https://{VENDOR}", description="Address of the API.")
    model: str | None = Field(
        default=None,
        description="Model id; unset: MODEL of elevenlabs/MODEL, else eleven_multilingual_v2.",
    )
    sample_rate: int = Field(
        default=24_000, description=f"Rate in Hz, one of {_RATES}; the higher ones need a larger subscription."
    )
    stability: float | None = Field(default=None, ge=0, le=1, description="How even the voice is.")
    similarity_boost: float | None = Field(default=None, ge=0, le=1, description="How close it is to the original.")
    style: float | None = Field(default=None, ge=0, le=1, description="How much of the style is exaggerated.")
    use_speaker_boost: bool | None = Field(default=None, description="Whether likeness is worth some delay.")

    @field_validator("sample_rate")
    @classmethod
    def _offered(cls, value: int) -> int:
        if value not in _RATES:
            raise ValueError(f"must be one of {_RATES}")
        return value


class ElevenLabsEngine(RemoteTtsEngine):
    """Streams PCM of /v1/text-to-speech/VOICE/stream."""

    Options: ClassVar[type[EngineOptions]] = ElevenLabsOptions
    options: ElevenLabsOptions
    licence = "terms of elevenlabs.io"
    speed_range = (0.7, 1.2)

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self.sample_rate = self.options.sample_rate
        self._model = model_name(context, self.options.model, "eleven_multilingual_v2")
        self.takes_language = self._model.endswith(_TAKES_LANGUAGE)

    def _connect(self) -> Remote:
        key = self.options.key(vendor=VENDOR, variable=VARIABLE)
        if not key:
            raise ModelBroken(f"the elevenlabs engine needs a key: the option 'api_key', or {VARIABLE}")
        return Remote(self.options, name=self.name, key=key, key_header="xi-api-key")

    def _listed(self, server: Remote) -> Sequence[Voice]:
        answer = server.get("/v1/voices")
        found = answer.get("voices") if isinstance(answer, dict) else None
        voices = [voice for each in found if (voice := _voice(each))] if isinstance(found, list) else []
        if not voices:
            raise server.broken("no list of voices")
        return voices

    def _request(self, text: str, voice: Voice, options: SpeechOptions) -> tuple[str, dict[str, Any]]:
        for name in ("temperature", "instructions"):
            if getattr(options, name) is not None:
                raise UnsupportedParameter(f"{self.name} has no {name}", param=name)
        if options.seed is not None and options.seed > _MAX_SEED:
            raise UnsupportedParameter(f"{self.name} takes seeds up to {_MAX_SEED}", param="seed")
        body: dict[str, Any] = {"text": text, "model_id": self._model}
        if options.seed is not None:
            body["seed"] = options.seed
        if options.language and self.takes_language:
            body["language_code"] = options.language.partition("-")[0]
        if settings := self._settings(options.speed):
            body["voice_settings"] = settings
        params = {"output_format": f"pcm_{self.sample_rate}"}
        return f"/v1/text-to-speech/{quote(voice.id, safe='')}/stream", {"json": body, "params": params}

    def _settings(self, speed: float) -> dict[str, Any]:
        names = ("stability", "similarity_boost", "style", "use_speaker_boost")
        given = {name: value for name in names if (value := getattr(self.options, name)) is not None}
        return given if speed == 1.0 else {**given, "speed": speed}


def _voice(given: Any) -> Voice | None:
    """Return a voice of the list. It speaks every language of the model, whatever its label says."""
    if not isinstance(given, dict) or not isinstance(given.get("voice_id"), str):
        return None
    labels, name = given.get("labels"), given.get("name")
    gender = labels.get("gender") if isinstance(labels, dict) else None
    return Voice(
        id=given["voice_id"],
        name=name if isinstance(name, str) and name else given["voice_id"],
        gender=gender if gender in {"female", "male"} else None,
    )
