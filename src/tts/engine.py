"""The interface of a TTS engine: a piece of text in, chunks of audio out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from core.engines import Engine
from core.errors import NotSupported
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio


class TtsEngine(Engine):
    """Base class of TTS engines. `synthesize` and `clone` run in at most `slots` threads, the rest in others."""

    sample_rate: int = 24_000
    """Hz of every chunk; may be set by `load`."""
    slots: int = 1
    """Pieces that are spoken at the same time, at most; more than one only for engines that wait for others. May be set
    by `load`."""
    max_chars: int = 250
    """Longest piece of text the engine is given."""
    first_chars: int | None = None
    """About the longest first piece of a longer text, for engines that finish a piece before they yield it: their texts
    begin with a few words, and no piece is longer than there is time to make it. None: pieces of `max_chars`. May be
    set by `load`."""
    open_end: ClassVar[str] = ","
    """What a piece that is cut between words gets behind the last one, so that it does not sound as if all was said."""
    clause_pause: float = 0.12
    """Seconds of silence where a sentence is cut behind a comma. May be set by `load`."""
    speed_range: tuple[float, float] = (1.0, 1.0)
    """Speeds the engine can speak at by itself; the service stretches time for the rest. May be set by `load`."""
    can_clone: bool = False
    """Whether recordings in the voices folder are voices of this engine's models. May be set by `load`."""
    can_mix: ClassVar[bool] = False
    """Whether it speaks a `Voice` with a `mix`: a voice between several of its own."""
    times_words: bool = False
    """Whether it can say when each word is spoken (`SpeechOptions.timestamps`). May be set by `load`."""
    takes_instructions: ClassVar[bool] = False
    """Whether `SpeechOptions.instructions` means something to it; the service drops them otherwise."""
    takes_language: bool = True
    """Whether it can be told which of its languages to speak; where not, requests that name one the voice does not
    speak anyway are refused."""
    languages: Sequence[str] = ()
    """Languages of the loaded model, ISO 639-1; empty means not known."""

    @classmethod
    def list_voices(cls, model: Path) -> Sequence[Voice]:
        """Return the built-in voices of an installed model without importing the library or loading anything."""
        del model
        return ()

    def voices(self) -> Sequence[Voice]:
        """Return the built-in voices of the loaded model."""
        return self.list_voices(self.context.model) if self.context.model else ()

    def check(self, text: str, voice: Voice, options: SpeechOptions) -> None:
        """Raise InvalidRequest for text the engine cannot speak, before anything is synthesised.

        It is given the whole text, with the voice and the options that every piece of it will be spoken with.
        """
        del text, voice, options

    @abstractmethod
    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        """Speak one piece of text of at most `max_chars` characters.

        Chunks are at `sample_rate`, finite, within [-1, 1]. Closing the iterator stops the work. With
        `options.timestamps`, which only engines that set `times_words` are asked for, the chunks are TimedAudio.
        Raises UnsupportedParameter for an option the engine cannot honour.
        """

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Prepare a voice from a recording.

        What is computed may be kept in the engine's cache, in files whose names begin with the recording's hash
        (tts.traces) and a `-`: the service deletes them with the voice.
        """
        del voice, reference
        raise NotSupported(f"{type(self).__name__} cannot clone voices")

    def forget(self, voice: Voice) -> None:
        """Drop what `clone` prepared for a voice, which is not being spoken with; another one may be at the time."""
