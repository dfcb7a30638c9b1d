"""Writes a transcript in the formats a client can ask for. A new one is a function and a line in FORMATS."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, NotRequired, TypedDict

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


class DiarizedSegment(TypedDict):
    """A segment as diarized_json shows it."""

    type: Literal["transcript.text.segment"]
    id: str
    start: float
    end: float
    text: str
    speaker: str | None


class Format(NamedTuple):
    """A response format: its media type, the usual file extension, and the function that writes it.

    One that `needs_speakers` is for transcripts in which every segment has a speaker.
    """

    content_type: str
    extension: str
    render: Callable[[TranscriptResult], bytes]
    needs_speakers: bool = False


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


def diarized_segment(number: int, segment: Segment) -> DiarizedSegment:
    """Return a segment as diarized_json shows it, where `number` counts from 1."""
    return DiarizedSegment(
        type="transcript.text.segment",
        id=f"seg_{number:03d}",
        start=_seconds(segment.start),
        end=_seconds(max(segment.start, segment.end)),
        text=segment.text.strip(),
        speaker=segment.speaker,
    )


def addition(segment: Segment, before: Segment | None) -> str:
    """Return what a segment adds to a text that has a line for each turn, "A: ...".

    `before` is the last segment in front of it that added anything, None for the first.
    """
    if not segment.text.strip():
        return ""
    if before is not None and before.speaker == segment.speaker:
        return segment.text
    line = "" if before is None else "\n"
    speaker = f"{' '.join(segment.speaker.split())}: " if segment.speaker else ""
    return f"{line}{speaker}{segment.text.lstrip()}"


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
    """Write OpenAI's short answer: text, usage and what was detected; with speakers also who says what."""
    speakers = {"segments": _diarized_segments(result)} if result.diarized else {}
    return orjson.dumps({"text": result.text, **speakers, "usage": _usage(result), **details(result)})


def diarized_json(result: TranscriptResult) -> bytes:
    """Write OpenAI's answer with speakers: a text with a line for each turn, and the segments."""
    answer = {
        "task": result.task,
        "duration": _seconds(result.duration),
        "text": _by_turns(result),
        "segments": _diarized_segments(result),
        "usage": _usage(result),
        **details(result),
    }
    return orjson.dumps(answer)


def verbose_json(result: TranscriptResult) -> bytes:
    """Write OpenAI's long answer and what was detected."""
    return orjson.dumps({"task": result.task, **verbose(result), "usage": _usage(result), **details(result)})


def text(result: TranscriptResult) -> bytes:
    """Write the text and a line break, with speakers a line for each turn; nothing at all where nobody spoke."""
    written = _by_turns(result) if result.diarized else result.text
    return f"{written}\n".encode() if written else b""


def srt(result: TranscriptResult) -> bytes:
    """Write SubRip; a speaker is named in square brackets."""
    blocks = []
    for number, cue in enumerate(cues(result), start=1):
        start, end = timestamps.srt(cue.start / 1000), timestamps.srt(cue.end / 1000)
        blocks.append(f"{number}\n{start} --> {end}\n{_bracketed(cue)}{_lines(cue)}\n\n")
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
    """Write one cue a line: start and end in whole milliseconds, then the text, a speaker in square brackets first."""
    rows = [f"{cue.start}\t{cue.end}\t{_bracketed(cue)}{' '.join(cue.lines)}\n" for cue in cues(result)]
    return "".join(["start\tend\ttext\n", *rows]).encode()


def jsonl(result: TranscriptResult) -> bytes:
    """Write one segment object a line."""
    return b"".join(orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE) for item in segment_objects(result))


def lrc(result: TranscriptResult) -> bytes:
    """Write lyrics: the start of each cue in hundredths of a second, and its text, behind the speaker's name."""
    lines = []
    for cue in cues(result):
        # Not in brackets, which hold times and tags here.
        speaker = f"{cue.speaker}: " if cue.speaker else ""
        lines.append(f"[{timestamps.lrc(cue.start / 1000)}]{speaker}{' '.join(cue.lines)}\n")
    return "".join(lines).encode()


_TEXT = "text/plain; charset=utf-8"

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "json": Format("application/json", "json", json),
        "text": Format(_TEXT, "txt", text),
        "txt": Format(_TEXT, "txt", text),
        "srt": Format(_TEXT, "srt", srt),
        "vtt": Format("text/vtt; charset=utf-8", "vtt", vtt),
        "verbose_json": Format("application/json", "json", verbose_json),
        "diarized_json": Format("application/json", "json", diarized_json, needs_speakers=True),
        "tsv": Format(_TEXT, "tsv", tsv),
        "jsonl": Format("application/x-ndjson", "jsonl", jsonl),
        "lrc": Format(_TEXT, "lrc", lrc),
    }
)


def _diarized_segments(result: TranscriptResult) -> list[DiarizedSegment]:
    said = (segment for segment in result.segments if segment.text.strip())
    return [diarized_segment(number, segment) for number, segment in enumerate(said, start=1)]


def _by_turns(result: TranscriptResult) -> str:
    parts: list[str] = []
    before: Segment | None = None
    for segment in result.segments:
        if part := addition(segment, before):
            parts.append(part)
            before = segment
    return "".join(parts).rstrip()


def _lines(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _bracketed(cue: Cue) -> str:
    return f"[{cue.speaker}] " if cue.speaker else ""


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
