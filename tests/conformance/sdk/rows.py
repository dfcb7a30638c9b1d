"""The rows of one version of OpenAI's Python SDK: `python rows.py TASK.json` prints a JSON line per row.

Runs in an environment that holds nothing but the SDK, so nothing of this project is imported.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import traceback
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI

try:  # SDK 3 brings an httpx of its own
    import httpx2 as httpx
except ImportError:
    import httpx  # type: ignore[no-redef]

TASK = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
FILES = {name: Path(path) for name, path in TASK["files"].items()}
MAJOR = int(openai.__version__.split(".")[0])
MODELS, TRANSCRIPTIONS, TRANSLATIONS, SPEECH = (
    "GET /v1/models", "POST /v1/audio/transcriptions", "POST /v1/audio/translations", "POST /v1/audio/speech",
)  # fmt: skip
VOICE_CALLS = ("POST /v1/audio/voices", "DELETE /v1/audio/voices/{id}")
CONSENTS = "/v1/audio/voice_consents"
CONSENT_CALLS = (f"POST {CONSENTS}", f"GET {CONSENTS}", f"DELETE {CONSENTS}/{{id}}")
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")


class LeftOut(Exception):
    """The row cannot be run here."""


class Sent:
    """Clients of a base URL, sync and async, that count their requests."""

    def __init__(self, url: str, key: str, **options: Any) -> None:
        self.count = 0
        self.ids: list[str] = []
        given = {"base_url": f"{url}/v1", "api_key": key, "timeout": 60, **options}
        self.sync = OpenAI(**given, http_client=httpx.Client(event_hooks={"request": [self._sent]}, timeout=60))
        self.given = given

    def _sent(self, request: Any) -> None:
        self.count += 1

    async def _sent_async(self, request: Any) -> None:
        self.count += 1

    def asynchronous(self) -> AsyncOpenAI:
        """Return an async client, for the event loop that runs now."""
        http = httpx.AsyncClient(event_hooks={"request": [self._sent_async]}, timeout=60)
        return AsyncOpenAI(**self.given, http_client=http)


def at(name: str, key: str | None = None, **options: Any) -> Sent:
    """Return clients of `asr`, `tts` or a special service."""
    if name in ("asr", "tts"):
        if not TASK[name]:
            raise LeftOut(f"no --{name} URL given")
        return Sent(TASK[name], key or TASK["key"], **options)
    if name not in TASK["special"]:
        raise LeftOut("needs services with special settings, which a given URL does not have")
    return Sent(TASK["special"][name], key or TASK["special_key"], **options)


def only_fake() -> None:
    """Leave the row out unless the engine fails on request."""
    if not TASK["fake"]:
        raise LeftOut("needs the fake engine")


ROWS: list[tuple[str, str, tuple[str, ...], Callable[..., None], tuple[Any, ...]]] = []


def row(section: str, title: str, *calls: str, each: tuple[Any, ...] = ()) -> Callable[[Any], Any]:
    """Make the function a row, or a row per value."""

    def add(function: Any) -> Any:
        if not each:
            ROWS.append((section, title, calls, function, ()))
        for value in each:
            shown = value[0] if isinstance(value, tuple) else value
            ROWS.append((section, title.format(shown), calls, function, (value,)))
        return function

    return add


def strict(value: Any) -> Any:
    """Check a model of the SDK against its own types, which the SDK itself never does."""
    plain = value.model_dump(mode="json", exclude_unset=True, warnings="error")
    type(value).model_validate(plain, strict=True)
    type(value).model_validate_json(json.dumps(plain), strict=True)
    return value


def transcribe(client: OpenAI, name: str = "speech.wav", **fields: Any) -> Any:
    with FILES[name].open("rb") as file:
        return client.audio.transcriptions.create(**{"file": file, "model": "whisper-1", **fields})


def in_loop(sent: Sent, ask: Callable[[AsyncOpenAI], Any]) -> Any:
    """Run one coroutine function with an async client."""

    async def run() -> Any:
        async with sent.asynchronous() as client:
            return await ask(client)

    return asyncio.run(run())


# --- models


@row("A1", "models.list", MODELS)
def models_list() -> None:
    for name in ("asr", "tts"):
        found = list(at(name).sync.models.list())
        assert found
        for model in found:
            strict(model)


@row("A1", "models.list, async", MODELS)
def models_list_async() -> None:
    async def ask(client: AsyncOpenAI) -> list[Any]:
        return [model async for model in client.models.list()]

    assert in_loop(at("asr"), ask)


@row("A1", "models.retrieve of an id and of an alias", MODELS)
def models_retrieve() -> None:
    for name, alias in (("asr", "whisper-1"), ("tts", "tts-1")):
        client = at(name).sync
        first = next(iter(client.models.list()))
        assert strict(client.models.retrieve(first.id)).id == first.id
        strict(client.models.retrieve(alias))


@row("A0", "models.retrieve of an id with / and :", MODELS)
def models_slashes() -> None:
    with refused(at("asr"), openai.NotFoundError, "model_not_found", "model", says="org/model:tag") as sent:
        sent.sync.models.retrieve("org/model:tag")


# --- transcriptions and translations


def check(found: Any, wanted: str) -> None:
    """An answer of the format, as the type the SDK promises."""
    if wanted in ("json", "verbose_json"):
        assert found.text, found
        kind = {"json": "Transcription", "verbose_json": "TranscriptionVerbose"}[wanted]
        assert type(found).__name__ in (kind, kind.replace("Transcription", "Translation")), type(found)
        strict(found)
    else:
        assert type(found) is str, type(found)
        assert {"text": '"' not in found, "srt": " --> " in found, "vtt": found.startswith("WEBVTT\n\n")}[wanted], found


@row("A2.3", "transcriptions.create as {}", TRANSCRIPTIONS, each=FORMATS)
def transcriptions(wanted: str) -> None:
    check(transcribe(at("asr").sync, response_format=wanted), wanted)


@row("A2.3", "transcriptions.create as {}, async", TRANSCRIPTIONS, each=FORMATS)
def transcriptions_async(wanted: str) -> None:
    async def ask(client: AsyncOpenAI) -> Any:
        return await client.audio.transcriptions.create(
            file=FILES["speech.wav"], model="whisper-1", response_format=wanted
        )

    check(in_loop(at("asr"), ask), wanted)


@row("A2.3", "segments, words and usage of verbose_json are typed", TRANSCRIPTIONS)
def verbose() -> None:
    found = transcribe(
        at("asr").sync, response_format="verbose_json", timestamp_granularities=["word", "segment"], language="en"
    )
    strict(found)
    assert type(found.duration) is float
    assert found.language == "english"
    assert [type(each).__name__ for each in found.segments] == ["TranscriptionSegment"] * len(found.segments)
    assert all(each.word and each.start <= each.end for each in found.words)
    assert found.usage.type == "duration"
    assert type(found.usage.seconds) is float


@row("A2.3", "usage of json is typed", TRANSCRIPTIONS)
def json_usage() -> None:
    found = transcribe(at("asr").sync)
    assert found.usage.type == "duration"
    if MAJOR >= 3:
        assert [each.code for each in found.languages] == ["en"]


@row("A2.2", "include=['logprobs']", TRANSCRIPTIONS)
def logprobs() -> None:
    found = strict(transcribe(at("asr").sync, include=["logprobs"]))
    assert found.logprobs
    assert all(each.token and each.logprob <= 0 and each.bytes for each in found.logprobs)


@row("A2.2", "every other parameter of create", TRANSCRIPTIONS)
def parameters() -> None:
    fields: dict[str, Any] = {
        "prompt": "Names: Ada.", "temperature": 0.2, "language": "en", "chunking_strategy": "auto",
        "timestamp_granularities": ["word"], "response_format": "json",
    }  # fmt: skip
    client = at("asr").sync
    strict(transcribe(client, **fields))
    vad = {"type": "server_vad", "threshold": 0.4, "prefix_padding_ms": 200, "silence_duration_ms": 250}
    strict(transcribe(client, chunking_strategy=vad))
    if MAJOR >= 3:
        strict(transcribe(client, languages=["en", "de"], keywords=["Kubernetes", "ComfyUI"]))


@row("A2.1", "files as bytes, BytesIO, path, tuple", TRANSCRIPTIONS)
def file_spellings() -> None:
    path = FILES["speech.wav"]
    content = path.read_bytes()
    named = io.BytesIO(content)
    for file in (content, io.BytesIO(content), path, ("a.mp3", content), ("x", named, "application/octet-stream")):
        assert at("asr").sync.audio.transcriptions.create(file=file, model="whisper-1").text


@row("A2.3", "no speech is an empty text", TRANSCRIPTIONS)
def silence() -> None:
    client = at("asr").sync
    assert strict(transcribe(client, "silence.wav")).text == ""
    assert strict(transcribe(client, "silence.wav", response_format="verbose_json")).segments == []


DIARIZED = {"response_format": "diarized_json", "model": "gpt-4o-transcribe-diarize", "chunking_strategy": "auto"}


def known_speaker() -> dict[str, Any]:
    """Who speaks in the file that is sent; SDK 1 has no parameters for it."""
    fields = {"known_speaker_names": ["Ada"], "known_speaker_references": [data_url("speech.wav")]}
    return fields if MAJOR >= 2 else {"extra_body": fields}


def only_diarizing() -> None:
    if not TASK["diarizes"]:
        raise LeftOut("no diarization model is installed")


def check_diarized(segments: list[dict[str, Any]]) -> None:
    assert segments
    for number, each in enumerate(segments, start=1):
        assert each["type"] == "transcript.text.segment"
        assert each["id"] == f"seg_{number:03d}"
        assert each["start"] <= each["end"]
        assert each["text"]
        assert isinstance(each["speaker"], str)


@row("A2.3", "transcriptions.create as diarized_json, with a known speaker", TRANSCRIPTIONS)
def diarized() -> None:
    only_diarizing()
    found = transcribe(at("asr").sync, **DIARIZED, **known_speaker())
    if MAJOR >= 2:
        assert type(strict(found)).__name__ == "TranscriptionDiarized"
        assert found.usage.type == "duration"
    body = found.model_dump(mode="json")
    check_diarized(body["segments"])
    assert "Ada" in {each["speaker"] for each in body["segments"]}
    assert "Ada: " in found.text


@row("A2.3", "diarized_json says why not, where no model tells who speaks", TRANSCRIPTIONS)
def not_diarized() -> None:
    with refused(at("asr-strict"), openai.BadRequestError, "unsupported_format", ...) as sent:
        transcribe(sent.sync, "sample.wav", **DIARIZED)


def data_url(name: str) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(FILES[name].read_bytes()).decode()}"


@row("A3", "translations.create as {}", TRANSLATIONS, each=FORMATS)
def translations(wanted: str) -> None:
    with FILES["speech.wav"].open("rb") as file:
        found = at("asr").sync.audio.translations.create(file=file, model="whisper-1", response_format=wanted)
    check(found, wanted)
    if wanted == "verbose_json":
        assert found.language == "english"


@row("A3", "translations.create, async", TRANSLATIONS)
def translations_async() -> None:
    async def ask(client: AsyncOpenAI) -> Any:
        return await client.audio.translations.create(file=FILES["speech.wav"], model="whisper-1")

    check(in_loop(at("asr"), ask), "json")


# --- streams


def check_events(events: list[Any]) -> None:
    """Typed events whose deltas are the text of the one done."""
    for event in events:
        strict(event)
    assert [event.type for event in events].count("transcript.text.done") == 1
    assert events[-1].type == "transcript.text.done"
    assert all(event.type == "transcript.text.delta" for event in events[:-1])
    assert "".join(event.delta for event in events[:-1]) == events[-1].text != ""
    usage = events[-1].model_dump()["usage"]
    assert usage["type"] == "tokens"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@row("A2.5", "stream=True with {}", TRANSCRIPTIONS, each=FORMATS)
def streams(wanted: str) -> None:
    check_events(list(transcribe(at("asr").sync, stream=True, response_format=wanted)))


@row("A2.5", "stream=True, async", TRANSCRIPTIONS)
def streams_async() -> None:
    async def ask(client: AsyncOpenAI) -> list[Any]:
        stream = await client.audio.transcriptions.create(file=FILES["speech.wav"], model="whisper-1", stream=True)
        return [event async for event in stream]

    check_events(in_loop(at("asr"), ask))


@row("A2.5", "logprobs in a stream", TRANSCRIPTIONS)
def stream_logprobs() -> None:
    events = list(transcribe(at("asr").sync, stream=True, include=["logprobs"]))
    check_events(events)
    assert events[-1].logprobs
    assert all(event.logprobs for event in events[:-1])


@row("A2.5", "done carries segments, which the SDK keeps as extras", TRANSCRIPTIONS)
def stream_segments() -> None:
    done = list(transcribe(at("asr").sync, stream=True))[-1]
    assert [each["id"] for each in done.model_extra["segments"]] == list(range(len(done.model_extra["segments"])))


@row("A2.5", "stream=True with diarized_json: each delta, then its segment", TRANSCRIPTIONS)
def stream_diarized() -> None:
    only_diarizing()
    events = list(transcribe(at("asr").sync, stream=True, **DIARIZED, **known_speaker()))
    if MAJOR >= 2:
        assert {type(strict(event)).__name__ for event in events} == {
            "TranscriptionTextDeltaEvent", "TranscriptionTextSegmentEvent", "TranscriptionTextDoneEvent",
        }  # fmt: skip
    *told, done = [event.model_dump(mode="json") for event in events]
    deltas, segments = told[::2], told[1::2]
    check_diarized(segments)
    assert [each["segment_id"] for each in deltas] == [each["id"] for each in segments]
    assert "".join(each["delta"] for each in deltas) == done["text"]
    assert "Ada" in {each["speaker"] for each in segments}


@row("A2.5", "a failure in the middle of a stream raises APIError", TRANSCRIPTIONS)
def stream_error() -> None:
    sent = at("asr-busy")
    try:
        list(transcribe(sent.sync, "long.wav", stream=True))
    except openai.APIError as error:
        assert not isinstance(error, openai.APIStatusError), type(error)
        assert error.code == "deadline_exceeded", error.code
        assert error.message
        return
    raise AssertionError("the stream ended as if it were whole")


@row("A2.5", "stream=True: what is wrong at once is a status error", TRANSCRIPTIONS)
def stream_refused() -> None:
    with refused(at("asr"), openai.BadRequestError, "invalid_value", "language") as sent:
        transcribe(sent.sync, stream=True, language="xx")


# --- speech


def speak(client: OpenAI, **fields: Any) -> Any:
    return client.audio.speech.create(**{"input": "Hello there, world.", "model": "tts-1", "voice": "alloy", **fields})


STARTS = {"mp3": b"\xff", "opus": b"OggS", "aac": b"\xff", "flac": b"fLaC", "wav": b"RIFF", "pcm": b""}


@row("A7.1", "speech.create as {}", SPEECH, each=tuple(STARTS))
def speech(wanted: str) -> None:
    found = speak(at("tts").sync, response_format=wanted)
    content = found.read()
    assert content.startswith(STARTS[wanted])
    assert len(content) > 500
    assert found.response.headers["content-type"].startswith("audio/")


@row("A7.1", "speech.create as {}, async", SPEECH, each=("mp3", "wav"))
def speech_async(wanted: str) -> None:
    async def ask(client: AsyncOpenAI) -> bytes:
        found = await client.audio.speech.create(input="Hello.", model="tts-1", voice="alloy", response_format=wanted)
        return bytes(await found.aread())

    assert in_loop(at("tts"), ask).startswith(STARTS[wanted])


@row("A7.1", "speech.with_streaming_response: wave opens what is written", SPEECH)
def speech_streamed() -> None:
    text = "The first sentence of three. The second one. And the third."
    create = at("tts").sync.audio.speech.with_streaming_response.create
    with create(input=text, model="tts-1", voice="alloy", response_format="wav") as found:
        content = b"".join(found.iter_bytes(1024))
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)


@row("A7", "speed, instructions, extra_body", SPEECH)
def speech_parameters() -> None:
    client = at("tts").sync
    usual = len(speak(client, response_format="pcm").read())
    fast = len(speak(client, response_format="pcm", speed=2.0).read())
    assert fast < 0.7 * usual
    speak(client, instructions="Speak like a pirate.", extra_body={"language": "en", "seed": 1})


@row("A7", "a voice as object", SPEECH)
def speech_voice_object() -> None:
    client = at("tts").sync
    voices = client.get("/audio/voices", cast_to=object)["voices"]  # type: ignore[index]
    speak(client, voice={"id": voices[0]["id"]})


@row("A7.2", "stream_format='sse' gives the bytes of the events", SPEECH)
def speech_events() -> None:
    create = at("tts").sync.audio.speech.with_streaming_response.create
    with create(input="Hello.", model="tts-1", voice="alloy", stream_format="sse") as found:
        types = [json.loads(line[6:])["type"] for line in found.iter_lines() if line.startswith("data: {")]
    assert types[-1] == "speech.audio.done"
    assert set(types[:-1]) == {"speech.audio.delta"}


# --- voices and consents


@row("A8", "voices.create, voices.delete, voice_consents.*", *VOICE_CALLS, *CONSENT_CALLS)
def voices() -> None:
    client = at("tts").sync
    if not hasattr(client.audio, "voices"):
        raise LeftOut(f"SDK {openai.__version__} has no voices")
    recording = ("a.wav", FILES["sample.wav"].read_bytes(), "audio/wav")
    consent = strict(client.audio.voice_consents.create(name="Ada", language="en-US", recording=recording))
    assert strict(client.audio.voice_consents.retrieve(consent.id)).name == "Ada"
    assert strict(client.audio.voice_consents.update(consent.id, name="Grace")).name == "Grace"
    page = client.audio.voice_consents.list(limit=1)
    assert consent.id in [each.id for each in page], "all pages"
    name = f"sdk-{MAJOR}-voice"
    voice = strict(client.audio.voices.create(audio_sample=recording, name=name, consent=consent.id))
    assert (voice.name, voice.type) == (name, "audio_sample")
    if TASK["fake"]:
        assert speak(client, voice={"id": voice.id}, response_format="wav").read().startswith(b"RIFF")
    with refused(at("tts"), openai.ConflictError, "already_exists", "name") as sent:
        sent.sync.audio.voices.create(audio_sample=recording, name=name, consent=consent.id)
    assert strict(client.audio.voices.delete(voice.id)).deleted
    with refused(at("tts"), openai.NotFoundError, "not_found") as sent:
        sent.sync.audio.voices.delete(voice.id)
    assert strict(client.audio.voice_consents.delete(consent.id)).deleted


# --- errors: class, code, param, message, and how often the SDK sent the request


@contextmanager
def refused(
    sent: Sent, kind: type[openai.APIStatusError], code: str, param: Any = None, *, says: str = "", requests: int = 1
) -> Iterator[Sent]:
    """What is inside must raise the class with code and param (... for any), after so many requests."""
    before = sent.count
    try:
        yield sent
    except openai.APIStatusError as error:
        assert type(error) is kind, (type(error), error)
        # For a format that does not exist the contract has two codes and prefers none.
        codes = (code, "unsupported_format") if param == "response_format" else (code,)
        assert error.code in codes, (error.code, str(error))
        assert param is ... or error.param == param, (error.param, str(error))
        assert says in error.message, error.message
        assert error.body["message"] in error.message, error.message
        assert error.request_id, "no x-request-id"
        assert sent.count - before == requests, f"{sent.count - before} requests were sent"
    else:
        raise AssertionError(f"no {kind.__name__}")


Failing = tuple[str, str, str, type[openai.APIStatusError], str, Any, dict[str, Any]]
FAILING: tuple[Failing, ...] = (
    ("an unknown format", "asr", "speech.wav", openai.BadRequestError, "invalid_value", "response_format",
     {"response_format": "exe"}),
    ("a temperature of 7", "asr", "speech.wav", openai.BadRequestError, "invalid_value", "temperature",
     {"temperature": 7}),
    ("an unknown language", "asr", "speech.wav", openai.BadRequestError, "invalid_value", "language",
     {"language": "klingon"}),
    ("an empty file", "asr", "empty.wav", openai.BadRequestError, "invalid_audio", "file", {}),
    ("a text for a file", "asr", "text.wav", openai.BadRequestError, "unsupported_format", "file", {}),
    ("an unknown model", "asr", "speech.wav", openai.NotFoundError, "model_not_found", "model", {"model": "nope"}),
    ("too large a file", "asr-strict", "large.wav", openai.APIStatusError, "file_too_large", ..., {}),
    ("a deadline that passed", "asr-busy", "long.wav", openai.InternalServerError, "deadline_exceeded", ..., {}),
)  # fmt: skip


@row("A0.1", "{}: class, code, param, one request", TRANSCRIPTIONS, each=FAILING)
def failing(case: Failing) -> None:
    _, service, name, kind, code, param, fields = case
    with refused(at(service), kind, code, param) as sent:
        transcribe(sent.sync, name, **fields)


@row("A0.1", "a wrong key: AuthenticationError, one request", TRANSCRIPTIONS, SPEECH)
def wrong_key() -> None:
    with refused(at("asr-strict", "wrong"), openai.AuthenticationError, "invalid_api_key") as sent:
        transcribe(sent.sync)
    with refused(at("tts-strict", "wrong"), openai.AuthenticationError, "invalid_api_key") as sent:
        speak(sent.sync)
    assert transcribe(at("asr-strict").sync, "short.wav").text


@row("A0.1", "403: PermissionDeniedError, one request", "POST /v1/audio/voices")
def permission() -> None:
    with refused(at("tts-open"), openai.PermissionDeniedError, "forbidden") as sent:
        sent.sync.post("/audio/voices", cast_to=object, body={"name": "x"})


@row("A0.1", "an unknown path: NotFoundError; a wrong method: APIStatusError", MODELS)
def no_such_path() -> None:
    with refused(at("asr"), openai.NotFoundError, "not_found") as sent:
        sent.sync.get("/nothing", cast_to=object)
    with refused(at("asr"), openai.APIStatusError, "method_not_allowed") as sent:
        sent.sync.get("/audio/transcriptions", cast_to=object)


@row("A0.1", "an unknown voice, a text that is too long: BadRequestError, one request", SPEECH)
def wrong_speech() -> None:
    with refused(at("tts"), openai.BadRequestError, "voice_not_found", "voice", says="there are") as sent:
        speak(sent.sync, voice="nobody")
    with refused(at("tts"), openai.BadRequestError, "string_above_max_length", "input") as sent:
        speak(sent.sync, input="word " * 40_000)
    with refused(at("tts"), openai.BadRequestError, "invalid_value", "response_format", says="mp3") as sent:
        speak(sent.sync, response_format="exe")


@row("A0.1", "an internal error: InternalServerError, sent three times", TRANSCRIPTIONS)
def internal() -> None:
    only_fake()
    with refused(at("asr"), openai.InternalServerError, "internal_error", requests=3) as sent:
        transcribe(sent.sync, "short.wav", prompt="fake:error")


@row("A0.1", "a crash of the engine is sent again, then refused for good", TRANSCRIPTIONS)
def crash() -> None:
    with refused(at("asr-fragile"), openai.BadRequestError, "unprocessable_audio", ..., requests=2) as sent:
        transcribe(sent.sync, "crash.wav", prompt="fake:crash")


@row("A0.1", "a model that loads: InternalServerError, sent again when asked to", TRANSCRIPTIONS)
def loading() -> None:
    with refused(at("asr-loading", max_retries=0), openai.InternalServerError, "model_loading") as sent:
        transcribe(sent.sync, "short.wav")


@row("A0.1", "a full queue: RateLimitError; with retries the SDK gets through", TRANSCRIPTIONS)
def full_queue() -> None:
    sent = at("asr-busy", max_retries=0)

    async def ask(client: AsyncOpenAI) -> list[Any]:
        create = client.audio.transcriptions.create
        # Equal requests would share one run; their prompts make them differ.
        numbers = range(TASK["too_many"])
        asked = (create(file=FILES["busy.wav"], model="whisper-1", prompt=f"number {each}") for each in numbers)
        return await asyncio.gather(*asked, return_exceptions=True)

    found = in_loop(sent, ask)
    full = [each for each in found if isinstance(each, openai.RateLimitError)]
    assert full, found
    assert all(each.code == "queue_full" and each.response.headers["retry-after"] for each in full)
    assert all(each.text for each in found if not isinstance(each, Exception))
    sent = at("asr-busy", max_retries=8)
    assert all(each.text for each in in_loop(sent, ask)), "every one of them with retries"


@row("A0", "x-request-id is request_id, on answers and raw responses", TRANSCRIPTIONS)
def request_id() -> None:
    client = at("asr").sync
    assert transcribe(client)._request_id
    with FILES["speech.wav"].open("rb") as file:
        raw = client.audio.transcriptions.with_raw_response.create(file=file, model="whisper-1")
    assert raw.headers["x-request-id"]
    assert raw.parse().text


def main() -> None:
    for section, title, calls, function, arguments in ROWS:
        outcome, detail = "passed", ""
        try:
            function(*arguments)
        except LeftOut as reason:
            outcome, detail = "left out", str(reason)
        except Exception as error:  # noqa: BLE001 - a failed row is a result, whatever failed
            frames = traceback.extract_tb(error.__traceback__)
            where = next(frame for frame in reversed(frames) if frame.filename == __file__)
            outcome = "failed"
            said = " ".join(str(error).split())[:500]
            detail = f"{type(error).__name__}: {said} [{where.name}:{where.lineno}: {where.line}]"
        line = {"section": section, "title": title, "calls": calls, "outcome": outcome, "detail": detail}
        print(json.dumps(line), flush=True)


main()
