"""Turning 16-bit mono PCM into the audio formats of the speech API as it arrives, one encoder for a whole answer."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType

import ffmpeg

from utils.audio import wav
from utils.audio.ffmpeg import QUIET, READ_BYTES, kill, start

SAMPLE_BYTES = 2
_QUEUE_CHUNKS = 8
_MAX_STRETCH = 2.0  # beyond it atempo skips samples instead of blending them
_WINDOWS_PER_SECOND = 24  # of atempo, which rounds their length in samples up to a power of 2
_FLAC_TOTAL = slice(18, 26)  # STREAMINFO: rate 20 bits, channels 3, bits 5, total samples 36


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One value of `response_format`; `muxer` and `options` are ffmpeg's, `muxer` "" means bare samples.

    `rates` are those in Hz that the codec can have, empty for any.
    """

    name: str
    content_type: str
    extension: str
    muxer: str = ""
    options: Mapping[str, str | int] = field(default_factory=dict)
    rates: tuple[int, ...] = ()

    def content_type_at(self, sample_rate: int) -> str:
        """Return the Content-Type, which for bare samples says how to play them."""
        return f"{self.content_type};rate={sample_rate};channels=1;bits=16" if self.name == "pcm" else self.content_type

    def length(self, frames: int) -> int | None:
        """Return the bytes that so many samples take, None for a codec, whose bytes depend on the sound."""
        return None if self.muxer else frames * SAMPLE_BYTES + (wav.HEADER_BYTES if self.name == "wav" else 0)

    def sample_rate_at(self, sample_rate: int) -> int:
        """Return the rate in Hz of the encoded sound: the nearest one that the codec can have."""
        return min(self.rates, key=lambda rate: abs(rate - sample_rate), default=sample_rate)


_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_RATES = (7_350, *_MP3_RATES, 64_000, 88_200, 96_000)
_OPUS_RATES = (48_000,)
_Options = dict[str, str | int]
# Constant bit rates: without a Xing header players compute the duration from the first frame. No bit reservoir:
# frames that need no earlier ones can be cut and joined anywhere.
_MP3: _Options = {
    "acodec": "libmp3lame",
    "audio_bitrate": "96k",
    "reservoir": 0,
    "write_xing": 0,
    "id3v2_version": 0,
}
# Short pages (microseconds), because a page is sent only when it is full.
_OPUS: _Options = {"acodec": "libopus", "audio_bitrate": "64k", "page_duration": 60_000}
_AAC: _Options = {"acodec": "aac", "audio_bitrate": "96k"}
_FLAC: _Options = {"acodec": "flac", "metadata_header_padding": 0}
FORMATS: Mapping[str, AudioFormat] = MappingProxyType(
    {
        found.name: found
        for found in (
            AudioFormat("mp3", "audio/mpeg", "mp3", "mp3", _MP3, _MP3_RATES),
            AudioFormat("opus", "audio/ogg; codecs=opus", "opus", "ogg", _OPUS, _OPUS_RATES),
            AudioFormat("aac", "audio/aac", "aac", "adts", _AAC, _AAC_RATES),
            AudioFormat("flac", "audio/flac", "flac", "flac", _FLAC),
            AudioFormat("wav", "audio/wav", "wav"),
            AudioFormat("pcm", "audio/pcm", "pcm"),
            AudioFormat("ogg", "audio/ogg", "ogg", "ogg", _OPUS, _OPUS_RATES),
        )
    }
)


class EncoderError(Exception):
    """The encoder ended early, was closed, or was given other samples than announced."""


class Encoder(ABC):
    """One answer's encoder: `write` samples, `finish`, and read `chunks` in another task meanwhile; then `close`.

    `write` waits while the reader is slow. `close` may be called at any time and leaves no child behind.
    """

    def __init__(self, total_frames: int | None) -> None:
        self._queue: asyncio.Queue[bytes | EncoderError | None] = asyncio.Queue(_QUEUE_CHUNKS)
        self._total = total_frames
        self._frames = 0
        self._closed = False

    @staticmethod
    async def open(
        audio_format: AudioFormat, *, sample_rate: int, tempo: float = 1.0, total_frames: int | None = None
    ) -> Encoder:
        """Return an encoder of mono samples at `sample_rate` Hz that speaks `tempo` times as fast at the same pitch.

        `total_frames`, the number of samples that will be written, makes the sizes in WAV and FLAC headers true.
        Starts ffmpeg except for wav and pcm at tempo 1. Raises ValueError for an impossible tempo, EncoderError
        when ffmpeg cannot be started, FfmpegMissing of utils.audio.ffmpeg.
        """
        if not (math.isfinite(tempo) and tempo > 0):
            raise ValueError("tempo must be a positive number")
        if not audio_format.muxer and tempo == 1.0:
            return _Plain(audio_format, sample_rate, total_frames)
        encoder = _Child(audio_format, sample_rate, total_frames, tempo)
        await encoder.start()
        return encoder

    @abstractmethod
    async def write(self, pcm: bytes) -> None:
        """Take the next samples, signed 16-bit little-endian. Raises EncoderError."""

    @abstractmethod
    async def finish(self) -> None:
        """Say that there are no more samples. Raises EncoderError, also if `total_frames` were not written."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the encoded bytes as they get ready, to the end. Raises EncoderError when the encoder dies."""
        while (item := await self._queue.get()) is not None:
            if isinstance(item, EncoderError):
                raise item
            yield item

    async def close(self) -> None:
        """End the encoder, finished or not; a waiting reader or writer gets EncoderError. May be called twice."""
        self._closed = True
        while not self._queue.empty():  # wakes a waiting writer
            self._queue.get_nowait()
        self._queue.put_nowait(EncoderError("the encoder was closed"))

    def _count(self, pcm: bytes) -> None:
        if self._closed:
            raise EncoderError("the encoder was closed")
        if len(pcm) % SAMPLE_BYTES:
            raise ValueError("half a sample")
        self._frames += len(pcm) // SAMPLE_BYTES

    def _check_total(self) -> None:
        if self._total is not None and self._frames != self._total:
            raise EncoderError(f"{self._frames} samples were written, {self._total} announced")


class _Plain(Encoder):
    """wav and pcm: the samples pass through, for wav behind a header."""

    def __init__(self, audio_format: AudioFormat, sample_rate: int, total_frames: int | None) -> None:
        super().__init__(total_frames)
        self._header = wav.header(sample_rate, frames=total_frames) if audio_format.name == "wav" else b""

    async def write(self, pcm: bytes) -> None:
        self._count(pcm)
        await self._put(self._header + pcm)
        self._header = b""

    async def finish(self) -> None:
        self._check_total()
        await self._put(self._header)
        await self._put(None)

    async def _put(self, item: bytes | None) -> None:
        if item != b"":
            await self._queue.put(item)
        if self._closed:
            raise EncoderError("the encoder was closed")


class _Child(Encoder):
    """Everything else: through one ffmpeg, whose output a task moves to the queue."""

    _process: Process
    _pump: asyncio.Task[None]

    def __init__(self, audio_format: AudioFormat, sample_rate: int, total_frames: int | None, tempo: float) -> None:
        super().__init__(total_frames)
        self._format = audio_format
        self._rate = sample_rate
        self._tempo = tempo
        self._out_frames = None if total_frames is None else round(total_frames / tempo)
        self._finished = False

    async def start(self) -> None:
        command = _command(self._format, self._rate, self._tempo, self._out_frames)
        try:
            self._process = await start(command, cwd="/", stdin=PIPE)
        except OSError as error:
            raise EncoderError("the encoder could not be started") from error
        self._pump = asyncio.create_task(self._move())

    async def write(self, pcm: bytes) -> None:
        self._count(pcm)
        await self._send(pcm)

    async def _send(self, pcm: bytes) -> None:
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing():
            raise EncoderError("the encoder has ended")
        try:
            stdin.write(pcm)
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise EncoderError("the encoder has ended") from error

    async def finish(self) -> None:
        self._check_total()
        self._finished = True
        if self._tempo != 1.0 and self._frames:
            # atempo keeps the last samples, or all of a short sound, until more come.
            window = 1 << math.ceil(math.log2(self._rate / _WINDOWS_PER_SECOND))
            with suppress(EncoderError):  # the reader learns of it
                await self._send(bytes(SAMPLE_BYTES * math.ceil(window * max(self._tempo, 1.0))))
        if stdin := self._process.stdin:
            stdin.close()
            with suppress(BrokenPipeError, ConnectionResetError):  # the reader learns of it
                await stdin.wait_closed()

    async def close(self) -> None:
        self._pump.cancel()
        await asyncio.wait([self._pump])
        await kill(self._process)
        await super().close()

    async def _move(self) -> None:
        """Move the output to the queue, then say how it ended."""
        output, errors = self._process.stdout, self._process.stderr
        assert output and errors  # noqa: PT018, S101 - both are pipes
        data = await self._head(output)
        sent = 0
        while data:
            if not self._format.muxer and self._finished:
                data = data[: max(self._expected() - sent, 0)]
            sent += len(data)
            if data:
                await self._queue.put(data)
            data = await output.read(READ_BYTES)
        reason = (await errors.read()).decode(errors="replace").strip()
        status = await self._process.wait()
        ended_well = status == 0 and self._finished
        await self._queue.put(None if ended_well else EncoderError(f"ffmpeg ended with status {status}: {reason}"))

    def _expected(self) -> int:
        """Return the bytes of an answer of bare samples, without the silence that pushed out the last of them."""
        return self._format.length(round(self._frames / self._tempo)) or 0

    async def _head(self, output: asyncio.StreamReader) -> bytes:
        """Return the first bytes of the answer, which ffmpeg cannot write itself into a pipe."""
        if self._format.name == "wav":
            return wav.header(self._rate, frames=self._out_frames) + await output.read(READ_BYTES)
        if self._format.name == "flac" and self._out_frames:
            with suppress(asyncio.IncompleteReadError):
                head = bytearray(await output.readexactly(_FLAC_TOTAL.stop))
                known = int.from_bytes(head[_FLAC_TOTAL]) | self._out_frames
                head[_FLAC_TOTAL] = known.to_bytes(8)
                return bytes(head)
            return b""
        return await output.read(READ_BYTES)


def _command(audio_format: AudioFormat, sample_rate: int, tempo: float, out_frames: int | None) -> list[str]:
    # Without -fflags nobuffer: ffmpeg 7 then drops the first packet, which it had read to look at the stream.
    samples = ffmpeg.input("pipe:0", format="s16le", ar=sample_rate, ac=1, probesize=32, analyzeduration=0)
    steps = math.ceil(abs(math.log(tempo, _MAX_STRETCH)))
    for _ in range(steps):
        samples = samples.filter("atempo", tempo ** (1 / steps))
    if steps and out_frames is not None:  # atempo is right to a few samples only, a size in a header is exact
        samples = samples.filter("apad").filter("atrim", end_sample=out_frames)
    options = {
        "format": audio_format.muxer or "s16le",
        "fflags": "+bitexact",
        "flags:a": "+bitexact",
        "map_metadata": -1,
        "flush_packets": 1,
        "threads": 1,
        "ar": audio_format.sample_rate_at(sample_rate),
        **audio_format.options,
    }
    output = ffmpeg.output(samples, "pipe:1", **options)
    command: list[str] = output.global_args(*QUIET, "-v", "error").get_args()
    return command
