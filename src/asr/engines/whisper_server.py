"""A running server of whisper.cpp (examples/server), which hears one request at a time and has an API of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field, ValidationError

from asr.engine import WindowText
from asr.engines.remote_answer import UNSPACED, Answer, whole_words, window_text
from asr.engines.remote_windows import RemoteAsrOptions, RemoteWindowEngine, RemoteWork, prompt
from asr.transcript import LanguageGuess, TranscribeOptions
from core.engines import EngineOptions
from core.remote import Remote
from utils import languages
from utils.audio.pcm import Audio

# whisper.cpp cuts segments at 60 characters where word times are on; lines of subtitles are laid out elsewhere.
_MAX_LEN = 1000


class WhisperServerOptions(RemoteAsrOptions):
    """Options of the whisper-server engine."""

    url: str = Field(default="http://127.0.0.1:8080", description="Address of the server.")
    inference_path: str = Field(
        default="/inference",
        pattern=r"^/[^?#]*$",
        description="The server's --inference-path; a --request-path belongs to the end of `url`.",
    )
    model: str | None = Field(
        default=None, description="Model file on the server's disk that it is told to load; unset keeps its own."
    )
    concurrency: int = Field(default=2, ge=1, le=64, description="Requests the server gets at the same time.")


class WhisperServerEngine(RemoteWindowEngine):
    """Sends windows to /inference and reads verbose_json; candidates for the language are tried by their likelihood."""

    Options: ClassVar[type[EngineOptions]] = WhisperServerOptions
    options: WhisperServerOptions

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Tell the language without transcribing; NotSupported where the model knows one only."""
        self._check_several()
        found = self._languages(self.prepare(audio, TranscribeOptions()))
        code = found.code
        return LanguageGuess(code, found.probability if code else 0.0)

    def _connect(self) -> Remote:
        return Remote(self.options, name=self.name, key=self.options.key())

    def _probe(self, server: Remote) -> None:
        """Have the model loaded, if one is named; older servers have no /health, which any answer is good for."""
        if self.options.model:
            said = server.post_bytes("/load", files={"model": (None, self.options.model)})
            if b'"error"' in said:  # some versions say so with status 200
                raise server.broken("an error when told to load 'model'")
        server.get("/health")

    def _hear(self, work: RemoteWork) -> WindowText:
        options = work.options
        wanted, share = self.language(options), 1.0
        if wanted is None and options.languages:
            wanted, share = _likeliest(self._languages(work), options.languages)
        fields = {
            "translate": _flag(options.task == "translate"),
            "temperature": str(options.temperature[0]),
            "temperature_inc": str(_step(options.temperature)),
            "token_timestamps": _flag(options.word_timestamps),
            "split_on_word": "true",
            "max_len": str(_MAX_LEN),
            # Told only where it is of use: it takes another look at the sound.
            "no_language_probabilities": _flag(wanted is not None),
            "prompt": prompt(options),
        }
        for name in ("beam_size", "best_of"):
            if (value := getattr(options, name)) is not None:
                fields[name] = str(value)
        answer = self._asked(work, wanted, **fields)
        if options.word_timestamps and answer.code not in UNSPACED:
            for segment in answer.segments or ():
                segment.words = list(whole_words(segment.words or ()))
        text = window_text(answer, work.duration, language=wanted, words=options.word_timestamps)
        return replace(text, language_probability=share) if wanted else text

    def _languages(self, work: RemoteWork) -> Answer:
        return self._asked(work, None, detect_language="true")

    def _asked(self, work: RemoteWork, language: str | None, **fields: str) -> Answer:
        fields |= {"response_format": "verbose_json", "language": language or "auto"}
        # Form fields are parts without a file name.
        parts = {name: (None, value) for name, value in fields.items()}
        files = {"file": ("speech.wav", work.wav, "audio/wav"), **parts}
        body = self.server.post_bytes(self.options.inference_path, files=files)
        try:
            return Answer.model_validate_json(body)
        except ValidationError:
            raise self.server.broken("something that is no transcript") from None


def _likeliest(answer: Answer, candidates: tuple[str, ...]) -> tuple[str, float]:
    """Return the candidate that is heard most clearly and its probability; the first where none is."""
    heard: dict[str, float] = {}
    for name, share in (answer.language_probabilities or {}).items():
        try:
            heard[languages.parse(name) or ""] = share or 0.0
        except ValueError:
            continue
    best = max(candidates, key=lambda code: heard.get(code, 0.0))
    return best, min(max(heard.get(best, 0.0), 0.0), 1.0)


def _step(temperatures: tuple[float, ...]) -> float:
    """Return how much the temperature rises from try to try, 0 for a single try."""
    return round(temperatures[1] - temperatures[0], 3) if len(temperatures) > 1 else 0.0


def _flag(value: bool) -> str:
    return "true" if value else "false"
