"""Writes a transcript in the formats a client can ask for. A new one is a function and a line in FORMATS."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, NotRequired, TypedDict

import orjson

from asr.result import TranscriptResult
from asr.subtitles import Cue, cues
from asr.transcript import Segment
from utils import languages, timestamps

_HUGE = 1e6
_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class WordObject(TypedDict):
    """A word as verbose_json shows it."""

    word: str
    start: float
    end: float
    probability: float
    speaker: NotRequired[str]


class SegmentObject(TypedDict):
    """A segment as verbose_json shows it: OpenAI's ten keys, and two of ours where there is something to say."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    speaker: NotRequired[str]
    words: NotRequired[list[WordObject]]


class Format(NamedTuple):
    """A response format: its media type, the usual file extension, and the function that writes it."""

    content_type: str
    extension: str
    render: Callable[[TranscriptResult], bytes]


def segment_objects(result: TranscriptResult) -> list[SegmentObject]:
    """Return the segments numbered from 0, with their words when the result says so.

    Word times never go backwards and stay inside the audio.
    """
    objects: list[SegmentObject] = []
    earliest, duration = 0.0, _seconds(result.duration)
    for index, segment in enumerate(result.segments):
        item = _segment(index, segment)
        if result.words:
            item["words"] = list(_words(segment, earliest, duration))
            earliest = item["words"][-1]["start"] if item["words"] else earliest
        objects.append(item)
    return objects


def details(result: TranscriptResult) -> dict[str, object]:
    """Return what JSON answers tell beside the text: `languages` that were spoken, and `logprobs` if wanted."""
    found: dict[str, object] = {"languages": [{"code": result.language}] if result.language else []}
    if result.logprobs:
        found["logprobs"] = [token for segment in result.segments for token in segment.logprobs]
    return found


def verbose(result: TranscriptResult) -> dict[str, object]:
    """Return what OpenAI's long answer tells: language, duration, text, segments, and words if wanted.

    `language` is the English name of the text's language, empty where nobody spoke; our additions are its code and
    the probability with which the spoken language was detected.
    """
    segments = segment_objects(result)
    answer: dict[str, object] = {
        "language": languages.name(result.text_language) if result.text_language else "",
        "language_code": result.text_language,
        "language_probability": _finite(result.language_probability),
        "duration": _seconds(result.duration),
        "text": result.text,
        "segments": segments,
    }
    if result.words:
        answer["words"] = [word for segment in segments for word in segment["words"]]
    return answer


def json(result: TranscriptResult) -> bytes:
    """Write OpenAI's short answer: text, usage and what was detected."""
    return orjson.dumps({"text": result.text, "usage": _usage(result), **details(result)})


def verbose_json(result: TranscriptResult) -> bytes:
    """Write OpenAI's long answer and what was detected."""
    return orjson.dumps({"task": result.task, **verbose(result), "usage": _usage(result), **details(result)})


def text(result: TranscriptResult) -> bytes:
    """Write the text and a line break; nothing at all where nobody spoke."""
    return f"{result.text}\n".encode() if result.text else b""


def srt(result: TranscriptResult) -> bytes:
    """Write SubRip; a speaker is named in square brackets."""
    blocks = []
    for number, cue in enumerate(cues(result), start=1):
        start, end = timestamps.srt(cue.start / 1000), timestamps.srt(cue.end / 1000)
        speaker = f"[{cue.speaker}] " if cue.speaker else ""
        blocks.append(f"{number}\n{start} --> {end}\n{speaker}{_lines(cue)}\n\n")
    return "".join(blocks).encode()


def vtt(result: TranscriptResult) -> bytes:
    """Write WebVTT; a speaker is a voice span."""
    blocks = ["WEBVTT\n\n"]
    for cue in cues(result):
        start, end = timestamps.vtt(cue.start / 1000), timestamps.vtt(cue.end / 1000)
        name = (cue.speaker or "").rstrip("- ").translate(_VTT_ESCAPES)  # "--" and the ">" of the span are an arrow
        speaker = f"<v {name}>" if name else ""
        blocks.append(f"{start} --> {end}\n{speaker}{_lines(cue).translate(_VTT_ESCAPES)}\n\n")
    return "".join(blocks).encode()


def tsv(result: TranscriptResult) -> bytes:
    """Write one cue a line: start and end in whole milliseconds, then the text."""
    rows = [f"{cue.start}\t{cue.end}\t{' '.join(cue.lines)}\n" for cue in cues(result)]
    return "".join(["start\tend\ttext\n", *rows]).encode()


def jsonl(result: TranscriptResult) -> bytes:
    """Write one segment object a line."""
    return b"".join(orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE) for item in segment_objects(result))


def lrc(result: TranscriptResult) -> bytes:
    """Write lyrics: the start of each cue in hundredths of a second, and its text."""
    return "".join(f"[{timestamps.lrc(cue.start / 1000)}]{' '.join(cue.lines)}\n" for cue in cues(result)).encode()


_TEXT = "text/plain; charset=utf-8"

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "json": Format("application/json", "json", json),
        "text": Format(_TEXT, "txt", text),
        "txt": Format(_TEXT, "txt", text),
        "srt": Format(_TEXT, "srt", srt),
        "vtt": Format("text/vtt; charset=utf-8", "vtt", vtt),
        "verbose_json": Format("application/json", "json", verbose_json),
        "tsv": Format(_TEXT, "tsv", tsv),
        "jsonl": Format("application/x-ndjson", "jsonl", jsonl),
        "lrc": Format(_TEXT, "lrc", lrc),
    }
)


def _lines(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _segment(index: int, segment: Segment) -> SegmentObject:
    item = SegmentObject(
        id=index,
        seek=segment.seek,
        start=_seconds(segment.start),
        end=_seconds(max(segment.start, segment.end)),
        text=segment.text,
        tokens=segment.tokens,
        temperature=_finite(segment.temperature),
        avg_logprob=_finite(segment.avg_logprob),
        compression_ratio=_finite(segment.compression_ratio),
        no_speech_prob=_finite(segment.no_speech_prob),
    )
    if segment.speaker:
        item["speaker"] = segment.speaker
    return item


def _words(segment: Segment, earliest: float, duration: float) -> Iterator[WordObject]:
    for word in segment.words:
        if not (spoken := word.word.strip()):
            continue
        start = min(max(_seconds(word.start), earliest), duration)
        end = min(max(_seconds(word.end), start), duration)
        item = WordObject(word=spoken, start=start, end=end, probability=_finite(word.probability))
        if segment.speaker:
            item["speaker"] = segment.speaker
        earliest = start
        yield item


def _usage(result: TranscriptResult) -> dict[str, object]:
    return {"type": "duration", "seconds": _seconds(result.duration)}


def _seconds(value: float) -> float:
    return round(float(value), 3)


def _finite(value: float) -> float:
    """Return a number that JSON can hold: the logarithm of probability 0 is not one."""
    return 0.0 if math.isnan(value) else min(max(float(value), -_HUGE), _HUGE)
