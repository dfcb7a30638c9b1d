"""Any server with OpenAI's speech API: OpenAI itself, Kokoro-FastAPI, LocalAI, another voice-stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from core.engines import EngineContext, EngineOptions
from core.errors import UnsupportedParameter
from core.remote import Remote
from core.remote_options import model_name
from tts.engines.remote_speech import RemoteTtsEngine, RemoteTtsOptions
from tts.voice import SpeechOptions, Voice

VENDOR, VARIABLE = "api.openai.com", "OPENAI_API_KEY"
VENDOR_VOICES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
    *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
)
"""OpenAI lists its voices in its documentation only."""


class OpenAiTtsOptions(RemoteTtsOptions):
    """Options of the openai engine. The key of OPENAI_API_KEY is used for api.openai.com only."""

    url: str = Field(
        default=f"https://{VENDOR}/v1", description="Address of the API; without a path `/v1` is added to it."
    )
    model: str | None = Field(
        default=None, description="The server's name of the model; unset: MODEL of openai/MODEL, else tts-1."
    )
    sample_rate: int = Field(default=24_000, ge=8_000, le=48_000, description="Rate of the server's `pcm` in Hz.")
    extended: bool = Field(
        default=False, description="Whether it knows `language`, `seed` and `temperature`, as another voice-stack does."
    )


class OpenAiTtsEngine(RemoteTtsEngine):
    """Asks for `pcm`, which is sent while it is made."""

    Options: ClassVar[type[EngineOptions]] = OpenAiTtsOptions
    options: OpenAiTtsOptions
    speed_range = (0.25, 4.0)
    takes_instructions = True

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self.sample_rate = self.options.sample_rate
        self._model = model_name(context, self.options.model, "tts-1")
        self.takes_language = self.options.extended

    def _connect(self) -> Remote:
        key = self.options.key(vendor=VENDOR, variable=VARIABLE)
        prefix = "" if urlsplit(self.options.url).path else "/v1"
        return Remote(self.options, name=self.name, key=key, prefix=prefix)

    def _listed(self, server: Remote) -> Sequence[Voice]:
        """Return the voices of /audio/voices, which OpenAI does not have; /models shows that the key is right."""
        answer = None if self.options.host == VENDOR else server.get("/audio/voices", model=self._model)
        if answer is None:
            server.get("/models")
            return [Voice(id=name, name=name) for name in VENDOR_VOICES]
        found = answer.get("voices") or answer.get("data") if isinstance(answer, dict) else answer
        voices = [voice for each in found if (voice := _voice(each))] if isinstance(found, list) else []
        if not voices and not self.options.voices:
            raise server.broken("no list of voices; the option 'voices' can name them")
        return voices

    def _request(self, text: str, voice: Voice, options: SpeechOptions) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {
            "model": self._model,
            "input": text,
            "voice": voice.id,
            "response_format": "pcm",
            "speed": options.speed,
        }
        if options.instructions is not None:
            body["instructions"] = options.instructions
        if self.options.extended:
            # The text has been cleaned, and cut into pieces that are joined here.
            body |= {"sample_rate": self.sample_rate, "normalize": False}
            extra = {"language": options.language, "seed": options.seed, "temperature": options.temperature}
            body |= {name: value for name, value in extra.items() if value is not None}
        else:
            for name in ("seed", "temperature"):
                if getattr(options, name) is not None:
                    raise UnsupportedParameter(f"{self.name} has no {name}", param=name)
        return "/audio/speech", {"json": body}


def _voice(given: Any) -> Voice | None:
    """Return a voice of a list, which has names or objects in it."""
    if isinstance(given, str):
        return Voice(id=given, name=given) if given else None
    if not isinstance(given, dict):
        return None
    name, language, gender = given.get("name"), given.get("language"), given.get("gender")
    found = given.get("id") or given.get("voice_id") or name
    if not isinstance(found, str):
        return None
    return Voice(
        id=found,
        name=name if isinstance(name, str) and name else found,
        language=language if isinstance(language, str) and language else None,
        gender=gender if gender in {"female", "male"} else None,
    )
