import io
import json
import math
import re
import unicodedata
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pysrt
import pysubs2
import pytest
import webvtt
from hypothesis import given
from hypothesis import strategies as st
from openai.types.audio import Transcription, TranscriptionVerbose

from asr.formats import FORMATS
from asr.result import SubtitleLayout, TranscriptResult
from asr.subtitles import clean, cues
from asr.transcript import Segment, Word

SRT_BLOCK = re.compile(r"(\d+)\n(\d{2,}:\d\d:\d\d,\d{3}) --> (\d{2,}:\d\d:\d\d,\d{3})\n((?:[^\n]+\n)+)\n")
VTT_BLOCK = re.compile(r"(\d{2,}:\d\d:\d\d\.\d{3}) --> (\d{2,}:\d\d:\d\d\.\d{3})\n((?:[^\n]+\n)+)\n")


def words(*timed: tuple[str, float, float]) -> tuple[Word, ...]:
    return tuple(Word(text, start, end, 0.9) for text, start, end in timed)


HELLO = TranscriptResult(
    segments=(
        Segment(
            start=0.0,
            end=1.5,
            text=" Hello, world.",
            tokens=(1, 2),
            avg_logprob=-0.25,
            words=words((" Hello,", 0.0, 0.5), (" world.", 0.6, 1.5)),
        ),
        Segment(start=1.9996, end=3.25, text=" Bye.", id=7, seek=200, words=words((" Bye.", 2.0, 3.25))),
    ),
    duration=3.5,
    language="en",
    language_probability=0.98,
)
SILENCE = TranscriptResult(segments=(), duration=60.0)


def render(name: str, result: TranscriptResult) -> str:
    return FORMATS[name].render(result).decode()


def said(*texts: str, speaker: str | None = None) -> TranscriptResult:
    segments = tuple(
        Segment(start=float(index), end=index + 0.9, text=text, speaker=speaker) for index, text in enumerate(texts)
    )
    return TranscriptResult(segments=segments, duration=float(len(texts)), language="en")


def test_every_format_has_its_media_type() -> None:
    assert {name: (entry.content_type, entry.extension) for name, entry in FORMATS.items()} == {
        "json": ("application/json", "json"),
        "text": ("text/plain; charset=utf-8", "txt"),
        "txt": ("text/plain; charset=utf-8", "txt"),
        "srt": ("text/plain; charset=utf-8", "srt"),
        "vtt": ("text/vtt; charset=utf-8", "vtt"),
        "verbose_json": ("application/json", "json"),
        "tsv": ("text/plain; charset=utf-8", "tsv"),
        "jsonl": ("application/x-ndjson", "jsonl"),
        "lrc": ("text/plain; charset=utf-8", "lrc"),
    }


def test_json() -> None:
    assert json.loads(render("json", HELLO)) == {
        "text": "Hello, world. Bye.",
        "usage": {"type": "duration", "seconds": 3.5},
        "languages": [{"code": "en"}],
    }


def test_verbose_json() -> None:
    answer = json.loads(render("verbose_json", HELLO))
    assert list(answer) == [
        "task",
        "language",
        "language_code",
        "language_probability",
        "duration",
        "text",
        "segments",
        "usage",
    ]
    assert answer["task"] == "transcribe"
    assert (answer["language"], answer["language_code"], answer["language_probability"]) == ("english", "en", 0.98)
    assert answer["duration"] == 3.5
    assert answer["text"] == "Hello, world. Bye."
    assert answer["usage"] == {"type": "duration", "seconds": 3.5}
    assert answer["segments"][0] == {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": 1.5,
        "text": " Hello, world.",
        "tokens": [1, 2],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }
    assert (answer["segments"][1]["id"], answer["segments"][1]["seek"], answer["segments"][1]["start"]) == (1, 200, 2.0)


def test_verbose_json_lists_words_when_asked() -> None:
    answer = json.loads(render("verbose_json", replace(HELLO, words=True)))
    assert answer["words"] == [
        {"word": "Hello,", "start": 0.0, "end": 0.5, "probability": 0.9},
        {"word": "world.", "start": 0.6, "end": 1.5, "probability": 0.9},
        {"word": "Bye.", "start": 2.0, "end": 3.25, "probability": 0.9},
    ]
    assert [segment["words"] for segment in answer["segments"]] == [answer["words"][:2], answer["words"][2:]]


def test_verbose_json_names_the_task_and_the_speakers() -> None:
    result = TranscriptResult(
        segments=(Segment(start=0, end=1, text=" Hi", speaker="SPEAKER_00", words=words((" Hi", 0, 1))),),
        duration=1.0,
        task="translate",
        language="de",
        words=True,
    )
    answer = json.loads(render("verbose_json", result))
    assert (answer["task"], answer["language"]) == ("translate", "german")
    assert answer["segments"][0]["speaker"] == answer["words"][0]["speaker"] == "SPEAKER_00"


@pytest.mark.parametrize("result", [HELLO, replace(HELLO, words=True)])
def test_openais_types_accept_the_json_formats(result: TranscriptResult) -> None:
    verbose = TranscriptionVerbose.model_validate_json(render("verbose_json", result), strict=True)
    assert verbose.segments is not None
    assert len(verbose.segments) == 2
    assert Transcription.model_validate_json(render("json", result), strict=True).text == "Hello, world. Bye."


def test_word_times_never_go_backwards_or_outside_the_audio() -> None:
    timed = words((" a", -0.1, 0.5), (" b", 0.4, 0.3), (" ", 0.5, 0.6), (" c", 0.35, 9.0))
    result = TranscriptResult(
        segments=(Segment(start=0, end=1, text=" a b c", words=timed),), duration=1.0, words=True, language="en"
    )
    found = json.loads(render("verbose_json", result))["words"]
    assert [(word["word"], word["start"], word["end"]) for word in found] == [
        ("a", 0.0, 0.5),
        ("b", 0.4, 0.4),
        ("c", 0.4, 1.0),
    ]


def test_numbers_that_json_lacks_stay_numbers() -> None:
    segment = Segment(
        start=0, end=1, text=" a", avg_logprob=-math.inf, compression_ratio=math.inf, no_speech_prob=math.nan
    )
    answer = json.loads(render("verbose_json", TranscriptResult(segments=(segment,), duration=1.0)))["segments"][0]
    assert answer["avg_logprob"] < -100
    assert answer["compression_ratio"] > 100
    assert answer["no_speech_prob"] == 0.0


def test_text() -> None:
    assert render("text", HELLO) == "Hello, world. Bye.\n"


def test_srt() -> None:
    assert render("srt", HELLO) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello, world.\n\n2\n00:00:02,000 --> 00:00:03,250\nBye.\n\n"
    )


def test_vtt() -> None:
    assert render("vtt", HELLO) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello, world.\n\n00:00:02.000 --> 00:00:03.250\nBye.\n\n"
    )


def test_tsv() -> None:
    assert render("tsv", HELLO) == "start\tend\ttext\n0\t1500\tHello, world.\n2000\t3250\tBye.\n"
    assert render("tsv", said("a\tb\nc")).splitlines()[1] == "0\t900\ta b c"


def test_jsonl_has_one_segment_a_line() -> None:
    lines = render("jsonl", HELLO).splitlines()
    assert [json.loads(line) for line in lines] == json.loads(render("verbose_json", HELLO))["segments"]


def test_lrc() -> None:
    assert render("lrc", HELLO) == "[00:00.00]Hello, world.\n[00:02.00]Bye.\n"


def test_silence() -> None:
    rendered = {name: render(name, SILENCE) for name in FORMATS}
    assert json.loads(rendered.pop("json")) == {
        "text": "",
        "usage": {"type": "duration", "seconds": 60.0},
        "languages": [],
    }
    verbose = json.loads(rendered.pop("verbose_json"))
    assert (verbose["text"], verbose["segments"], verbose["language"]) == ("", [], None)
    assert rendered == {
        "text": "",
        "txt": "",
        "srt": "",
        "vtt": "WEBVTT\n\n",
        "tsv": "start\tend\ttext\n",
        "jsonl": "",
        "lrc": "",
    }


def test_speakers_in_subtitles() -> None:
    assert "\n[Ann & Bo] Hi\n" in render("srt", said("Hi", speaker="Ann & Bo"))
    assert "\n<v Ann &amp; Bo>Hi\n" in render("vtt", said("Hi", speaker="Ann & Bo"))
    assert "\n[A B->] Hi\n" in render("srt", said("Hi", speaker="A\nB-->"))
    assert "\n<v A>Hi\n" in render("vtt", said("Hi", speaker="A --"))
    assert "\nHi\n" in render("vtt", said("Hi", speaker="--"))


def test_text_cannot_break_out_of_its_cue() -> None:
    hostile = said(" 1\n00:00:01,000 --> 00:00:02,000\n\nfake ---> <script>&amp; \u2028\x00\x85\u202etxt")
    assert render("srt", hostile).splitlines()[2:] == [
        "1 00:00:01,000 -> 00:00:02,000 fake -> <script>&amp; txt",
        "",
    ]
    assert render("vtt", hostile).splitlines()[3:] == [
        "1 00:00:01,000 -&gt; 00:00:02,000 fake -&gt; &lt;script&gt;&amp;amp; txt",
        "",
    ]


def test_empty_cues_are_dropped_and_the_rest_numbered_through() -> None:
    blocks = SRT_BLOCK.findall(render("srt", said("a", " ", "\u200b\x00", "b")))
    assert [(block[0], block[3]) for block in blocks] == [("1", "a\n"), ("2", "b\n")]


def test_cues_that_overlap_or_take_no_time_are_put_right() -> None:
    times = [(0.0, 5.0), (1.0, 1.0), (1.0, 3.0), (0.5, 0.7), (3.0, 2.0)]
    segments = tuple(Segment(start=start, end=end, text=f" {start}") for start, end in times)
    found = [(cue.start, cue.end) for cue in cues(TranscriptResult(segments=segments, duration=5.0))]
    assert found == [(0, 500), (500, 700), (1000, 1001), (1001, 3000), (3000, 3001)]


LONG = "The quick brown fox jumps over the lazy dog, and then it runs away from the hounds that were chasing it."


def long_segment(*, with_words: bool, pause: float = 0.0) -> TranscriptResult:
    texts = re.findall(r"\S+", LONG)
    timed = []
    for index, text in enumerate(texts):
        start = index * 0.3 + (pause if index >= 9 else 0)
        timed.append(Word(f" {text}", start, start + 0.25))
    segment = Segment(start=0.0, end=timed[-1].end, text=f" {LONG}", words=tuple(timed) if with_words else ())
    return TranscriptResult(segments=(segment,), duration=10.0, language="en", layout=SubtitleLayout())


@pytest.mark.parametrize("with_words", [True, False])
def test_a_layout_breaks_lines_and_cues(with_words: bool) -> None:
    found = cues(long_segment(with_words=with_words))
    assert [len(cue.lines) for cue in found] == [2, 1]
    assert all(len(line) <= 42 for cue in found for line in cue.lines)
    assert " ".join(line for cue in found for line in cue.lines) == LONG
    assert min(len(line) for cue in found for line in cue.lines) > 25  # even lines, no orphan


def test_cues_take_their_times_from_the_words() -> None:
    result = long_segment(with_words=True)
    found = cues(result)
    spoken = result.segments[0].words
    count = sum(len(line.split()) for line in found[0].lines)
    assert (found[0].start, found[0].end) == (0, round(spoken[count - 1].end * 1000))
    assert (found[1].start, found[1].end) == (round(spoken[count].start * 1000), round(spoken[-1].end * 1000))


def test_a_pause_ends_a_cue() -> None:
    found = cues(long_segment(with_words=True, pause=2.0))
    assert found[0].lines[-1].endswith("lazy dog,")
    assert found[1].start - found[0].end >= 2000


def test_text_without_blanks_is_cut_at_the_width() -> None:
    result = replace(said("今天天气很好我们去公园吧" * 5), layout=SubtitleLayout(max_line_width=10, max_line_count=1))
    found = cues(result)
    assert "".join(cue.lines[0] for cue in found) == "今天天气很好我们去公园吧" * 5
    assert all(len(cue.lines[0]) <= 10 for cue in found)


@pytest.mark.parametrize(("width", "count"), [(0, 2), (42, 0), (-1, 1)])
def test_a_layout_needs_a_line_of_a_character(width: int, count: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        SubtitleLayout(max_line_width=width, max_line_count=count)


SECONDS = st.floats(0, 20_000) | st.integers(0, 5).map(float)
TEXTS = st.text(st.characters(codec="utf-8")) | st.text(alphabet="ab1 \n-><&;\t\r\x0b\u2028\u202e\u200d{}\\N.!你")
SEGMENTS = st.lists(
    st.builds(Segment, start=SECONDS, end=SECONDS, text=TEXTS, speaker=st.none() | TEXTS), max_size=12
).map(tuple)
WORDS = st.lists(st.builds(Word, word=TEXTS.map(lambda text: f" {text}"), start=SECONDS, end=SECONDS)).map(tuple)
LAYOUTS = st.none() | st.builds(SubtitleLayout, max_line_width=st.integers(1, 50), max_line_count=st.integers(1, 3))
RESULTS = st.builds(
    TranscriptResult,
    segments=SEGMENTS | st.lists(st.builds(Segment, start=SECONDS, end=SECONDS, text=TEXTS, words=WORDS)).map(tuple),
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


@given(RESULTS)
def test_other_peoples_parsers_read_the_same_cues(result: TranscriptResult) -> None:
    expected = [(cue.start, cue.end) for cue in cues(result)]
    srt, vtt = render("srt", result), render("vtt", result)
    assert [(cue.start.ordinal, cue.end.ordinal) for cue in pysrt.from_string(srt)] == expected
    assert [(event.start, event.end) for event in pysubs2.SSAFile.from_string(srt, "srt")] == expected
    captions = webvtt.from_buffer(io.StringIO(vtt)).captions
    assert [(to_milliseconds(caption.start), to_milliseconds(caption.end)) for caption in captions] == expected


@given(st.lists(TEXTS, max_size=8), LAYOUTS)
def test_other_peoples_parsers_read_the_same_text(texts: list[str], layout: SubtitleLayout | None) -> None:
    result = replace(said(*texts), layout=layout)
    expected = ["\n".join(cue.lines) for cue in cues(result)]
    assert [cue.text for cue in pysrt.from_string(render("srt", result))] == expected
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


def test_a_parser_that_accepts_anything_proves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.vtt"
    broken.write_text(render("vtt", HELLO).replace("-->", "->", 1), encoding="utf-8")
    assert len(webvtt.read(str(broken)).captions) < 2
    assert len(pysrt.from_string(render("srt", HELLO).replace("-->", "->", 1))) < 2
