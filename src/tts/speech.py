"""What is to be said, how it is handed over, and speech while it is being made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

from core.model_entry import ModelRef
from core.worker import Event
from tts.align import Alignment
from tts.voice import SpeechOptions, SpokenWord, Voice


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How speech is handed over.

    `response_format` is a name of utils.audio.encode, `sample_rate` the output rate in Hz (None: the engine's),
    `volume` a factor, `pause` the silence between sentences in seconds (None: the engine's own). `normalize` takes
    Markdown, emoji and the tails of web addresses out of the text, `timestamps` asks when each word is spoken.
    """

    response_format: str = "mp3"
    sample_rate: int | None = None
    volume: float = 1.0
    pause: float | None = None
    normalize: bool = True
    timestamps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What is to be said: a text, a voice of a model, and how."""

    text: str
    voice: Voice
    model: ModelRef
    options: SpeechOptions
    delivery: Delivery = Delivery()


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """Speech that is being made: PCM at `sample_rate` Hz that must be played `tempo` times as fast to be right.

    `short` tells that it is one sentence. `words` grows while `pcm` is read, in seconds of that PCM, when times were
    asked for; an engine that knows none has `alignment` find them. `stop` ends the work of the engine.
    """

    events: AsyncIterator[Event]
    stop: Callable[[], None]
    sample_rate: int
    tempo: float
    short: bool
    words: list[SpokenWord]
    alignment: Alignment | None = None

    async def pcm(self) -> AsyncGenerator[bytes, None]:
        """Yield signed 16-bit little-endian mono samples, one item per chunk the engine made, until all is known.

        Closing it stops the engine.
        """
        try:
            async for event in self.events:
                if event.name == "audio":
                    if self.alignment is not None:
                        await self.alignment.add(event.data["piece"], event.data["text"], event.body)
                    else:
                        self.words.extend(SpokenWord(**word) for word in event.data.get("words", ()))
                    yield event.body
        finally:
            self.stop()
        if self.alignment is not None:
            await self.alignment.finish()
