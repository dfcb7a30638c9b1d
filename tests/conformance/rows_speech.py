"""A7 speech, A7.1 its containers, A7.2 its events."""

from __future__ import annotations

import base64
import io
import struct
import wave
from typing import Any

from tests.conformance import media
from tests.conformance.ask import SPEAK, speak
from tests.conformance.checks import envelope, events, ok, refused, will_fail_again
from tests.conformance.rows import SPEECH, Table
from tests.conformance.services import KEY
from tests.conformance.target import Target

table = Table()
row = table.row
TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg; codecs=opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm;rate=24000;channels=1;bits=16",
}
CODECS = {"mp3": "mp3float", "opus": "opus", "aac": "aac", "flac": "flac", "wav": "pcm_s16le"}
LONG = "This is the first sentence of a text. Here comes the second one! And is this the third? Yes, and the last."
OPENAI_VOICES = [
    "alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer", "verse", "marin", "cedar",
]  # fmt: skip


# --- A7 fields


@row("A7", "a form instead of JSON: {}", SPEECH, each=["urlencoded", "multipart"])
def forms(target: Target, kind: str) -> None:
    fields = {"input": "Hello.", "voice": "alloy", "speed": "1.0", "stream": "", "response_format": "wav"}
    if kind == "urlencoded":
        found = target.tts.post(SPEAK, data=fields)
    else:
        found = target.tts.post(SPEAK, files={name: (None, value) for name, value in fields.items()})
    assert ok(found).headers["content-type"] == "audio/wav"


@row("A7", "`text` is `input`", SPEECH)
def text_alias(target: Target) -> None:
    ok(target.tts.post(SPEAK, json={"text": "Hello."}))


@row("A7", "Accept: {} is no 406", SPEECH, each=["application/octet-stream", "*/*", "audio/mpeg", "application/json"])
def accept_header(target: Target, value: str) -> None:
    ok(target.tts.post(SPEAK, json={"input": "Hello."}, headers={"accept": value}))


@row("A7", "voice {}", SPEECH, each=OPENAI_VOICES)
def openai_voices(target: Target, voice: str) -> None:
    ok(speak(target.tts, "Hi.", voice=voice))


@row("A7", "a voice as object, by id, by name, none, or empty", SPEECH)
def voice_spellings(target: Target) -> None:
    known = ok(target.tts.get("/v1/audio/voices")).json()["voices"][0]
    for voice in ({"id": known["id"]}, known["id"], known["name"], None, ""):
        ok(speak(target.tts, "Hi.", voice=voice))


PATHS = ["../../etc/passwd", "..", "/etc/passwd", "a/b", "a\\b", "..\\x", "voice\x00", "x" * 5000, "%2e%2e%2f"]


@row("A7", "no voice is a path: {!r:.24}", SPEECH, each=PATHS)
def no_paths(target: Target, voice: str) -> None:
    answer = speak(target.tts, "Hi.", voice=voice)
    error = envelope(answer)
    assert (answer.status_code, error["param"]) == (400, "voice"), error
    assert error["code"] in {"voice_not_found", "invalid_value"}
    assert "root:" not in answer.text


@row("A7", "a mix of voices a(2)+b(1)", SPEECH)
def mixes(target: Target) -> None:
    first, second = [each["id"] for each in ok(target.tts.get("/v1/audio/voices")).json()["voices"]][:2]
    mixed = ok(speak(target.tts, voice=f"{first}(2)+{second}(1)", response_format="pcm", seed=1)).content
    assert mixed != ok(speak(target.tts, voice=first, response_format="pcm", seed=1)).content
    ok(speak(target.tts, voice=f"{first}+{second}"))
    for wrong in (f"{first}(2)+nobody(1)", f"{first}(x)+{second}", f"{first}++{second}"):
        answer = speak(target.tts, voice=wrong)
        assert (answer.status_code, envelope(answer)["param"]) == (400, "voice"), answer.text


@row("A7", "input of {} is 400", SPEECH, each=[("nothing", ""), ("blanks", " \n\t "), ("emphasis only", "** **")])
def empty_input(target: Target, given: tuple[str, str]) -> None:
    answer = speak(target.tts, given[1])
    assert (answer.status_code, envelope(answer)["param"]) == (400, "input"), answer.text
    will_fail_again(answer)


@row("A7", "TTS_MAX_INPUT=4096 refuses 4097 letters", SPEECH)
def strict_length(target: Target) -> None:
    strict, key = target.special("tts-strict"), {"api-key": KEY}
    answer = strict.post(SPEAK, json={"input": "a" * 4097}, headers=key)
    refused(answer, 400, "string_above_max_length", "input", says=("4096",))


@row("A7", "speed {} is as fast", SPEECH, each=[0.25, 0.5, 1, 2, 4.0])
def speeds(target: Target, speed: float) -> None:
    usual = media.heard(ok(speak(target.tts, LONG, response_format="wav", stream=False)).content).seconds
    found = media.heard(ok(speak(target.tts, LONG, response_format="wav", stream=False, speed=speed)).content).seconds
    assert abs(found * speed - usual) < 0.2 * usual, (found, usual)


@row("A7", "speed {} is 400", SPEECH, each=[0, 0.2, 4.1, -1, "fast"])
def wrong_speeds(target: Target, speed: Any) -> None:
    refused(speak(target.tts, speed=speed), 400, "invalid_value", "speed")


ACCEPTED: list[dict[str, Any]] = [
    {"instructions": "Speak cheerfully."}, {"stream": True}, {"language": "en"}, {"lang": "en-US"},
    {"lang_code": "en"}, {"seed": 7}, {"temperature": 0.7}, {"volume_multiplier": 0.5},
    {"pause_between_sentences_ms": 300}, {"normalize": True}, {"normalize": False},
    {"consent_confirmed": True}, {"consent_attestation": "I own this voice."}, {"timestamps": "none"},
]  # fmt: skip


@row("A7", "accepted: {}", SPEECH, each=ACCEPTED)
def accepted(target: Target, fields: dict[str, Any]) -> None:
    ok(speak(target.tts, **fields))


@row("A7", "stream=false has Content-Length, for {}", SPEECH, each=[*TYPES])
def complete(target: Target, wanted: str) -> None:
    found = ok(speak(target.tts, LONG, response_format=wanted, stream=False))
    assert int(found.headers["content-length"]) == len(found.content)
    assert "transfer-encoding" not in found.headers


@row("A7", "sample_rate={} is resampled", SPEECH, each=[8000, 16000, 44100, 48000])
def sample_rates(target: Target, rate: int) -> None:
    found = media.heard(ok(speak(target.tts, response_format="wav", sample_rate=rate, stream=False)).content)
    assert found.rate == rate
    raw = ok(speak(target.tts, response_format="pcm", sample_rate=rate))
    assert raw.headers["content-type"] == f"audio/pcm;rate={rate};channels=1;bits=16"
    assert abs(len(raw.content) / 2 / rate - found.seconds) < 0.05


@row("A7", "sample_rate={} is 400", SPEECH, each=[7999, 48001, "x"])
def wrong_rates(target: Target, rate: Any) -> None:
    refused(speak(target.tts, sample_rate=rate), 400, "invalid_value", "sample_rate")


@row("A7", "volume_multiplier and pause_between_sentences_ms do what they say", SPEECH)
def volume_and_pause(target: Target) -> None:
    def pcm(**fields: Any) -> bytes:
        return ok(speak(target.tts, LONG, response_format="pcm", seed=3, **fields)).content

    usual, quiet, slow = pcm(), pcm(volume_multiplier=0.5), pcm(pause_between_sentences_ms=1000)
    peaks = [max(abs(value) for value in struct.unpack(f"<{len(each) // 2}h", each)) for each in (usual, quiet)]
    assert abs(peaks[1] / peaks[0] - 0.5) < 0.05
    assert len(slow) - len(usual) > 2 * 48_000


@row("A7", "markdown, code and emoji are not spoken", SPEECH)
def cleaned(target: Target) -> None:
    target.fake()
    plain = ok(speak(target.tts, "Hello world.", response_format="pcm")).content
    marked = ok(speak(target.tts, "**Hello** _world_. \U0001f600", response_format="pcm")).content
    assert marked == plain


@row("A7", "speech.mp3 is an attachment", SPEECH)
def attachment(target: Target) -> None:
    for wanted in ("mp3", "wav"):
        found = ok(speak(target.tts, response_format=wanted)).headers["content-disposition"]
        assert found == f"attachment; filename=speech.{wanted}"


@row("A7", "a one-shot clone: reference_audio and reference_text, ref_audio and ref_text", SPEECH)
def one_shot(target: Target) -> None:
    target.fake()
    clip = media.data_url(media.tone(4))
    ok(speak(target.tts, reference_audio=clip, reference_text="A tone."))
    ok(speak(target.tts, ref_audio=clip, ref_text="A tone."))
    for wrong in ("nonsense", media.data_url(b"text" * 99), media.data_url(media.tone(1))):
        answer = speak(target.tts, reference_audio=wrong)
        assert (answer.status_code, envelope(answer)["param"]) == (400, "reference_audio"), answer.text


@row("A7", "VOICE_CLONING=false: 403 forbidden for reference_audio", SPEECH)
def no_cloning(target: Target) -> None:
    answer = speak(target.special("tts-open"), reference_audio=media.data_url(media.tone(4)))
    assert refused(answer, 403, "forbidden", envelope(answer)["param"])["type"] == "permission_error"


@row("A7", "a failure before the first byte is an envelope; after it the connection ends", SPEECH)
def failures(target: Target) -> None:
    tts = target.special("tts")
    answer = speak(tts, "fake:error")
    refused(answer, 500, "internal_error")
    cut = b""
    try:
        with tts.stream("POST", SPEAK, json={"input": f"{LONG} {LONG} fake:error.", "response_format": "pcm"}) as found:
            for part in found.iter_raw():
                cut += part
    except Exception as error:  # noqa: BLE001 - any of httpx's protocol errors
        assert b"error" not in cut
        assert "closed" in str(error) or "incomplete" in str(error), error
    else:
        raise AssertionError("the answer ended as if it were whole")


# --- A7.1 containers


@row("A7.1", "{}: its type, one stream that decodes, mono", SPEECH, each=[*TYPES])
def containers(target: Target, wanted: str) -> None:
    found = ok(speak(target.tts, LONG, response_format=wanted))
    assert found.headers["content-type"] == TYPES[wanted]
    if wanted == "pcm":
        return
    audio = media.heard(found.content)
    assert audio.channels == 1
    assert audio.codec in {CODECS[wanted], wanted}, audio
    pcm = ok(speak(target.tts, LONG, response_format="pcm")).content
    assert abs(audio.seconds - len(pcm) / 48_000) < 0.25, (audio, len(pcm) / 48_000)


@row("A7.1", "`ogg` is accepted as Ogg Opus", SPEECH)
def ogg(target: Target) -> None:
    assert ok(speak(target.tts, response_format="ogg")).content.startswith(b"OggS")


@row("A7.1", "mp3 is the default", SPEECH)
def default_container(target: Target) -> None:
    assert ok(speak(target.tts)).headers["content-type"] == "audio/mpeg"


@row("A7.1", "mp3 without ID3, Xing or Info, streamed or not", SPEECH)
def bare_mp3(target: Target) -> None:
    for stream in (True, False):
        content = ok(speak(target.tts, LONG, stream=stream)).content
        assert content[0] == 0xFF
        assert content[1] & 0xE0 == 0xE0
        for mark in (b"ID3", b"Xing", b"Info", b"LAME3", b"TAG"):
            assert mark not in content[:2000], mark
        assert content[-128:-125] != b"TAG"


def wav_chunks(content: bytes) -> list[tuple[bytes, int]]:
    """The chunks of a RIFF file, sizes as written."""
    assert content[:4] == b"RIFF"
    assert content[8:12] == b"WAVE"
    at, found = 12, []
    while at + 8 <= len(content):
        size = struct.unpack_from("<I", content, at + 4)[0]
        found.append((content[at : at + 4], size))
        at += 8 + size
    return found


@row("A7.1", "wav, complete: RIFF fmt data, true sizes, nothing else", SPEECH)
def whole_wav(target: Target) -> None:
    for text, fields in ((LONG, {"stream": False}), ("One sentence only.", {})):
        found = ok(speak(target.tts, text, response_format="wav", **fields))
        content = found.content
        assert int(found.headers["content-length"]) == len(content)
        assert struct.unpack_from("<I", content, 4)[0] == len(content) - 8
        assert wav_chunks(content) == [(b"fmt ", 16), (b"data", len(content) - 44)]
        with wave.open(io.BytesIO(content)) as file:
            assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
            assert len(file.readframes(file.getnframes())) == len(content) - 44


@row("A7.1", "wav, streamed: 0xFFFFFFFF in both sizes, and wave opens it", SPEECH)
def streamed_wav(target: Target) -> None:
    found = ok(speak(target.tts, LONG, response_format="wav"))
    assert "content-length" not in found.headers
    content = found.content
    assert content[36:40] == b"data"
    assert struct.unpack_from("<I", content, 4)[0] == struct.unpack_from("<I", content, 40)[0] == 0xFFFFFFFF
    with wave.open(io.BytesIO(content)) as file:
        assert len(file.readframes(10**7)) == len(content) - 44
    assert content.count(b"RIFF") == 1


@row("A7.1", "pcm is 24 kHz mono s16le: as long as the wav", SPEECH)
def pcm(target: Target) -> None:
    found = ok(speak(target.tts, LONG, response_format="pcm"))
    wav = media.heard(ok(speak(target.tts, LONG, response_format="wav", stream=False)).content)
    assert len(found.content) % 2 == 0
    assert abs(len(found.content) / 48_000 - wav.seconds) < 0.05


@row("A7.1", "flac, complete: its header knows the number of samples", SPEECH)
def whole_flac(target: Target) -> None:
    content = ok(speak(target.tts, LONG, response_format="flac", stream=False)).content
    assert content.startswith(b"fLaC")
    samples = int.from_bytes(content[21:26], "big") & ((1 << 36) - 1)
    audio = media.heard(content)
    assert samples == round(audio.seconds * audio.rate)


@row("A7.1", "opus is one logical stream", SPEECH)
def one_ogg(target: Target) -> None:
    content = ok(speak(target.tts, LONG, response_format="opus")).content
    assert content.count(b"OpusHead") == 1
    serials = set()
    at = 0
    while (at := content.find(b"OggS\x00", at)) >= 0:
        serials.add(content[at + 14 : at + 18])
        at += 4
    assert len(serials) == 1


@row("A7.1", "aac is ADTS", SPEECH)
def adts(target: Target) -> None:
    content = ok(speak(target.tts, response_format="aac")).content
    assert content[0] == 0xFF
    assert content[1] & 0xF6 == 0xF0


# --- A7.2 events


def spoken(target: Target, text: str = LONG, **fields: Any) -> list[dict[str, Any]]:
    return events(speak(target.tts, text, stream_format="sse", **fields))


@row("A7.2", "deltas are consecutive bytes of one {} stream", SPEECH, each=[*TYPES])
def sse(target: Target, wanted: str) -> None:
    found = spoken(target, response_format=wanted)
    assert {each["type"] for each in found[:-1]} == {"speech.audio.delta"}
    content = b"".join(base64.b64decode(each["audio"], validate=True) for each in found[:-1])
    direct = ok(speak(target.tts, LONG, response_format=wanted)).content
    if wanted == "pcm":
        assert abs(len(content) - len(direct)) < 4800
    else:
        assert abs(media.heard(content).seconds - media.heard(direct).seconds) < 0.1


@row("A7.2", "done has `usage` in tokens", SPEECH)
def sse_usage(target: Target) -> None:
    done = spoken(target)[-1]
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert all(type(usage[name]) is int for name in ("input_tokens", "output_tokens", "total_tokens"))
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


@row("A7.2", "timestamps=word: speech.word events, in order, in the audio", SPEECH)
def sse_words(target: Target) -> None:
    answer = speak(target.tts, LONG, stream_format="sse", timestamps="word", response_format="pcm")
    if answer.status_code == 400:
        refused(answer, 400, "unsupported_parameter", "timestamps")
        return
    found = events(answer)
    words = [each for each in found if each["type"] == "speech.word"]
    size = sum(len(base64.b64decode(each["audio"])) for each in found if each["type"] == "speech.audio.delta")
    check_words(words, size / 48_000)


@row("A7.2", "timestamps=word without a stream: audio, format, sample_rate, words", SPEECH)
def json_words(target: Target) -> None:
    answer = speak(target.tts, LONG, timestamps="word", response_format="wav", stream=False)
    if answer.status_code == 400:
        refused(answer, 400, "unsupported_parameter", "timestamps")
        return
    body = ok(answer).json()
    audio = media.heard(base64.b64decode(body["audio"], validate=True))
    assert (body["format"], body["sample_rate"]) == ("wav", audio.rate)
    check_words(body["words"], audio.seconds)


def check_words(words: list[dict[str, Any]], seconds: float) -> None:
    assert [each["word"].strip(".,!?").lower() for each in words] == [
        each.strip(".,!?").lower() for each in LONG.split()
    ]
    at = 0.0
    for each in words:
        assert at <= each["start"] + 0.001
        assert each["start"] <= each["end"] <= seconds + 0.05
        at = each["start"]


@row("A7.2", "errors before the first event are an envelope", SPEECH)
def sse_errors(target: Target) -> None:
    refused(speak(target.tts, stream_format="sse", voice="nobody"), 400, "voice_not_found", "voice")
    refused(speak(target.tts, stream_format="pigeon"), 400, "invalid_value", "stream_format", says=("audio", "sse"))


@row("A7.2", "a failure in the middle is an error frame", SPEECH)
def sse_failure(target: Target) -> None:
    found = speak(target.special("tts"), f"{LONG} {LONG} fake:error.", stream_format="sse", response_format="pcm")
    frame = ok(found).text.removesuffix("\n\n").split("\n\n")[-1]
    assert frame.startswith('event: error\ndata: {"type":"error","error":{'), frame
