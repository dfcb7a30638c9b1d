"""Times of words for engines that know none: an ASR service hears the speech, and its words are compared with ours."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import httpx
from pydantic import BaseModel, ValidationError

from core.errors import DeadlineExceeded, Unavailable
from tts.backlog import WaitingFile
from tts.voice import SpokenWord
from tts.words import Span, letters, place, spread, words_of
from utils.audio import wav

log = logging.getLogger(__name__)
TIMEOUT = httpx.Timeout(600.0, connect=5.0)
SAMPLE_BYTES = 2
BATCH_SECONDS = 25.0
"""Pieces are heard together up to this length, which is short of the 30 s that Whisper hears at once."""
_NOT_HEARD = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
_NOT_FOR_US = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}


class _Heard(BaseModel):
    word: str
    start: float
    end: float


class _Transcript(BaseModel):
    words: list[_Heard] = []


@dataclass(slots=True)
class _Batch:
    start: float = 0.0
    seconds: float = 0.0
    samples: list[bytes] = field(default_factory=list)
    size: int = 0
    texts: dict[int, str] = field(default_factory=dict)


class Ear:
    """The ASR service that hears; `close` it at the end."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)

    async def hear(self, samples: bytes, sample_rate: int, language: str | None) -> list[_Heard]:
        """Return the words in signed 16-bit mono samples, none when the service can make nothing of them.

        Raises Unavailable when it does not tell, which is final when it never will.
        """
        head = wav.header(sample_rate, frames=len(samples) // SAMPLE_BYTES)
        data = {"response_format": "verbose_json", "timestamp_granularities[]": "word", "temperature": "0"}
        if language:
            data["language"] = language
        try:
            files = {"file": ("speech.wav", head + samples, "audio/wav")}
            answer = await self._client.post("/v1/audio/transcriptions", data=data, files=files)
            if answer.status_code in _NOT_HEARD:
                log.warning("the ASR service refused speech: status %d: %.200s", answer.status_code, answer.text)
                return []
            if answer.status_code in _NOT_FOR_US:
                raise _misconfigured(answer.status_code)
            answer.raise_for_status()
            return _Transcript.model_validate_json(answer.content).words
        except (httpx.HTTPError, httpx.InvalidURL, ValidationError) as error:
            raise Unavailable("the ASR service that times the words did not answer; try again") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _misconfigured(status: int) -> Unavailable:
    error = Unavailable(
        f"the ASR service that times the words answers {status}; "
        "whoever runs this service must check TTS_ALIGN_URL and TTS_ALIGN_KEY"
    )
    error.is_final = True
    return error


class Alignment:
    """The words of one speech, found batch by batch while it is being made. `close` it at the end.

    What waits to be heard is in a file in `folder`. All must be found within `timeout` seconds from now.
    """

    def __init__(self, ear: Ear, *, sample_rate: int, language: str | None, folder: Path, timeout: float) -> None:
        self._ear = ear
        self._deadline = asyncio.get_running_loop().time() + timeout
        self._file = WaitingFile(folder)
        self._rate = sample_rate
        self._language = language
        self._batch = _Batch()
        self._work: asyncio.Task[list[SpokenWord]] | None = None
        self.words: list[SpokenWord] = []
        """The words found so far."""

    async def add(self, piece: int, text: str, samples: bytes) -> None:
        """Take the next samples of a piece with this text. Raises what `finish` would, as soon as it is known."""
        if self._work is not None and self._work.done():
            self._work.result()
        batch = self._batch
        if piece not in batch.texts and batch.seconds + self._longest(batch) > BATCH_SECONDS:
            await self._send()
            batch = self._batch
        batch.texts[piece] = text
        batch.samples.append(samples)
        batch.size += len(samples)
        batch.seconds += len(samples) / SAMPLE_BYTES / self._rate

    async def finish(self) -> None:
        """Wait until all words are found. Raises Unavailable, DeadlineExceeded, TextTooLong, OSError."""
        if self._batch.texts:
            await self._send()
        if self._work is not None:
            await self._work

    async def close(self) -> None:
        """Give up what is not found yet."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        # Not awaited: a read or write may still be under way in a thread.
        asyncio.get_running_loop().run_in_executor(None, self._file.close)

    @staticmethod
    def _longest(batch: _Batch) -> float:
        """Return how long the next piece may be: about as long as those before it."""
        return batch.seconds / max(len(batch.texts), 1)

    async def _send(self) -> None:
        batch, before = self._batch, self._work
        self._batch = _Batch(start=batch.start + batch.seconds)
        if before is not None and not before.done():
            await asyncio.to_thread(self._file.write, b"".join(batch.samples))
            batch.samples.clear()
        self._work = asyncio.create_task(self._find(batch, before))

    async def _find(self, batch: _Batch, before: asyncio.Task[list[SpokenWord]] | None) -> list[SpokenWord]:
        if before is not None:
            await before
        samples = b"".join(batch.samples) or await asyncio.to_thread(self._file.read, batch.size)
        try:
            async with asyncio.timeout_at(self._deadline):
                heard = await self._ear.hear(samples, self._rate, self._language)
        except TimeoutError:
            raise DeadlineExceeded("finding the times of the words took longer than the service allows") from None
        found = await asyncio.to_thread(_match, words_of(" ".join(batch.texts.values())), heard, batch)
        self.words += found
        return found


def _match(words: list[str], heard: list[_Heard], batch: _Batch) -> list[SpokenWord]:
    """Return the words with the times at which their letters were heard."""
    text = ""
    spans: list[Span] = []
    for each in heard:
        key = letters(each.word)
        length = (each.end - each.start) / max(len(key), 1)
        spans += [(each.start + at * length, each.start + (at + 1) * length) for at in range(len(key))]
        text += key
    found = place(words, [letters(word) or word for word in words], text, spans) or spread(words, 0.0, batch.seconds)
    end = batch.start + batch.seconds
    return [
        SpokenWord(each.word, min(batch.start + each.start, end), min(batch.start + each.end, end)) for each in found
    ]
