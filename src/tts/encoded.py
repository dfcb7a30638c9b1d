"""Speech in the container a client asked for: the engine's samples pumped through one encoder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

from core import errors
from tts.backlog import Backlog, backlog
from tts.service import TtsService
from tts.speech import Speech, Utterance
from tts.voice import SpokenWord
from utils.audio.encode import FORMATS, SAMPLE_BYTES, Encoder, EncoderError
from utils.audio.ffmpeg import FfmpegMissing

log = logging.getLogger(__name__)


class EncodedSpeech:
    """Encoded bytes of one utterance, available from the first piece on. Made by `open`."""

    def __init__(
        self, speech: Speech, encoder: Encoder, samples: Backlog, utterance: Utterance, *, frames: int | None
    ) -> None:
        self.response_format = utterance.delivery.response_format
        self.length = None if frames is None else FORMATS[self.response_format].length(round(frames / speech.tempo))
        """Bytes there will be, where that is known before they are encoded."""
        self._speech = speech
        self._encoder = encoder
        self._samples = samples
        self._read = len(utterance.text.split())
        self._told = 0
        self._bytes = aiter(encoder.chunks())
        self._first = b""
        self._pump = asyncio.create_task(self._feed())

    @classmethod
    @asynccontextmanager
    async def open(cls, service: TtsService, utterance: Utterance, *, whole: bool) -> AsyncIterator[EncodedSpeech]:
        """Start to synthesize and encode, and wait for the first bytes; leaving the context ends both.

        `whole` synthesizes everything first, so that sizes in headers are true. So does a WAV of one sentence, which
        has little to gain from a stream. Raises what the engine raised before the first bytes.
        """
        audio_format = FORMATS[utterance.delivery.response_format]
        async with (
            service.speak(utterance) as speech,
            aclosing(speech.pcm()) as pcm,
            # The engine is free as soon as it is done, however slowly the client reads.
            backlog(pcm, service.spool.path) as samples,
        ):
            whole = whole or (audio_format.name == "wav" and speech.short)
            if whole:
                await samples.complete()
            frames = samples.total // SAMPLE_BYTES if whole else None
            try:
                encoder = await Encoder.open(
                    audio_format, sample_rate=speech.sample_rate, tempo=speech.tempo, total_frames=frames
                )
            except (EncoderError, FfmpegMissing) as error:
                log.exception("no encoder")
                raise errors.Unavailable("the audio encoder could not be started; try again") from error
            encoded = cls(speech, encoder, samples, utterance, frames=frames)
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

    @property
    def sample_rate(self) -> int:
        """Hz of the encoded sound."""
        return FORMATS[self.response_format].sample_rate_at(self._speech.sample_rate)

    @property
    def seconds(self) -> float:
        """Length of what is made so far."""
        return self._samples.total / SAMPLE_BYTES / (self._speech.sample_rate * self._speech.tempo)

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

    def new_words(self) -> Iterator[SpokenWord]:
        """Yield the words that became known since the last call, in seconds of the encoded sound."""
        known = self._speech.words[self._told :]
        self._told += len(known)
        tempo = self._speech.tempo
        for each in known:
            yield SpokenWord(each.word, round(each.start / tempo, 3), round(each.end / tempo, 3))

    def usage(self) -> tuple[int, int]:
        """Return words read and tenths of a second spoken, which stand for the tokens of OpenAI's usage object."""
        return self._read, round(10 * self.seconds)

    async def start(self) -> None:
        """Wait for the first bytes; raise what came instead of them.

        The head of a file that some encoders write before there is any sound does not count.
        """
        await self._samples.begun()
        try:
            self._first = await anext(self._bytes, b"")
        except EncoderError as error:
            await self._check()
            raise errors.InternalError("the audio encoder failed") from error
        if self._pump.done():
            await self._check()

    async def close(self) -> None:
        """End the pump and the encoder."""
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        await self._encoder.close()

    async def _feed(self) -> None:
        try:
            async with aclosing(self._samples.chunks()) as chunks:
                async for samples in chunks:
                    await self._encoder.write(samples)
        except Exception:
            # The reader waits for the encoder: end it, and `_check` tells the reader why.
            try:
                await self._encoder.finish()
            except EncoderError:
                await self._encoder.close()
            raise
        await self._encoder.finish()

    async def _check(self) -> None:
        """Raise what the engine or the encoder raised, or that there was nothing to say."""
        try:
            await self._pump
        except EncoderError as error:
            raise errors.InternalError("the audio encoder failed") from error
        if not self._samples.total:
            raise errors.InvalidRequest("the input has nothing that can be spoken", param="input")
