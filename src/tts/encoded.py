"""Speech in the container a client asked for: the engine's samples pumped through one encoder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from core import errors
from tts.service import Speech, TtsService, Utterance
from utils.audio.encode import FORMATS, SAMPLE_BYTES, Encoder, EncoderError


class EncodedSpeech:
    """Encoded bytes of one utterance, available from the first piece on. Made by `open`."""

    def __init__(self, speech: Speech, encoder: Encoder, samples: AsyncIterator[bytes], utterance: Utterance) -> None:
        self.response_format = utterance.response_format
        self._speech = speech
        self._encoder = encoder
        self._samples = samples
        self._words = len(utterance.text.split())
        self._frames = 0
        self._bytes = aiter(encoder.chunks())
        self._first = b""
        self._pump = asyncio.create_task(self._feed())

    @classmethod
    @asynccontextmanager
    async def open(cls, service: TtsService, utterance: Utterance, *, whole: bool) -> AsyncIterator[EncodedSpeech]:
        """Start to synthesize and encode, and wait for the first bytes; leaving the context ends both.

        `whole` synthesizes everything first, so that sizes in headers are true. So does a WAV of one piece, which
        has little to gain from a stream. Raises what the engine raised before the first bytes.
        """
        audio_format = FORMATS[utterance.response_format]
        async with service.speak(utterance) as speech, aclosing(speech.pcm()) as samples:
            whole = whole or (audio_format.name == "wav" and speech.pieces == 1)
            ready = [part async for part in samples] if whole else None
            encoder = await Encoder.open(
                audio_format,
                sample_rate=speech.sample_rate,
                tempo=speech.tempo,
                total_frames=None if ready is None else sum(map(len, ready)) // SAMPLE_BYTES,
            )
            encoded = cls(speech, encoder, samples if ready is None else _drain(ready), utterance)
            try:
                await encoded.start()
                yield encoded
            finally:
                await encoded.close()

    @property
    def content_type(self) -> str:
        """The media type; for raw samples it states the rate."""
        return FORMATS[self.response_format].content_type_at(self._speech.sample_rate)

    @property
    def extension(self) -> str:
        """The usual file extension."""
        return FORMATS[self.response_format].extension

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes as they are made; raise what broke the synthesis."""
        yield self._first
        try:
            async for chunk in self._bytes:
                yield chunk
        except EncoderError as error:
            await self._check()
            raise errors.InternalError("the audio encoder failed") from error
        await self._check()

    async def complete(self) -> bytes:
        """Return all bytes at once."""
        async with aclosing(self.chunks()) as chunks:
            return b"".join([chunk async for chunk in chunks])

    def usage(self) -> tuple[int, int]:
        """Return words read and tenths of a second spoken, which stand for the tokens of OpenAI's usage object."""
        return self._words, round(10 * self._frames / (self._speech.sample_rate * self._speech.tempo))

    async def start(self) -> None:
        """Wait for the first bytes; raise what came instead of them."""
        try:
            self._first = await anext(self._bytes, b"")
        except EncoderError:
            await self._check()
            raise
        if self._pump.done():
            await self._check()

    async def close(self) -> None:
        """End the pump and the encoder."""
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        await self._encoder.close()

    async def _feed(self) -> None:
        try:
            async for samples in self._samples:
                self._frames += len(samples) // SAMPLE_BYTES
                await self._encoder.write(samples)
        except Exception:
            # The reader waits for the encoder: end it, and `_check` tells the reader why.
            with contextlib.suppress(EncoderError):
                await self._encoder.finish()
            raise
        await self._encoder.finish()

    async def _check(self) -> None:
        """Raise what the engine or the encoder raised, or that there was nothing to say."""
        try:
            await self._pump
        except EncoderError as error:
            raise errors.InternalError("the audio encoder failed") from error
        if not self._frames:
            raise errors.InvalidRequest("the input has nothing that can be spoken", param="input")


async def _drain(parts: list[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the parts, forgetting each: an hour of speech need not be there twice."""
    parts.reverse()
    while parts:
        yield parts.pop()
