"""A2.1 bodies and A2.2 fields of a transcription."""

from __future__ import annotations

import base64
from typing import Any

import httpx

from tests.conformance import media
from tests.conformance.ask import TRANSCRIBE, transcribe
from tests.conformance.checks import envelope, ok, refused, will_fail_again
from tests.conformance.rows import TRANSCRIPTIONS, Table
from tests.conformance.target import Target

table = Table()
row = table.row
BAD = 400


# --- A2.1 bodies


@row("A2.1", "the file part may be named {}", TRANSCRIPTIONS, each=["file", "audio", "audio_file", "media"])
def part_names(target: Target, name: str) -> None:
    assert ok(target.asr.post(TRANSCRIBE, files={name: ("x.wav", target.speech)})).json()["text"]


PARTS = [
    ("without a type", ("audio.wav", None)),
    ("of type application/octet-stream", ("upload", "application/octet-stream")),
    ("with a wrong type", ("audio.mp3", "audio/mpeg")),
    ("with a type that is no audio", ("audio.txt", "text/plain")),
    ("called blob", ("blob", "audio/webm;codecs=opus")),
    ("with a path for a name", ("../../etc/passwd", "audio/wav")),
    ("with a name of 300 letters and quotes", ("a\"'\\" * 100 + ".wav", "audio/wav")),
]


@row("A2.1", "a file part {}", TRANSCRIPTIONS, each=PARTS)
def part_types(target: Target, given: tuple[str, tuple[str, str | None]]) -> None:
    name, kind = given[1]
    part = (name, target.speech, kind) if kind else (name, target.speech)
    assert ok(target.asr.post(TRANSCRIBE, files={"file": part})).json()["text"]


@row("A2.1", "a file part without a filename", TRANSCRIPTIONS)
def no_filename(target: Target) -> None:
    head = b'--b\r\ncontent-disposition: form-data; name="file"\r\ncontent-type: audio/wav\r\n\r\n'
    body = head + media.tone() + b"\r\n--b--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert ok(target.asr.post(TRANSCRIBE, content=body, headers=kind)).json()["text"]


def in_json(target: Target, **body: Any) -> httpx.Response:
    return target.asr.post(TRANSCRIBE, json=body)


JSON_BODIES = [
    ("input_audio.data in base64", lambda wav: {"input_audio": {"data": wav, "format": "wav"}}),
    ("input_audio.data as data URL", lambda wav: {"input_audio": {"data": f"data:audio/wav;base64,{wav}"}}),
    ("file as data URL", lambda wav: {"file": f"data:audio/wav;base64,{wav}"}),
    ("input_audio with a wrong format", lambda wav: {"input_audio": {"data": wav, "format": "mp3"}}),
]


@row("A2.1", "JSON with {}", TRANSCRIPTIONS, each=JSON_BODIES)
def json_bodies(target: Target, given: tuple[str, Any]) -> None:
    assert ok(in_json(target, model="whisper-1", **given[1](base64.b64encode(media.tone()).decode()))).json()["text"]


@row("A2.1", "JSON has all the fields of the form, in JSON's own types", TRANSCRIPTIONS)
def json_fields(target: Target) -> None:
    body = in_json(
        target,
        file=media.data_url(target.speech),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        temperature=0,
        language=None,
        stream=False,
        chunking_strategy={"type": "server_vad", "threshold": 0.5},
        languages=["en", "de"],
    )
    found = ok(body).json()
    assert found["words"]
    assert found["language"] == "english"


@row("A2.1", "JSON: what is wrong has its param", TRANSCRIPTIONS)
def wrong_json(target: Target) -> None:
    audio = media.data_url(media.tone())
    refused(in_json(target, model="whisper-1"), BAD, "missing_required_parameter", "file")
    refused(in_json(target, file=audio, temperature="hot"), BAD, "invalid_value", "temperature")
    refused(in_json(target, file=audio, language=["en"]), BAD, "invalid_value", "language")
    for wrong in ({"data": "***", "format": "wav"}, {"data": 5}, "text", 5, {}):
        answer = in_json(target, input_audio=wrong)
        assert str(envelope(answer)["param"]).startswith(("input_audio", "file")), answer.text
        assert answer.status_code == BAD


RAW = ["audio/wav", "audio/x-wav", "audio/mpeg", "video/mp4", "application/octet-stream", "audio/webm; codecs=opus"]


@row("A2.1", "a raw body of type {}, fields in the query", TRANSCRIPTIONS, each=RAW)
def raw_bodies(target: Target, kind: str) -> None:
    query = {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"], "language": "en"}
    answer = target.asr.post(TRANSCRIBE, params=query, content=target.speech, headers={"content-type": kind})
    assert ok(answer).json()["words"]


PCM: list[tuple[str, str, dict[str, str]]] = [
    ("audio/pcm", "audio/pcm", {}),
    ("audio/raw", "audio/raw", {}),
    ("audio/pcm and sample_rate", "audio/pcm", {"sample_rate": "8000"}),
    ("audio/pcm;rate=", "audio/pcm;rate=8000", {}),
    ("audio/l16;rate=", "audio/l16;rate=8000", {}),
]


@row("A2.1", "{} is s16le mono, 16 kHz unless told", TRANSCRIPTIONS, each=PCM)
def raw_pcm(target: Target, given: tuple[str, str, dict[str, str]]) -> None:
    _, kind, query = given
    seconds = 2.0 if query or "rate" in kind else 1.0
    query = {"response_format": "verbose_json", **query}
    answer = target.asr.post(TRANSCRIBE, params=query, content=media.s16(1.0), headers={"content-type": kind})
    assert abs(ok(answer).json()["duration"] - seconds) < 0.05


@row("A2.1", "a file part of raw PCM, by format=pcm", TRANSCRIPTIONS)
def pcm_part(target: Target) -> None:
    files = {"file": ("audio", media.s16(1.5), "application/octet-stream")}
    answer = target.asr.post(TRANSCRIBE, files=files, data={"format": "pcm", "response_format": "verbose_json"})
    assert abs(ok(answer).json()["duration"] - 1.5) < 0.05


@row("A2.1", "the container is told by its content: {}", TRANSCRIPTIONS, each=[*media.CONTAINERS])
def containers(target: Target, name: str) -> None:
    files = {"file": ("a.bin", media.encoded(name), "application/octet-stream")}
    answer = ok(target.asr.post(TRANSCRIBE, files=files, data={"response_format": "verbose_json"})).json()
    assert abs(answer["duration"] - 2) < 0.25, answer["duration"]


@row("A2.1", "of a video the first audio stream is taken, or audio_track", TRANSCRIPTIONS)
def video(target: Target) -> None:
    target.fake()
    assert ok(transcribe(target.asr, audio=media.video())).json()["text"]
    assert ok(transcribe(target.asr, {"audio_track": "1"}, audio=media.video())).json()["text"] == ""
    absent = transcribe(target.asr, {"audio_track": "7"}, audio=media.video())
    assert (absent.status_code, envelope(absent)["param"]) in {(BAD, "file"), (BAD, "audio_track")}, absent.text


@row("A2.1", "a file of 0 bytes is 400 invalid_audio", TRANSCRIPTIONS)
def zero_bytes(target: Target) -> None:
    answer = transcribe(target.asr, audio=b"")
    refused(answer, BAD, "invalid_audio", "file")
    will_fail_again(answer)
    refused(target.asr.post(TRANSCRIBE, headers={"content-type": "audio/wav"}), BAD, "invalid_audio", "file")


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NOT_AUDIO = [
    ("text", b"Dear Sir or Madam, this is a letter.\n" * 50),
    ("a PNG", PNG),
    ("zeros", bytes(100_000)),
    ("a WAV header and nothing else", media.tone()[:44]),
    ("half an MP3 frame", b"\xff\xfb\x90\x00" + bytes(20)),
    ("a playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
    ("an ffconcat script", b"ffconcat version 1.0\nfile /etc/passwd\n"),
]  # fmt: skip


@row("A2.1", "{} is 400, as file", TRANSCRIPTIONS, each=NOT_AUDIO)
def not_audio(target: Target, given: tuple[str, bytes]) -> None:
    answer = transcribe(target.asr, audio=given[1])
    error = envelope(answer)
    assert (answer.status_code, error["param"]) == (BAD, "file"), error
    assert error["code"] in {"invalid_audio", "unsupported_format"}, error
    assert "passwd" not in error["message"]
    assert "/tmp" not in error["message"]  # noqa: S108 - the place of the upload must not be told


@row("A2.1", "a text field named file is 400", TRANSCRIPTIONS)
def text_for_a_file(target: Target) -> None:
    urlencoded = target.asr.post(TRANSCRIBE, data={"file": "audio.wav", "model": "whisper-1"})
    multipart = target.asr.post(TRANSCRIBE, files={"file": (None, "audio.wav"), "model": (None, "whisper-1")})
    for answer in (urlencoded, multipart):
        assert (answer.status_code, envelope(answer)["param"]) == (BAD, "file"), answer.text


MALFORMED = [
    ("multipart without a boundary", "multipart/form-data", b"--x\r\n\r\n--x--"),
    ("multipart with another boundary", "multipart/form-data; boundary=y", b"--x\r\n\r\n\r\n--x--\r\n"),
    ("multipart that ends early", "multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="f'),
    ("multipart of nothing", "multipart/form-data; boundary=x", b""),
    ("JSON that is none", "application/json", b'{"file": '),
    ("JSON that is a list", "application/json", b"[1]"),
    ("a form without a file", "application/x-www-form-urlencoded", b"model=whisper-1"),
    ("no type and nothing", "", b""),
]  # fmt: skip


@row("A2.1", "{} is 4xx in the envelope", TRANSCRIPTIONS, each=MALFORMED)
def malformed(target: Target, given: tuple[str, str, bytes]) -> None:
    headers = {"content-type": given[1]} if given[1] else {}
    answer = target.asr.post(TRANSCRIBE, content=given[2], headers=headers)
    envelope(answer)
    assert answer.status_code in {BAD, 415}


@row("A2.1", "a form of 3000 fields is no 500", TRANSCRIPTIONS)
def many_fields(target: Target) -> None:
    answer = transcribe(target.asr, {f"field{number}": "x" for number in range(3000)})
    assert answer.status_code < 500
    if answer.is_error:
        envelope(answer)


# --- A2.2 fields

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("prompt", {"prompt": "Names: Ada, Grace. " * 200}),
    ("languages[]", {"languages[]": ["en", "de"]}),
    ("languages[] of one", {"languages[]": ["pt-BR"]}),
    ("keywords[]", {"keywords[]": ["Kubernetes", "ComfyUI"]}),
    ("keywords[] up to 100", {"keywords[]": ["x" * 80] * 100}),
    ("hotwords", {"hotwords": "Kubernetes, ComfyUI"}),
    ("temperature 2", {"temperature": "2"}),
    ("include[]=logprobs", {"include[]": "logprobs"}),
    ("num_speakers", {"num_speakers": "2"}),
    ("min_speakers and max_speakers", {"min_speakers": "1", "max_speakers": "3"}),
    ("task=transcribe", {"task": "transcribe"}),
    ("translate=false", {"translate": "false"}),
    ("vad_filter", {"vad_filter": "false"}),
    ("word_timestamps", {"word_timestamps": "true", "response_format": "verbose_json"}),
    ("beam_size and best_of", {"beam_size": "2", "best_of": "2"}),
    ("max_line_width and max_line_count", {"max_line_width": "20", "max_line_count": "1", "response_format": "srt"}),
    ("granularities with json (ignored)", {"timestamp_granularities[]": "word", "response_format": "json"}),
    ("granularities with srt (ignored)", {"timestamp_granularities[]": "word", "response_format": "srt"}),
]


@row("A2.2", "accepted: {}", TRANSCRIPTIONS, each=GOOD)
def accepted(target: Target, given: tuple[str, dict[str, Any]]) -> None:
    ok(transcribe(target.asr, given[1], audio=target.speech))


CLIP = media.data_url(media.tone(2))
REFUSED: list[tuple[str, dict[str, Any], str, tuple[str, ...]]] = [
    ("response_format=xml", {"response_format": "xml"}, "response_format", ("json", "verbose_json", "srt")),
    ("temperature=hot", {"temperature": "hot"}, "temperature", ()),
    ("temperature=-1", {"temperature": "-1"}, "temperature", ()),
    ("temperature=2.5", {"temperature": "2.5"}, "temperature", ()),
    ("temperature=nan", {"temperature": "nan"}, "temperature", ()),
    ("stream=maybe", {"stream": "maybe"}, "stream", ()),
    ("granularity=letter", {"timestamp_granularities[]": "letter"}, "timestamp_granularities", ("word", "segment")),
    ("include[]=magic", {"include[]": "magic"}, "include", ("logprobs",)),
    ("languages[]=xx", {"languages[]": ["en", "xx"]}, "languages", ()),
    ("101 keywords", {"keywords[]": ["x"] * 101}, "keywords", ("100",)),
    ("a keyword of 81", {"keywords[]": "x" * 81}, "keywords", ("80",)),
    ("chunking_strategy=magic", {"chunking_strategy": "magic"}, "chunking_strategy", ("auto", "server_vad")),
    ("chunking threshold=high", {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "high"},
     "chunking_strategy", ()),
    ("chunking threshold=7", {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "7"},
     "chunking_strategy", ()),
    ("chunking_strategy as a list", {"chunking_strategy": "[1]"}, "chunking_strategy", ()),
    ("num_speakers=0", {"num_speakers": "0"}, "num_speakers", ()),
    ("num_speakers=two", {"num_speakers": "two"}, "num_speakers", ()),
    ("min_speakers=0", {"min_speakers": "0"}, "min_speakers", ()),
    ("min > max speakers", {"min_speakers": "3", "max_speakers": "2"}, "m", ()),
    ("task=sing", {"task": "sing"}, "task", ("transcribe", "translate")),
    ("beam_size=many", {"beam_size": "many"}, "beam_size", ()),
    ("max_line_width=0", {"max_line_width": "0"}, "max_line_width", ()),
    ("sample_rate=1", {"sample_rate": "1", "format": "pcm"}, "sample_rate", ()),
    ("a name without its clip", {"known_speaker_names[]": "a"}, "known_speaker", ()),
    ("two names, one clip", {"known_speaker_names[]": ["a", "b"], "known_speaker_references[]": [CLIP]},
     "known_speaker", ()),
    ("17 speakers", {"known_speaker_names[]": ["a"] * 17, "known_speaker_references[]": [CLIP] * 17},
     "known_speaker", ("16",)),
    ("a clip that is no data URL", {"known_speaker_names[]": "a", "known_speaker_references[]": "nonsense"},
     "known_speaker_references", ()),
    ("a clip that is no audio",
     {"known_speaker_names[]": "a", "known_speaker_references[]": media.data_url(b"text" * 99)},
     "known_speaker_references", ()),
    ("a clip of 0.3 s",
     {"known_speaker_names[]": "a", "known_speaker_references[]": media.data_url(media.tone(0.3))},
     "known_speaker_references", ()),
    ("a clip of 40 s",
     {"known_speaker_names[]": "a", "known_speaker_references[]": media.data_url(media.tone(40))},
     "known_speaker_references", ()),
]  # fmt: skip


@row("A2.2", "400 with its param: {}", TRANSCRIPTIONS, each=REFUSED)
def refusals(target: Target, given: tuple[str, dict[str, Any], str, tuple[str, ...]]) -> None:
    _, fields, param, says = given
    answer = transcribe(target.asr, fields)
    error = envelope(answer)
    assert answer.status_code == BAD, answer.text
    assert (error["param"] or "").startswith(param), error
    assert error["type"] == "invalid_request_error"
    for word in says:
        assert word in error["message"], error
    will_fail_again(answer)


@row("A2.2", "known speakers are read and, without diarization, not used", TRANSCRIPTIONS)
def known_speakers(target: Target) -> None:
    fields = {"known_speaker_names[]": ["agent", "customer"], "known_speaker_references[]": [CLIP, CLIP]}
    assert "speaker" not in ok(transcribe(target.asr, fields)).text


@row("A2.2", "languages[] chooses among its languages", TRANSCRIPTIONS)
def candidates(target: Target) -> None:
    wanted = {"languages[]": ["de", "fr"], "response_format": "verbose_json"}
    assert ok(transcribe(target.asr, wanted, audio=target.speech)).json()["language"] in {"german", "french"}
    wanted = {"languages[]": ["de"], "response_format": "verbose_json"}
    assert ok(transcribe(target.asr, wanted, audio=target.speech)).json()["language"] == "german"


@row("A2.2", "task=translate and translate=true answer as /v1/audio/translations does", TRANSCRIPTIONS)
def task(target: Target) -> None:
    for fields in ({"task": "translate"}, {"translate": "true"}):
        body = ok(transcribe(target.asr, {**fields, "response_format": "verbose_json"}, audio=target.speech)).json()
        assert body["task"] == "translate"


@row("A2.2", "logprobs: one per token, text and bytes agree", TRANSCRIPTIONS)
def logprobs(target: Target) -> None:
    body = ok(transcribe(target.asr, {"include[]": "logprobs"}, audio=target.speech)).json()
    assert body["logprobs"]
    for each in body["logprobs"]:
        assert {"token", "logprob", "bytes"} <= set(each)
        assert each["logprob"] <= 0
        assert all(type(value) is int and 0 <= value < 256 for value in each["bytes"])
    said = b"".join(bytes(each["bytes"]) for each in body["logprobs"]).decode("utf-8", "replace")
    assert said.split() == body["text"].split(), said
    assert "logprobs" not in ok(transcribe(target.asr)).json()
