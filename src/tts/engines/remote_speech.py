"""What the TTS engines that ask a server have in common: its voices listed, its PCM handed on as it comes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from core.engines import EngineContext, EngineOptions
from core.errors import InternalError, VoiceNotFound
from core.remote import Remote, checked
from core.remote_options import RemoteOptions
from core.settings import split_commas
from tts.engine import TtsEngine
from tts.voice import SpeechOptions, Voice, quoted
from utils import languages
from utils.audio.pcm import INT16_SCALE, Audio
from utils.text import normalize

_SAMPLE_BYTES = 2
_MAX_SECONDS = 3600
# What servers that do not know `pcm` send in its place.
_CONTAINERS = (b"RIFF", b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3")


class RemoteTtsOptions(RemoteOptions):
    """Options of the TTS engines that ask a server."""

    voices: tuple[str, ...] = Field(
        default=(), description="The server's voices to offer, comma-separated, the default one first; unset: all."
    )
    languages: tuple[str, ...] = Field(
        default=(), description="Languages of the server's model, comma-separated; unset: those of its voices."
    )

    @field_validator("voices", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return split_commas(value)

    @field_validator("languages", mode="before")
    @classmethod
    def _codes(cls, value: Any) -> Any:
        codes = split_commas(value)
        return tuple(languages.parse(str(code)) for code in codes) if isinstance(codes, (list, tuple)) else codes


class RemoteTtsEngine(TtsEngine):
    """Asks a server to speak piece after piece. Its voices are known once it is loaded."""

    Options: ClassVar[type[EngineOptions]] = RemoteTtsOptions
    options: RemoteTtsOptions
    licence = "depends on the server"
    max_chars = 1000

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._server: Remote | None = None
        self._voices: dict[str, Voice] = {}

    def load(self) -> None:
        """Ask the server for its voices; nothing is spoken, which would cost.

        Raises ConfigurationError, ModelBroken for what only another configuration helps, Unavailable.
        """
        self.close()
        server = self._connect()
        try:
            with checked(self.name):
                found = self._wanted(self._listed(server))
        except BaseException:
            server.close()
            raise
        self.slots = self.options.concurrency
        self._voices = {voice.id: voice for voice in found}
        spoken = {language_of(voice.language): None for voice in found if voice.language}
        every = all(voice.language for voice in found)
        self.languages = self.options.languages or (tuple(spoken) if every else ())
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

    def voices(self) -> Sequence[Voice]:
        """Return the voices that the server had when it was loaded, the default one first."""
        return tuple(self._voices.values())

    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        """Yield the sound as it arrives; closing it closes the connection.

        Raises VoiceNotFound, UnsupportedParameter, and what core.remote.Remote does.
        """
        server = self._server
        if server is None:
            raise InternalError("the engine is not loaded")
        if voice.id not in self._voices:
            raise VoiceNotFound(f"{self.name} has no voice {quoted(voice.id)}", param="voice")
        path, content = self._request(text, voice, options)
        if not normalize.has_speech(text):
            return
        limit = _MAX_SECONDS * self.sample_rate * _SAMPLE_BYTES
        with server.sound(path, limit=limit, **content) as chunks:
            yield from self._audio(server, chunks)

    def _audio(self, server: Remote, chunks: Iterator[bytes]) -> Iterator[Audio]:
        rest, begun = b"", False
        for chunk in chunks:
            data = rest + chunk
            if not begun and data.startswith(_CONTAINERS):
                raise server.broken("sound that is not PCM")
            whole = len(data) - len(data) % _SAMPLE_BYTES
            rest = data[whole:]
            if whole:
                begun = True
                samples = np.frombuffer(data[:whole], dtype="<i2").astype(np.float32)
                samples /= INT16_SCALE
                yield Audio(samples, self.sample_rate)
        if not begun:
            raise server.broken("no sound")

    def _wanted(self, listed: Sequence[Voice]) -> list[Voice]:
        """Return the voices that the option names, by id or name and in its order; all where it names none.

        One that is not listed is offered all the same: some servers list only some of theirs, or none.
        """
        if not self.options.voices:
            return list(listed)
        known = {voice.name: voice for voice in listed} | {voice.id: voice for voice in listed}
        return [known.get(name) or Voice(id=name, name=name) for name in self.options.voices]

    @abstractmethod
    def _connect(self) -> Remote:
        """Return the server, which need not be there."""

    @abstractmethod
    def _listed(self, server: Remote) -> Sequence[Voice]:
        """Return the voices that the server lists; raise what keeps it from being used."""

    @abstractmethod
    def _request(self, text: str, voice: Voice, options: SpeechOptions) -> tuple[str, dict[str, Any]]:
        """Return the path and httpx's arguments of the request for a piece of text; UnsupportedParameter."""


def language_of(tag: str) -> str:
    """Return our code for a tag such as en-US; the first part of one that we do not know."""
    try:
        return languages.parse(tag) or tag
    except ValueError:
        return tag.partition("-")[0].lower()
