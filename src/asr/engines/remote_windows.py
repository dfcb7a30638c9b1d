"""What the ASR engines that ask a server have in common: windows of speech go out as WAV, timed text comes back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from pydantic import Field, field_validator

from asr.engine import WindowEngine, WindowText, WindowWork, require_finite
from asr.transcript import LanguageGuess, TranscribeOptions
from core.engines import EngineOptions
from core.errors import InternalError, NotSupported, UnsupportedParameter
from core.remote import Remote, checked
from core.remote_options import RemoteOptions
from core.settings import split_commas
from utils import languages
from utils.audio import wav
from utils.audio.pcm import Audio


class RemoteAsrOptions(RemoteOptions):
    """Options of the ASR engines that ask a server."""

    languages: tuple[str, ...] = Field(
        default=(), description="Languages of the server's model, comma-separated; unset leaves it to the server."
    )
    window_seconds: float = Field(
        default=30.0, ge=5, le=300, description="Longest piece that is sent; text is shown piece by piece."
    )

    @field_validator("languages", mode="before")
    @classmethod
    def _codes(cls, value: object) -> object:
        codes = split_commas(value)
        return tuple(languages.parse(str(code)) for code in codes) if isinstance(codes, (list, tuple)) else codes


@dataclass(frozen=True, kw_only=True, eq=False)
class RemoteWork(WindowWork):
    """A window as a WAV file, `duration` in seconds, and what to ask for."""

    wav: bytes
    duration: float
    options: TranscribeOptions


class RemoteWindowEngine(WindowEngine):
    """Asks a server for the text of one window at a time, of several windows at once.

    The service finds the speech: silence, which models make something up for, is neither sent nor paid for.
    """

    Options: ClassVar[type[EngineOptions]] = RemoteAsrOptions
    options: RemoteAsrOptions
    _server: Remote | None = None

    def load(self) -> None:
        """Ask the server whether it is there and takes the key; nothing is transcribed, which would cost.

        Raises ConfigurationError, ModelBroken for what only another configuration helps, Unavailable.
        """
        self.slots = self.context.workers or self.options.concurrency
        self.window_seconds = self.options.window_seconds
        self.languages = self.options.languages
        self.close()
        server = self._connect()
        try:
            with checked(self.name):
                self._probe(server)
        except BaseException:
            server.close()
            raise
        self._server = server

    def close(self) -> None:
        """Close the connections."""
        if self._server is not None:
            self._server.close()
            self._server = None

    @property
    def name(self) -> str:
        """What messages call the model."""
        return self.context.model_id or "this model"

    @property
    def server(self) -> Remote:
        """The server, once loaded."""
        if self._server is None:
            raise InternalError("the engine is not loaded")
        return self._server

    def check(self, options: TranscribeOptions) -> None:
        """Raise UnsupportedParameter for a language that the model is known not to have."""
        for param, codes in (("language", (options.language,)), ("languages", options.languages)):
            for code in filter(None, codes):
                if self.languages and languages.nearest(code, self.languages) is None:
                    raise UnsupportedParameter(f"{self.name} knows {', '.join(self.languages)} only", param=param)

    def prepare(self, audio: Audio, options: TranscribeOptions, *, previous: tuple[int, ...] = ()) -> RemoteWork:
        """Return the window as 16-bit WAV, half a megabyte for 16 seconds."""
        del previous
        require_finite(audio)
        samples = audio.to_s16()
        head = wav.header(audio.sample_rate, frames=len(samples) // 2)
        return RemoteWork(key=None, wav=head + samples, duration=audio.duration, options=options)

    def decode(self, works: Sequence[WindowWork]) -> Sequence[WindowText | WindowWork]:
        """Send one window after the other. Raises Unavailable, QueueFull, InvalidRequest."""
        return [self._hear(work) for work in cast("Sequence[RemoteWork]", works)]

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Return the language in which the server hears a window, None in silence.

        NotSupported where the model knows one only, or the server does not tell.
        """
        self._check_several()
        text = self._hear(self.prepare(audio, TranscribeOptions()))
        if text.segments and text.language is None:
            raise NotSupported(f"the server behind {self.name} does not tell which language it hears")
        return LanguageGuess(text.language, text.language_probability if text.language else 0.0)

    def language(self, options: TranscribeOptions) -> str | None:
        """Return the language to tell the server, None where it is to be detected."""
        known = options.languages if len(options.languages) == 1 else self.languages if len(self.languages) == 1 else ()
        code = options.language or next(iter(known), None)
        return languages.nearest(code, self.languages) if code and self.languages else code

    def _check_several(self) -> None:
        if len(self.languages) == 1:
            raise NotSupported(f"{self.name} knows one language only and cannot detect it")

    @abstractmethod
    def _connect(self) -> Remote:
        """Return the server, which need not be there."""

    @abstractmethod
    def _probe(self, server: Remote) -> None:
        """Raise what keeps the server from being used."""

    @abstractmethod
    def _hear(self, work: RemoteWork) -> WindowText:
        """Return what a window says."""


def prompt(options: TranscribeOptions) -> str:
    """Return the prompt with the words to favour in front, which is how a server without such a field learns them."""
    return " ".join(filter(None, (", ".join(options.hotwords), options.prompt)))
