"""Subtitles of any transcript at all, read back by other people's parsers."""

import io
import json
import re
import unicodedata
from dataclasses import replace
from itertools import pairwise

import pysrt
import pysubs2
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.formats import FORMATS
from asr.result import SubtitleLayout, TranscriptResult
from asr.subtitles import clean, cues
from asr.transcript import Segment, Word

SRT_BLOCK = re.compile(r"(\d+)\n(\d{2,}:\d\d:\d\d,\d{3}) --> (\d{2,}:\d\d:\d\d,\d{3})\n((?:[^\n]+\n)+)\n")
VTT_BLOCK = re.compile(r"(\d{2,}:\d\d:\d\d\.\d{3}) --> (\d{2,}:\d\d:\d\d\.\d{3})\n((?:[^\n]+\n)+)\n")


def render(name: str, result: TranscriptResult) -> str:
    return FORMATS[name].render(result).decode()


def strict_srt(text: str) -> pysrt.SubRipFile:
    """Parse as Bazarr does, which gives a subtitle up at the first thing it does not understand."""
    return pysrt.from_string(text, error_handling=pysrt.SubRipFile.ERROR_RAISE)


def said(*texts: str) -> TranscriptResult:
    segments = tuple(Segment(start=float(index), end=index + 0.9, text=text) for index, text in enumerate(texts))
    return TranscriptResult(segments=segments, duration=float(len(texts)))


SECONDS = st.floats(0, 20_000) | st.integers(0, 5).map(float)
TEXTS = st.text(st.characters(codec="utf-8")) | st.text(alphabet="ab1 \n-><&;\t\r\x0b\u2028\u202e\u200d{}\\N.!你")
SEGMENTS = st.lists(
    st.builds(Segment, start=SECONDS, end=SECONDS, text=TEXTS, speaker=st.none() | TEXTS), max_size=6
).map(tuple)
WORD = st.builds(Word, word=TEXTS.map(lambda text: f" {text}"), start=SECONDS, end=SECONDS)
WORDS = st.lists(WORD, max_size=6).map(tuple)
LAYOUTS = st.none() | st.builds(SubtitleLayout, max_line_width=st.integers(1, 50), max_line_count=st.integers(1, 3))
RESULTS = st.builds(
    TranscriptResult,
    segments=SEGMENTS
    | st.lists(st.builds(Segment, start=SECONDS, end=SECONDS, text=TEXTS, words=WORDS), max_size=3).map(tuple),
    duration=SECONDS,
    language=st.sampled_from([None, "en", "yue"]),
    words=st.booleans(),
    layout=LAYOUTS,
)


def to_milliseconds(stamp: str) -> int:
    hours, minutes, seconds, fraction = map(int, re.split("[:,.]", stamp))
    assert minutes < 60
    assert seconds < 60
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + fraction


def strictly(times: list[tuple[int, int]]) -> None:
    """Check that every cue lasts, and that none begins before the one before it has ended."""
    assert all(start < end for start, end in times)
    assert all(before[1] <= after[0] for before, after in pairwise(times))


@given(RESULTS)
def test_srt_reads_back(result: TranscriptResult) -> None:
    text = render("srt", result)
    blocks = SRT_BLOCK.findall(text)
    assert "".join(f"{number}\n{start} --> {end}\n{body}\n" for number, start, end, body in blocks) == text
    assert [int(block[0]) for block in blocks] == list(range(1, len(blocks) + 1))
    strictly([(to_milliseconds(start), to_milliseconds(end)) for _, start, end, _ in blocks])
    assert all(line.strip() and "-->" not in line for *_, body in blocks for line in body.splitlines())
    assert len(text.splitlines()) == text.count("\n")


@given(RESULTS)
def test_vtt_reads_back(result: TranscriptResult) -> None:
    text = render("vtt", result)
    assert text.startswith("WEBVTT\n\n")
    blocks = VTT_BLOCK.findall(text)
    assert "WEBVTT\n\n" + "".join(f"{start} --> {end}\n{body}\n" for start, end, body in blocks) == text
    strictly([(to_milliseconds(start), to_milliseconds(end)) for start, end, _ in blocks])
    assert all(line.strip() and "-->" not in line for *_, body in blocks for line in body.splitlines())
    spans = re.findall(r"<[^>]*>", text)
    assert all(re.fullmatch(r"<v [^<>&]*(&(amp|lt|gt);[^<>&]*)*>", span) for span in spans)
    assert text.count("<") == len(spans)
    assert len(text.splitlines()) == text.count("\n")


@settings(max_examples=3000, deadline=None)
@given(RESULTS)
def test_other_peoples_parsers_read_the_same_cues(result: TranscriptResult) -> None:
    expected = [(cue.start, cue.end) for cue in cues(result)]
    srt, vtt = render("srt", result), render("vtt", result)
    assert [(cue.start.ordinal, cue.end.ordinal) for cue in strict_srt(srt)] == expected
    assert [(event.start, event.end) for event in pysubs2.SSAFile.from_string(srt, "srt")] == expected
    captions = webvtt.from_buffer(io.StringIO(vtt)).captions
    assert [(to_milliseconds(caption.start), to_milliseconds(caption.end)) for caption in captions] == expected


@settings(max_examples=2000, deadline=None)
@given(st.lists(TEXTS, max_size=8), LAYOUTS)
def test_other_peoples_parsers_read_the_same_text(texts: list[str], layout: SubtitleLayout | None) -> None:
    result = replace(said(*texts), layout=layout)
    expected = ["\n".join(cue.lines) for cue in cues(result)]
    assert [cue.text for cue in strict_srt(render("srt", result))] == expected
    captions = webvtt.from_buffer(io.StringIO(render("vtt", result))).captions
    escaped = [text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for text in expected]
    assert [caption.raw_text for caption in captions] == escaped


@given(RESULTS)
def test_tables_lyrics_and_json_read_back(result: TranscriptResult) -> None:
    rows = [row.split("\t") for row in render("tsv", result).splitlines()]
    assert rows[0] == ["start", "end", "text"]
    assert all(len(row) == 3 and int(row[0]) < int(row[1]) and row[2].strip() for row in rows[1:])
    assert all(re.fullmatch(r"\[\d{2,}:[0-5]\d\.\d\d\].+", line) for line in render("lrc", result).splitlines())
    assert len(render("jsonl", result).split("\n")) == len(result.segments) + 1
    verbose = json.loads(render("verbose_json", result))
    assert verbose["text"] == "".join(segment.text for segment in result.segments).strip()
    starts = [word["start"] for word in verbose.get("words", [])]
    assert starts == sorted(starts)


@given(st.lists(TEXTS, max_size=8), LAYOUTS)
def test_a_layout_loses_no_character(texts: list[str], layout: SubtitleLayout | None) -> None:
    def dense(lines: list[str]) -> str:
        seen = (char for char in "".join(lines) if unicodedata.category(char) != "Cf")
        return re.sub(r"\s|-(?=-*>)", "", "".join(seen))  # a cut may fall inside an arrow

    result = replace(said(*texts), layout=layout)
    assert dense([line for cue in cues(result) for line in cue.lines]) == dense([clean(text) for text in texts])
