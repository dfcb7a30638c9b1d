import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pysrt
import pytest
import webvtt
from openai.types.audio import Transcription, TranscriptionDiarized, TranscriptionVerbose

from asr.formats import FORMATS, addition
from asr.result import SubtitleLayout, TranscriptResult
from asr.subtitles import cues
from asr.transcript import Segment, Word

SRT_BLOCK = re.compile(r"(\d+)\n(\d{2,}:\d\d:\d\d,\d{3}) --> (\d{2,}:\d\d:\d\d,\d{3})\n((?:[^\n]+\n)+)\n")


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
        "diarized_json": ("application/json", "json"),
    }
    assert [name for name, entry in FORMATS.items() if entry.needs_speakers] == ["diarized_json"]


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
        "languages",
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
    assert (answer["task"], answer["language"], answer["language_code"]) == ("translate", "english", "en")
    assert answer["languages"] == [{"code": "de"}]
    assert answer["segments"][0]["speaker"] == answer["words"][0]["speaker"] == "SPEAKER_00"


def test_a_translation_is_english_whatever_was_spoken() -> None:
    result = TranscriptResult(segments=(Segment(start=0, end=1, text=" Hi"),), duration=1.0, task="translate")
    assert result.text_language == "en"
    assert replace(result, segments=()).text_language is None


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
    assert (verbose["text"], verbose["segments"], verbose["language"]) == ("", [], "")
    diarized = json.loads(rendered.pop("diarized_json"))
    assert (diarized["text"], diarized["segments"], diarized["duration"]) == ("", [], 60.0)
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


def test_a_parser_that_accepts_anything_proves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.vtt"
    broken.write_text(render("vtt", HELLO).replace("-->", "->", 1), encoding="utf-8")
    assert len(webvtt.read(str(broken)).captions) < 2
    assert len(pysrt.from_string(render("srt", HELLO).replace("-->", "->", 1))) < 2


# --- speakers

TALK = TranscriptResult(
    segments=(
        Segment(start=0.0, end=1.0, text=" Hello.", speaker="A"),
        Segment(start=1.0, end=1.5, text=" Is it you?", speaker="A"),
        Segment(start=1.5, end=1.6, text=" ", speaker="B"),
        Segment(start=2.0, end=3.0, text=" It is.", speaker="Ann  Lee"),
    ),
    duration=3.5,
    language="en",
    diarized=True,
)


def test_diarized_json_is_openais() -> None:
    answer = json.loads(render("diarized_json", TALK))
    TranscriptionDiarized.model_validate(answer, strict=True)
    assert answer["text"] == "A: Hello. Is it you?\nAnn Lee: It is."
    assert [(each["id"], each["speaker"], each["text"]) for each in answer["segments"]] == [
        ("seg_001", "A", "Hello."),
        ("seg_002", "A", "Is it you?"),
        ("seg_003", "Ann  Lee", "It is."),
    ]
    assert answer["usage"] == {"type": "duration", "seconds": 3.5}


def test_diarized_json_where_nobody_speaks() -> None:
    answer = json.loads(render("diarized_json", SILENCE))
    TranscriptionDiarized.model_validate(answer, strict=True)
    assert (answer["text"], answer["segments"], answer["duration"]) == ("", [], 60.0)


def test_speakers_in_text_tables_and_lyrics() -> None:
    assert render("text", TALK) == "A: Hello. Is it you?\nAnn Lee: It is.\n"
    assert render("tsv", TALK).splitlines()[1] == "0\t1000\t[A] Hello."
    assert render("lrc", TALK).splitlines()[-1] == "[00:02.00]Ann Lee: It is."
    assert json.loads(render("jsonl", TALK).splitlines()[0])["speaker"] == "A"


def test_json_tells_who_says_what_where_it_is_known() -> None:
    answer = json.loads(render("json", TALK))
    assert answer["text"] == TALK.text
    assert answer["segments"] == json.loads(render("diarized_json", TALK))["segments"]
    Transcription.model_validate(answer)
    assert json.loads(render("json", replace(SILENCE, diarized=True)))["segments"] == []


def test_words_that_nobody_is_near_to_have_a_line_of_their_own() -> None:
    segments = (TALK.segments[0], replace(TALK.segments[1], speaker=None))
    assert render("text", replace(TALK, segments=segments)) == "A: Hello.\nIs it you?\n"


def test_additions_make_up_the_text() -> None:
    before, parts = None, []
    for segment in TALK.segments:
        if part := addition(segment, before):
            parts.append(part)
            before = segment
    assert parts == ["A: Hello.", " Is it you?", "\nAnn Lee: It is."]
