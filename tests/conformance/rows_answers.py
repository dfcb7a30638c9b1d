"""A2.3 formats, A2.4 subtitles, A2.5 streams, A3 translations."""

from __future__ import annotations

import itertools
import json
import re
import time
from typing import Any

from tests.conformance import media
from tests.conformance.ask import TRANSCRIBE, TRANSLATE, transcribe
from tests.conformance.checks import envelope, events, frames, ok, read_srt, read_vtt, refused
from tests.conformance.rows import TRANSCRIPTIONS, TRANSLATIONS, Table
from tests.conformance.target import LeftOut, Target

table = Table()
row = table.row
FORMATS = ["json", "text", "srt", "verbose_json", "vtt"]
SEGMENT = {
    "id": int, "seek": int, "start": float, "end": float, "text": str, "tokens": list, "temperature": float,
    "avg_logprob": float, "compression_ratio": float, "no_speech_prob": float,
}  # fmt: skip


def answer(target: Target, wanted: str, **fields: Any) -> Any:
    return ok(transcribe(target.asr, {"response_format": wanted, **fields}, audio=target.speech))


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_segments(segments: list[dict[str, Any]], duration: float) -> None:
    """Segments with all ten fields of their types, ids from 0, in order and inside the audio."""
    assert [each["id"] for each in segments] == list(range(len(segments)))
    for each in segments:
        for name, kind in SEGMENT.items():
            assert is_number(each[name]) if kind is float else type(each[name]) is kind, (name, each[name])
        assert 0 <= each["start"] < each["end"] <= duration + 0.05, each
        assert all(type(token) is int for token in each["tokens"])
    assert all(first["end"] <= second["start"] + 0.02 for first, second in itertools.pairwise(segments))


def check_words(words: list[dict[str, Any]], duration: float) -> None:
    """Words under the key `word`, stripped, in order and inside the audio."""
    assert words
    for each in words:
        assert each["word"] == each["word"].strip() != ""
        assert 0 <= each["start"] <= each["end"] <= duration + 0.05, each
    assert all(first["start"] <= second["start"] for first, second in itertools.pairwise(words))


# --- A2.3


@row("A2.3", "json: text, usage by duration, languages", TRANSCRIPTIONS)
def as_json(target: Target) -> None:
    found = answer(target, "json")
    body = found.json()
    assert found.headers["content-type"] == "application/json"
    assert body["text"] == body["text"].strip() != ""
    assert body["usage"]["type"] == "duration"
    assert is_number(body["usage"]["seconds"])
    assert body["languages"] == [{"code": "en"}]


@row("A2.3", "json is the default", TRANSCRIPTIONS)
def default_format(target: Target) -> None:
    plain = ok(transcribe(target.asr, audio=target.speech)).json()
    assert plain["text"] == answer(target, "json").json()["text"]


@row("A2.3", "{}: the words and a line feed, never quoted", TRANSCRIPTIONS, each=["text", "txt"])
def as_text(target: Target, wanted: str) -> None:
    found = answer(target, wanted)
    assert found.headers["content-type"] == "text/plain; charset=utf-8"
    assert found.text == answer(target, "json").json()["text"] + "\n"


@row("A2.3", "verbose_json has OpenAI's fields and types", TRANSCRIPTIONS)
def as_verbose(target: Target) -> None:
    body = answer(target, "verbose_json").json()
    assert body["task"] == "transcribe"
    assert body["language"] == "english"
    assert body["language_code"] == "en"
    assert 0 <= body["language_probability"] <= 1
    assert is_number(body["duration"])
    assert body["usage"]["type"] == "duration"
    check_segments(body["segments"], body["duration"])
    assert body["text"] == "".join(each["text"] for each in body["segments"]).strip()
    assert body["segments"][0]["text"].startswith(" ")
    assert "words" not in body


@row("A2.3", "verbose_json with words, granularities {}", TRANSCRIPTIONS, each=["word", "word,segment"])
def as_words(target: Target, wanted: str) -> None:
    body = answer(target, "verbose_json", **{"timestamp_granularities[]": wanted.split(",")}).json()
    check_words(body["words"], body["duration"])
    check_segments(body["segments"], body["duration"])
    assert " ".join(each["word"] for each in body["words"]).split() == body["text"].split()


@row("A2.3", "/v1/audio/transcriptions/verbose has words and segments", "POST /v1/audio/transcriptions/verbose")
def verbose_path(target: Target) -> None:
    body = ok(transcribe(target.asr, audio=target.speech, path=TRANSCRIBE + "/verbose")).json()
    check_words(body["words"], body["duration"])
    check_segments(body["segments"], body["duration"])


@row("A2.3", "tsv: whole milliseconds", TRANSCRIPTIONS)
def as_tsv(target: Target) -> None:
    found = answer(target, "tsv")
    assert found.headers["content-type"].startswith("text/plain")
    lines = found.text.splitlines()
    assert lines[0] == "start\tend\ttext"
    assert lines[1:]
    for line in lines[1:]:
        start, end, text = line.split("\t")
        assert int(start) < int(end)
        assert text


@row("A2.3", "jsonl: an object per segment", TRANSCRIPTIONS)
def as_jsonl(target: Target) -> None:
    found = answer(target, "jsonl")
    assert found.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in found.text.splitlines()]
    assert [line["text"].strip() for line in lines] == [
        each["text"].strip() for each in answer(target, "verbose_json").json()["segments"]
    ]


@row("A2.3", "lrc: times in brackets", TRANSCRIPTIONS)
def as_lrc(target: Target) -> None:
    found = answer(target, "lrc")
    assert found.headers["content-type"].startswith("text/plain")
    timed = [line for line in found.text.splitlines() if re.match(r"\[\d\d+:\d\d\.\d\d+\]", line)]
    assert timed


def check_diarized(segments: list[dict[str, Any]], duration: float) -> None:
    """OpenAI's segments with speakers: ids are strings, and everything is said by somebody."""
    assert segments
    for number, each in enumerate(segments, start=1):
        assert set(each) == {"type", "id", "start", "end", "text", "speaker"}, each
        assert (each["type"], each["id"]) == ("transcript.text.segment", f"seg_{number:03d}"), each
        assert 0 <= each["start"] <= each["end"] <= duration + 0.05, each
        assert each["text"] == each["text"].strip() != "", each
        assert each["speaker"], each
    assert segments[0]["speaker"] == "A"


@row("A2.3", "diarized_json: a line for each turn, and who says what", TRANSCRIPTIONS)
def as_diarized(target: Target) -> None:
    target.diarizing()
    body = answer(target, "diarized_json").json()
    assert body["task"] == "transcribe"
    assert is_number(body["duration"])
    assert body["usage"]["type"] == "duration"
    check_diarized(body["segments"], body["duration"])
    lines = [line.partition(": ") for line in body["text"].splitlines()]
    assert {speaker for speaker, _, _ in lines} == {each["speaker"] for each in body["segments"]}
    assert all(one[0] != other[0] for one, other in itertools.pairwise(lines))


@row("A2.3", "diarize=true: speakers in {}", TRANSCRIPTIONS, each=["verbose_json", "srt", "vtt", "text"])
def with_speakers(target: Target, wanted: str) -> None:
    target.diarizing()
    found = answer(target, wanted, diarize="true")
    if wanted == "verbose_json":
        body = found.json()
        check_segments(body["segments"], body["duration"])
        assert body["segments"][0]["speaker"] == "SPEAKER_00"
        return
    shown = {"srt": "[SPEAKER_00] ", "vtt": "<v SPEAKER_00>", "text": "SPEAKER_00: "}
    assert shown[wanted] in found.text
    assert "SPEAKER" not in answer(target, wanted).text


@row("A2.3", "diarized_json: a known voice has its name", TRANSCRIPTIONS)
def known_voices(target: Target) -> None:
    target.diarizing()
    named = {"known_speaker_names[]": "Ada", "known_speaker_references[]": media.data_url(target.speech)}
    body = answer(target, "diarized_json", **named).json()
    assert "Ada" in {each["speaker"] for each in body["segments"]}
    assert "Ada: " in body["text"]


@row("A2.5", "diarized_json: each delta, then its segment", TRANSCRIPTIONS)
def diarized_stream(target: Target) -> None:
    target.diarizing()
    *told, done = events(answer(target, "diarized_json", stream="true"))
    deltas, segments = told[::2], told[1::2]
    check_diarized(segments, done["duration"])
    assert [each["segment_id"] for each in deltas] == [each["id"] for each in segments]
    assert "".join(each["delta"] for each in deltas) == done["text"]
    assert done["type"] == "transcript.text.done"
    assert done["usage"]["type"] == "tokens"


SILENT = [("json", None), ("verbose_json", None), ("text", ""), ("srt", ""), ("vtt", "WEBVTT\n\n")]


@row("A2.3", "no speech: {}", TRANSCRIPTIONS, each=SILENT)
def silent(target: Target, given: tuple[str, str | None]) -> None:
    wanted, exactly = given
    found = ok(transcribe(target.asr, {"response_format": wanted}, audio=media.silence(3)))
    if exactly is not None:
        assert found.text == exactly, found.text
        return
    body = found.json()
    assert body["text"] == ""
    if wanted == "verbose_json":
        assert body["segments"] == []
        assert isinstance(body["language"], str)
        assert abs(body["duration"] - 3) < 0.05
    else:
        assert body["languages"] == []


# --- A2.4


@row("A2.4", "srt parses with pysrt ERROR_RAISE and pysubs2", TRANSCRIPTIONS)
def as_srt(target: Target) -> None:
    found = answer(target, "srt")
    assert found.headers["content-type"] == "text/plain; charset=utf-8"
    cues = read_srt(found.text)
    assert found.text.endswith("\n\n")
    assert " ".join(cue.text for cue in cues).split() == answer(target, "json").json()["text"].split()


@row("A2.4", "vtt parses with webvtt-py and pysubs2", TRANSCRIPTIONS)
def as_vtt(target: Target) -> None:
    found = answer(target, "vtt")
    assert found.headers["content-type"] == "text/vtt; charset=utf-8"
    cues = read_vtt(found.text)
    assert " ".join(cue.text for cue in cues).split() == answer(target, "json").json()["text"].split()


@row("A2.4", "one cue per segment unless a layout is asked for", TRANSCRIPTIONS)
def cue_per_segment(target: Target) -> None:
    segments = answer(target, "verbose_json").json()["segments"]
    cues = read_srt(answer(target, "srt").text)
    assert len(cues) == len(segments)
    for cue, segment in zip(cues, segments, strict=True):
        assert abs(cue.start.ordinal - segment["start"] * 1000) <= 1


@row("A2.4", "max_line_width and max_line_count shape {}", TRANSCRIPTIONS, each=["srt", "vtt"])
def layout(target: Target, wanted: str) -> None:
    text = answer(target, wanted, max_line_width="24", max_line_count="2").text
    shown = [cue.text for cue in (read_srt(text) if wanted == "srt" else read_vtt(text))]
    assert len(shown) > 1
    for cue in shown:
        assert len(cue.split("\n")) <= 2
        assert all(len(line) <= 24 for line in cue.split("\n")), cue
    assert " ".join(shown).split() == answer(target, "json").json()["text"].split()


# --- A2.5


def stream(target: Target, **fields: Any) -> list[dict[str, Any]]:
    return events(transcribe(target.asr, {"stream": "true", **fields}, audio=target.speech))


@row("A2.5", "event and data lines, then [DONE]", TRANSCRIPTIONS)
def frame_lines(target: Target) -> None:
    found = stream(target)
    assert {each["type"] for each in found} == {"transcript.text.delta", "transcript.text.done"}


@row("A2.5", "deltas concatenated are done.text, which is the text of json", TRANSCRIPTIONS)
def deltas(target: Target) -> None:
    found = stream(target)
    done = found[-1]
    assert done["type"] == "transcript.text.done"
    assert [each["type"] for each in found].count("transcript.text.done") == 1
    assert "".join(each["delta"] for each in found[:-1]) == done["text"] != ""
    assert done["text"] == answer(target, "json").json()["text"]


@row("A2.5", "a delta per segment", TRANSCRIPTIONS)
def delta_per_segment(target: Target) -> None:
    target.fake()
    assert len(stream(target)) - 1 == len(answer(target, "verbose_json").json()["segments"]) > 1


@row("A2.5", "done.usage counts tokens", TRANSCRIPTIONS)
def usage(target: Target) -> None:
    usage = stream(target)[-1]["usage"]
    assert usage["type"] == "tokens"
    assert all(type(usage[name]) is int for name in ("input_tokens", "output_tokens", "total_tokens"))
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


@row("A2.5", "done has language, duration, segments, and words when asked", TRANSCRIPTIONS)
def done_extras(target: Target) -> None:
    done = stream(target, **{"timestamp_granularities[]": ["word", "segment"]})[-1]
    check_segments(done["segments"], done["duration"])
    check_words(done["words"], done["duration"])
    assert done["languages"] == [{"code": "en"}]
    assert "words" not in stream(target)[-1]


@row("A2.5", "no key of an event is null", TRANSCRIPTIONS)
def no_nulls(target: Target) -> None:
    for fields in ({}, {"include[]": "logprobs"}, {"response_format": "verbose_json"}):
        for each in stream(target, **fields):
            assert None not in each.values(), each
            assert "segment_id" not in each


@row("A2.5", "stream=true is a stream whatever the format: {}", TRANSCRIPTIONS, each=[*FORMATS, "tsv"])
def always_stream(target: Target, wanted: str) -> None:
    found = stream(target, response_format=wanted)
    assert "".join(each["delta"] for each in found[:-1]) == found[-1]["text"] != ""
    assert found[-1]["segments"]


@row("A2.5", "logprobs in deltas and done", TRANSCRIPTIONS)
def stream_logprobs(target: Target) -> None:
    found = stream(target, **{"include[]": "logprobs"})
    parts = [each for event in found[:-1] for each in event["logprobs"]]
    assert parts == found[-1]["logprobs"] != []
    assert all("logprobs" not in each for each in stream(target))


@row("A2.5", "no speech: no delta, an empty done", TRANSCRIPTIONS)
def silent_stream(target: Target) -> None:
    found = events(transcribe(target.asr, {"stream": "true"}, audio=media.silence(3)))
    assert [each["type"] for each in found] == ["transcript.text.done"]
    assert found[0]["text"] == ""
    assert found[0]["segments"] == []


@row("A2.5", "what is wrong before the first event is a status and an envelope", TRANSCRIPTIONS)
def early_errors(target: Target) -> None:
    refused(transcribe(target.asr, {"stream": "true", "language": "xx"}), 400, "invalid_value", "language")
    refused(transcribe(target.asr, {"stream": "true"}, audio=b""), 400, "invalid_audio", "file")


@row("A2.5", "a failure in the middle is an error frame with an error object, and the end", TRANSCRIPTIONS)
def error_frame(target: Target) -> None:
    busy = target.special("asr-busy")
    found = frames(transcribe(busy, {"stream": "true"}, audio=media.tone(12, 801)))
    assert found[-1].event == "error", found[-1]
    body = found[-1].json
    assert body["type"] == "error"
    assert set(body["error"]) == {"message", "type", "code", "param"}
    assert body["error"]["code"] == "deadline_exceeded"
    assert [frame.event for frame in found[:-1]] == ["transcript.text.delta"] * (len(found) - 1)


@row("A2.5", "deltas leave while the rest is decoded", TRANSCRIPTIONS)
def early_deltas(target: Target) -> None:
    slow = target.special("asr-slow")
    files = {"file": ("a.wav", media.tone(60, 802))}
    with slow.stream("POST", TRANSCRIBE, files=files, data={"stream": "true"}) as found:
        lines = (line for line in found.iter_lines() if line.startswith("data: "))
        first = json.loads(next(lines).removeprefix("data: "))
        assert first["type"] == "transcript.text.delta"
        # The engine takes 3 s for all of it, so at the first delta it must still be at work.
        assert slow.get("/health").json()["status"] == "ok"
        assert sum(1 for _ in lines) >= 3


@row("A2.5", "the first delta of a minute of speech is there before 40 % of the time", TRANSCRIPTIONS)
def first_delta(target: Target) -> None:
    if target.engine == "fake":
        raise LeftOut("needs a real model")
    pause = bytes(media.RATE)
    minute = (target.samples + pause) * (60 * 2 * media.RATE // len(target.samples + pause))
    files = {"file": ("a.wav", media.wav(minute))}
    started = time.monotonic()
    with target.asr.stream("POST", TRANSCRIBE, files=files, data={"stream": "true"}) as found:
        lines = (line for line in found.iter_lines() if line.startswith("data: "))
        assert json.loads(next(lines).removeprefix("data: "))["type"] == "transcript.text.delta"
        first = time.monotonic() - started
        assert sum(1 for _ in lines) > 2
    assert first < 0.4 * (time.monotonic() - started), (first, time.monotonic() - started)


# --- A3


@row("A3", "translations as {}", TRANSLATIONS, each=FORMATS)
def translations(target: Target, wanted: str) -> None:
    found = ok(transcribe(target.asr, {"response_format": wanted}, audio=target.speech, path=TRANSLATE))
    if wanted == "json":
        assert found.json()["text"]
    elif wanted == "verbose_json":
        body = found.json()
        assert (body["task"], body["language"]) == ("translate", "english")
        check_segments(body["segments"], body["duration"])
    elif wanted == "text":
        assert found.headers["content-type"] == "text/plain; charset=utf-8"
    else:
        assert read_srt(found.text) if wanted == "srt" else read_vtt(found.text)


@row("A3", "a source language is accepted, an unknown one refused", TRANSLATIONS)
def source_language(target: Target) -> None:
    ok(transcribe(target.asr, {"language": "de"}, path=TRANSLATE))
    refused(transcribe(target.asr, {"language": "xx"}, path=TRANSLATE), 400, "invalid_value", "language")


@row("A3", "stream=true is a stream here too", TRANSLATIONS)
def translated_stream(target: Target) -> None:
    found = events(transcribe(target.asr, {"stream": "true"}, audio=target.speech, path=TRANSLATE))
    assert "".join(each["delta"] for each in found[:-1]) == found[-1]["text"] != ""


@row("A3", "a model that only knows English refuses to translate", TRANSLATIONS)
def cannot_translate(target: Target) -> None:
    names = [each["id"] for each in ok(target.asr.get("/v1/models")).json()["data"]]
    if target.engine == "fake" or "whisper-tiny.en" not in names:
        raise LeftOut("needs the real model whisper-tiny.en")
    answer = transcribe(target.asr, {"model": "whisper-tiny.en"}, path=TRANSLATE)
    assert (answer.status_code, envelope(answer)["code"]) == (400, "unsupported_task"), answer.text


@row("A3", "missing file and unknown model as for transcriptions", TRANSLATIONS)
def translation_errors(target: Target) -> None:
    refused(target.asr.post(TRANSLATE, data={"model": "x"}), 400, "missing_required_parameter", "file")
    refused(transcribe(target.asr, {"model": "nope"}, path=TRANSLATE), 404, "model_not_found", "model")
