"""A6: the routes of whisper-asr-webservice; Bazarr's own replay is with the other clients."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.conformance import media
from tests.conformance.checks import ok, plain_error, read_srt, read_vtt
from tests.conformance.rows import Table
from tests.conformance.services import KEY
from tests.conformance.target import Target
from tests.full_service import calls, filled, until

table = Table()
row = table.row
ASR = "POST /asr"
DETECT = "POST /detect-language"


def post(target: Target, path: str = "/asr", audio: bytes | None = None, **query: Any) -> httpx.Response:
    files = {"audio_file": ("audio.wav", target.speech if audio is None else audio)}
    return target.asr.post(path, params=query, files=files)


def raw(target: Target, path: str, audio: bytes, **query: Any) -> httpx.Response:
    return target.asr.post(path, params={"encode": "false", **query}, files={"audio_file": audio})


OUTPUTS = ["txt", "text", "vtt", "srt", "tsv", "json", "jsonl"]


@row("A6", "output={}", ASR, each=OUTPUTS)
def outputs(target: Target, wanted: str) -> None:
    found = ok(post(target, output=wanted))
    assert f".{wanted}" in found.headers["content-disposition"]
    assert found.headers["content-disposition"].startswith("attachment; filename=")
    assert found.headers["asr-engine"]
    if wanted == "json":
        assert found.headers["content-type"].startswith("application/json")
    elif wanted == "srt":
        assert read_srt(found.text)
    elif wanted == "vtt":
        assert read_vtt(found.text)
    elif wanted == "jsonl":
        assert [json.loads(line)["text"] for line in found.text.splitlines()]
    else:
        assert found.headers["content-type"].startswith("text/plain")
        assert found.text.strip()


@row("A6", "output is txt unless asked", ASR)
def default_output(target: Target) -> None:
    assert ok(post(target)).text.strip() == ok(post(target, output="txt")).text.strip()


@row("A6", "JSON has the language's code and the ten fields of a segment", ASR)
def as_json(target: Target) -> None:
    body = ok(post(target, output="json", word_timestamps="true")).json()
    assert body["language"] == "en"
    assert body["text"].strip()
    for each in body["segments"]:
        assert {"id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob"} <= set(each)
        assert {"compression_ratio", "no_speech_prob"} <= set(each)
        assert each["words"]


@row("A6", "parameters in the query or the form, at {}", ASR, each=["/asr", "/bazarr/asr"])
def form_or_query(target: Target, path: str) -> None:
    fields = {"output": "srt", "language": "de", "task": "transcribe", "encode": "true"}
    in_form = target.asr.post(path, data=fields, files={"audio_file": target.speech})
    assert read_srt(ok(in_form).text)
    assert in_form.text == ok(post(target, path, **fields)).text


@row("A6", "subtitles are laid out in two lines of 42", ASR)
def layout(target: Target) -> None:
    for cue in read_srt(ok(post(target, output="srt")).text):
        lines = cue.text.split("\n")
        assert len(lines) <= 2
        assert all(len(line) <= 42 for line in lines), cue.text


@row("A6", "encode=false is s16le at 16 kHz, unless the bytes are a container", ASR)
def encodings(target: Target) -> None:
    samples = target.samples
    from_raw = ok(raw(target, "/asr", samples, output="srt")).text
    assert read_srt(from_raw)
    packs = [media.ffmpeg(*media.CONTAINERS[each], given=media.wav(samples)) for each in ("flac", "mp3", "mkv")]
    for packed in (media.wav(samples), *packs):
        assert read_srt(ok(raw(target, "/asr", packed, output="srt")).text)
    assert ok(raw(target, "/asr", media.wav(samples), output="srt")).text == from_raw
    ok(raw(target, "/asr", samples + b"\x01", output="srt"))


@row("A6", "the part may be named file", ASR)
def part_name(target: Target) -> None:
    assert ok(target.asr.post("/asr", files={"file": target.speech})).text.strip()


@row("A6", "an unknown language is detected, not refused: {}", ASR, each=["klingon", "und", "", "xx"])
def unknown_language(target: Target, value: str) -> None:
    assert read_srt(ok(post(target, output="srt", language=value)).text)


@row("A6", "whisper's own codes are understood: {}", ASR, each=["no", "nn", "jw", "haw", "yue"])
def whisper_codes(target: Target, value: str) -> None:
    ok(post(target, output="srt", language=value))


@row("A6", "task=translate", ASR)
def translate(target: Target) -> None:
    assert read_srt(ok(post(target, output="srt", task="translate")).text)


@row("A6", "unknown parameters and video_file are ignored", ASR)
def ignored(target: Target) -> None:
    ok(post(target, output="srt", video_file="/films/secret.mkv", initial_prompt="Hi", hotwords="a", vad_filter="true"))


@row("A6", "no speech is an empty body, or a line feed with EMPTY_SUBTITLE=blank", ASR)
def no_speech(target: Target) -> None:
    assert ok(raw(target, "/asr", bytes(96_000), output="srt")).content == b""
    blank = target.special("asr-strict").post(
        "/asr?output=srt&encode=false", files={"audio_file": bytes(96_000)}, auth=("x", KEY)
    )
    assert ok(blank).content == b"\n"


@row("A6", "silence in front does not shift the cues", ASR)
def absolute_times(target: Target) -> None:
    quiet = bytes(16_000 * 2 * 10)
    cues = read_srt(ok(raw(target, "/asr", quiet + target.samples, output="srt")).text)
    assert cues[0].start.ordinal >= 9_500, cues[0]


ERRORS = [
    ("no file", {}),
    ("an unknown output", {"output": "docx"}),
    ("an unknown task", {"task": "sing"}),
    ("fewer speakers than at least", {"diarize": "true", "min_speakers": "3", "max_speakers": "2"}),
]


@row("A6", "{} is a plain-text error", ASR, each=ERRORS)
def plain_errors(target: Target, given: tuple[str, dict[str, str]]) -> None:
    name, query = given
    for path in ("/asr", "/bazarr/asr"):
        answer = target.asr.post(path) if name == "no file" else post(target, path, **query)
        assert answer.status_code in {400, 415}
        plain_error(answer, answer.status_code)


@row("A6", "broken audio, a wrong method and an unknown path are plain text", ASR, DETECT)
def more_plain_errors(target: Target) -> None:
    for path in ("/asr", "/detect-language", "/bazarr/asr", "/bazarr/detect-language"):
        plain_error(post(target, path, audio=b"this is no audio at all " * 9), 400)
        plain_error(target.asr.delete(path), 405)
    plain_error(target.asr.get("/bazarr/nothing"), 404)


@row("A6", "detected: name, code, confidence, at {}", DETECT, each=["/detect-language", "/bazarr/detect-language"])
def detected(target: Target, path: str) -> None:
    body = ok(post(target, path)).json()
    assert (body["detected_language"], body["language_code"]) == ("english", "en")
    assert 0 < body["confidence"] <= 1


@row("A6", "unknown is {} with 200", DETECT)
def nothing_detected(target: Target) -> None:
    assert ok(raw(target, "/detect-language", bytes(320_000))).json() == {}


@row("A6", "detect_lang_length and detect_lang_offset", DETECT)
def windows(target: Target) -> None:
    audio = bytes(16_000 * 2 * 20) + target.samples
    assert ok(raw(target, "/detect-language", audio)).json()["language_code"] == "en"
    found = raw(target, "/detect-language", audio, detect_lang_offset=20, detect_lang_length=10)
    assert ok(found).json()["language_code"] == "en"


@row("A6", "a language is detected while a long job runs", DETECT)
def beside_long_jobs(target: Target) -> None:
    slow = target.special("asr-slow")
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(slow.post, "/asr", files={"audio_file": media.tone(300, 907)})
        until(lambda: calls(str(slow.base_url))[0] == 1)
        found = slow.post("/detect-language", files={"audio_file": media.tone(7, 908)}, timeout=30)
        assert not job.done(), "the job takes 15 s"
        assert ok(found).json()["language_code"] == "en"


@row("A6", "GET {} answers a browser with a sentence", "GET /asr", each=["/asr", "/detect-language"])
def in_a_browser(target: Target, path: str) -> None:
    found = ok(target.asr.get(path))
    assert found.headers["content-type"].startswith("text/plain")
    assert len(found.text.strip().splitlines()) == 1


@row("A6", "GET /bazarr/models is GET /v1/models; GET /status; / leads to /docs", "GET /bazarr/models", "GET /status")
def listings(target: Target) -> None:
    assert ok(target.asr.get("/bazarr/models")).json() == ok(target.asr.get("/v1/models")).json()
    ok(target.asr.get("/status"))
    assert target.asr.get("/").headers["location"].endswith("/docs")


@row("A6", "never 429: five at once while one may wait", ASR)
def never_refused(target: Target) -> None:
    full = target.special("asr-full")
    url = str(full.base_url)
    with ThreadPoolExecutor(5) as threads:
        with filled(url):
            sent = [
                threads.submit(full.post, "/asr?output=srt", files={"audio_file": media.tone(0.1, 950 + each)})
                for each in range(5)
            ]
            until(lambda: calls(url)[1] == 6)
        assert [each.result().status_code for each in sent] == [200] * 5
