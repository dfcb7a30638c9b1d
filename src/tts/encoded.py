"""Speech in the container a client asked for: the engine's samples pumped through one encoder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from core import errors
from tts.service import Speech, TtsService, Utterance
from utils.audio import wav
from utils.audio.encode import FORMATS, Encoder, EncoderError

FRAME_BYTES = 2


class EncodedSpeech:
    """Encoded bytes of one utterance, available from the first piece on. Made by `open`."""

    def __init__(self, speech: Speech, encoder: Encoder, response_format: str, text: str) -> None:
        self.format = FORMATS[response_format]
        self._speech = speech
        self._encoder = encoder
        self._text = text
        self._frames = 0
        self._bytes = aiter(encoder.chunks())
        self._first = b""
        self._pump = asyncio.create_task(self._feed())

    @classmethod
    @asynccontextmanager
    async def open(cls, service: TtsService, utterance: Utterance, response_format: str) -> AsyncIterator[EncodedSpeech]:
        """Start to synthesize and encode, and wait for the first bytes; leaving the context ends both.

        A WAV of one piece, which is complete before its first byte can leave, gets true sizes in its header.
        """
        async with service.speak(utterance) as speech:
            whole_wav = response_format == "wav" and speech.pieces == 1
            coded = "pcm" if whole_wav else response_format
            encoder = await Encoder.open(coded, sample_rate=speech.sample_rate, tempo=speech.tempo)
            encoded = cls(speech, encoder, response_format, utterance.text)
            try:
                await encoded._prime(whole_wav=whole_wav)  # noqa: SLF001 - its own class
                yield encoded
            finally:
                encoded._pump.cancel()  # noqa: SLF001 - its own class
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await encoded._pump  # noqa: SLF001 - its own class
                await encoder.close()

    @property
    def content_type(self) -> str:
        """The media type; for raw samples it states the rate."""
        if self.format.name == "pcm":
            return f"audio/pcm;rate={self._speech.sample_rate};channels=1;bits=16"
        return self.format.content_type

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they are made; raise what broke the synthesis."""
        yield self._first
        async for chunk in self._bytes:
            yield chunk
        await self._finish()

    async def complete(self) -> bytes:
        """Return all bytes at once, with true sizes where the container has any."""
        async with aclosing(self.chunks()) as chunks:
            whole = b"".join([chunk async for chunk in chunks])
        return wav.with_true_sizes(whole) if self.format.name == "wav" else whole

    def usage(self) -> tuple[int, int]:
        """Return words read and tenths of a second spoken, which stand for the tokens of OpenAI's usage object."""
        return len(self._text.split()), round(10 * self._frames / self._speech.sample_rate)

    async def _prime(self, *, whole_wav: bool) -> None:
        if whole_wav:
            samples = b"".join([chunk async for chunk in self._bytes])
            self._first = wav.header(self._speech.sample_rate, frames=len(samples) // FRAME_BYTES) + samples
        else:
            self._first = await anext(self._bytes, b"")
        if self._pump.done():
            await self._finish()

    async def _feed(self) -> None:
        try:
            async with aclosing(self._speech.pcm()) as pcm:
                async for samples in pcm:
                    self._frames += len(samples) // FRAME_BYTES
                    await self._encoder.write(samples)
        finally:
            await self._encoder.finish()

    async def _finish(self) -> None:
        """Raise what the engine or the encoder raised."""
        try:
            await self._pump
        except EncoderError as error:
            raise errors.InternalError("the audio encoder failed") from error
        if not self._frames:
            raise errors.InvalidRequest("the input has nothing that can be spoken", param="input")
