"""Any server with OpenAI's transcription API: OpenAI itself, vLLM, LocalAI, another voice-stack."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from asr.engine import WindowText
from asr.engines.remote_answer import Answer, window_text
from asr.engines.remote_windows import RemoteAsrOptions, RemoteWindowEngine, RemoteWork, prompt
from asr.transcript import TranscribeOptions
from core.engines import EngineOptions
from core.errors import InvalidRequest, UnsupportedParameter
from core.remote import Remote
from core.remote_options import model_name

VENDOR, VARIABLE = "api.openai.com", "OPENAI_API_KEY"
# What is asked for, from the richest to what every server can do.
_WORDS, _SEGMENTS, _TEXT = range(3)


class OpenAiOptions(RemoteAsrOptions):
    """Options of the openai engine. The key of OPENAI_API_KEY is used for api.openai.com only."""

    url: str = Field(
        default=f"https://{VENDOR}/v1", description="Address of the API; without a path `/v1` is added to it."
    )
    model: str | None = Field(
        default=None, description="The server's name of the model; unset: MODEL of openai/MODEL, else whisper-1."
    )


class OpenAiEngine(RemoteWindowEngine):
    """Asks for verbose_json, and for less where the server says that it has no such format."""

    Options: ClassVar[type[EngineOptions]] = OpenAiOptions
    options: OpenAiOptions
    licence = "depends on the server"
    _level = _WORDS

    def check(self, options: TranscribeOptions) -> None:
        """Raise UnsupportedParameter for what the API has no field for."""
        super().check(options)
        if len(options.languages) > 1 and options.language is None:
            raise UnsupportedParameter(f"{self.name} cannot choose among languages", param="languages")
        # OpenAI's translations take no language, which other servers do.
        vendor = self.options.host == VENDOR
        if vendor and options.task == "translate" and options.language and len(self.languages) != 1:
            raise UnsupportedParameter(f"{self.name} detects the language of what it translates", param="language")
        for param in ("beam_size", "best_of"):
            if getattr(options, param) is not None:
                raise UnsupportedParameter(f"{self.name} has no {param}", param=param)

    def _connect(self) -> Remote:
        key = self.options.key(vendor=VENDOR, variable=VARIABLE)
        prefix = "" if urlsplit(self.options.url).path else "/v1"
        self._model = model_name(self.context, self.options.model, "whisper-1")
        return Remote(self.options, name=self.name, key=key, prefix=prefix)

    def _probe(self, server: Remote) -> None:
        server.get("/models")

    def _hear(self, work: RemoteWork) -> WindowText:
        while True:
            level = self._level
            try:
                return self._asked(work, level)
            except InvalidRequest as error:
                self._level = max(self._level, _lower(level, error))
                if self._level <= level:
                    raise

    def _asked(self, work: RemoteWork, level: int) -> WindowText:
        options = work.options
        translates = options.task == "translate"
        language = self.language(options)
        fields: dict[str, Any] = {
            "model": self._model,
            "response_format": "json" if level == _TEXT else "verbose_json",
        }
        if language and not (translates and self.options.host == VENDOR):
            fields["language"] = language
        if said := prompt(options):
            fields["prompt"] = said
        if len(options.temperature) == 1:
            fields["temperature"] = str(options.temperature[0])
        if options.word_timestamps and level == _WORDS and not translates:
            fields["timestamp_granularities[]"] = ["word", "segment"]
        path = "/audio/translations" if translates else "/audio/transcriptions"
        body = self.server.post_bytes(path, data=fields, files={"file": ("speech.wav", work.wav, "audio/wav")})
        try:
            answer = Answer.model_validate_json(body)
        except ValidationError:
            raise self.server.broken("something that is no transcript") from None
        if translates:
            # It tells the language of the text, which is English, and not the one that was spoken.
            answer = answer.model_copy(update={"language": None, "detected_language": None})
        return window_text(answer, work.duration, language=language, words=options.word_timestamps)


def _lower(level: int, error: InvalidRequest) -> int:
    """Return what to ask for after a refusal: less where that was the format, the same where it was something else."""
    about = f"{error.param} {error.message}"
    if level < _TEXT and ("response_format" in about or "verbose_json" in about):
        return _TEXT
    return _SEGMENTS if level == _WORDS and "timestamp_granularit" in about else level
