"""Streams of sherpa-onnx: what its OnlineRecognizer makes of audio that still comes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from asr.engine import AsrEngine, require_finite
from asr.engines.sherpa_onnx_text import heard, segments
from asr.stream import AsrStream, StreamText
from asr.transcript import Segment, TranscribeOptions
from core.errors import InternalError, UnsupportedParameter
from utils.audio.pcm import Audio, Samples

_TAIL = np.zeros(round(0.66 * AsrEngine.sample_rate), np.float32)
"""Silence behind the end, without which a model of streams keeps the last words to itself."""

_COMMANDS = re.compile(r"[/:#@\x00-\x1f\x7f]")
"""Between hotwords, and of a score, a threshold and a name: at a token's start, which may be amid a word."""


class SherpaStream(AsrStream):
    """Audio of one speaker through a recogniser of streams: what it says ends at a pause, or after 20 seconds.

    `stretch` is what the library's times of tokens are multiplied by.
    """

    def __init__(self, recognizer: Any, options: TranscribeOptions, *, stretch: float) -> None:
        self._recognizer = recognizer
        self._stretch = stretch
        self._words = options.word_timestamps
        self._stream = library_stream(recognizer, options)
        self._taken = 0

    def feed(self, samples: Samples, *, last: bool = False) -> StreamText:
        """Take samples and return the texts that ended, and the one that goes on."""
        if self._stream is None:
            raise InternalError("the stream is closed")
        rate = AsrEngine.sample_rate
        require_finite(Audio(samples, rate))
        self._taken += len(samples)
        self._stream.accept_waveform(rate, np.ascontiguousarray(samples, dtype=np.float32))
        if last:
            finish(self._stream)
        done: list[Segment] = []
        while self._recognizer.is_ready(self._stream):
            self._recognizer.decode_stream(self._stream)
            if self._recognizer.is_endpoint(self._stream):
                done += self._final()
                self._recognizer.reset(self._stream)
        if last:
            done += self._final()
            self.close()
            return StreamText(tuple(done))
        return StreamText(tuple(done), heard(self._recognizer.get_result_all(self._stream)).text)

    def close(self) -> None:
        """Drop the stream."""
        self._stream = None

    def _final(self) -> Sequence[Segment]:
        result = self._recognizer.get_result_all(self._stream)
        began = float(getattr(result, "start_time", 0.0))
        end = self._taken / AsrEngine.sample_rate
        return segments(heard(result, stretch=self._stretch), end, words=self._words, offset=min(began, end))


def finish(stream: Any) -> None:
    """Tell the library that no more audio comes."""
    stream.accept_waveform(AsrEngine.sample_rate, _TAIL)
    stream.input_finished()


def library_stream(recognizer: Any, options: TranscribeOptions) -> Any:
    """Return a stream of the library that favours the request's words. Raises UnsupportedParameter."""
    words = hotwords(options)
    try:
        return recognizer.create_stream(words) if words else recognizer.create_stream()
    except (RuntimeError, ValueError, IndexError) as error:
        if not words:
            raise
        raise UnsupportedParameter("sherpa-onnx cannot spell these hotwords", param="hotwords") from error


def hotwords(options: TranscribeOptions) -> str:
    """Return the words to favour as the library takes them, without the marks that are commands to it."""
    return "/".join(filter(None, (" ".join(_COMMANDS.sub(" ", word).split()) for word in options.hotwords)))
