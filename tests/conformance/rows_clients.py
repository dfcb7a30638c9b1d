"""What known programs send, recorded from their sources, and what they do with the answer."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import subprocess
import tempfile
import time
import wave
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pysrt
import pysubs2
import requests

from tests.conformance import media
from tests.conformance.ask import SPEAK, TRANSCRIBE
from tests.conformance.checks import ok
from tests.conformance.rows import MODELS, SPEECH, TRANSCRIPTIONS, VOICES, Client, Table
from tests.conformance.services import KEY
from tests.conformance.target import LeftOut, Target

table = Table()
row = table.row


def recorded(name: str, version: str = "") -> Client:
    return Client(name, version, "recorded shape")


BAZARR = recorded("Bazarr", "2025-05 and newer")
OPEN_WEBUI = recorded("Open WebUI", "0.12.4")
SUBTITLE_EDIT = recorded("Subtitle Edit", "5.1")
WYOMING = recorded("wyoming_openai")
LIBRECHAT = recorded("LibreChat")
N8N = recorded("n8n")
SPEAKR = recorded("Speakr")
TAVERN = recorded("SillyTavern")
HOME = recorded("Home Assistant")
ANYTHING = recorded("AnythingLLM")
CURL = Client("curl", "as installed", "real client")

# --- Bazarr: whisperai.py of its subtitle providers

ASR, DETECT = "POST /asr", "POST /detect-language"
TIMEOUT = (5, 3600)
FILM = 120_000_000


def bazarr(url: str, path: str, audio: bytes, **query: str) -> requests.Response:
    return requests.post(
        url.rstrip("/") + path,
        params={**query, "encode": "false"},
        files={"audio_file": ("audio_file", audio)},
        headers={"User-Agent": "Subliminal/2.2.1", "Accept": "*/*"},
        timeout=TIMEOUT,
    )


def subtitles(content: bytes) -> list[Any]:
    """Read an answer as Bazarr does: pysrt, then pysubs2; both must agree that it is SRT."""
    text = content.decode("utf-8")
    cues = list(pysrt.from_string(text, error_handling=pysrt.SubRipFile.ERROR_RAISE))
    assert len(pysubs2.SSAFile.from_string(text)) == len(cues)
    return cues


def film(target: Target) -> bytes:
    """Raw samples as Bazarr takes them out of a film: quiet at first, speech, quiet again."""
    return bytes(32_000 * 4) + target.samples + bytes(32_000 * 4)


@row("A6", "Bazarr: the language, then subtitles, at {}", DETECT, ASR, each=["/", "/bazarr"], client=BAZARR)
def bazarr_episode(target: Target, endpoint: str) -> None:
    url = target.asr_url + endpoint
    audio = film(target)
    found = bazarr(url, "/detect-language", audio).json()
    assert {"detected_language", "language_code"} <= set(found)
    answer = bazarr(url, "/asr", audio, task="transcribe", language=found["language_code"], output="srt")
    assert subtitles(answer.content)


@row("A6", "Bazarr: translation, and every whisper code", ASR, client=BAZARR)
def bazarr_languages(target: Target) -> None:
    assert subtitles(
        bazarr(target.asr_url, "/asr", film(target), task="translate", language="de", output="srt").content
    )
    for code in ("no", "nn", "jw", "haw", "ja", "zh"):
        answer = bazarr(target.asr_url, "/asr", film(target), task="transcribe", language=code, output="srt")
        assert subtitles(answer.content), answer.text


@row("A6", "Bazarr: with the name of the video", DETECT, ASR, client=BAZARR)
def bazarr_video_name(target: Target) -> None:
    name = {"video_file": "/media/films/A Film (1999)/film.mkv"}
    assert bazarr(target.asr_url, "/detect-language", film(target), **name).json()
    assert subtitles(bazarr(target.asr_url, "/asr", film(target), language="en", output="srt", **name).content)


@row("A6", "Bazarr: silence is {} and an empty body", DETECT, ASR, client=BAZARR)
def bazarr_silence(target: Target) -> None:
    quiet = bytes(32_000 * 30)
    assert bazarr(target.asr_url, "/detect-language", quiet).json() == {}
    assert bazarr(target.asr_url, "/asr", quiet, language="en", output="srt").content == b""


@row("A6", "Bazarr: a failure is text that is not JSON", DETECT, ASR, client=BAZARR)
def bazarr_failure(target: Target) -> None:
    for path in ("/asr", "/detect-language"):
        answer = bazarr(target.asr_url, path, b"")
        assert answer.status_code >= 400 or answer.content in {b"", b"{}"}
        if answer.status_code >= 400:
            assert answer.headers["content-type"].startswith("text/plain")
    answer = requests.post(target.asr_url + "/asr", params={"output": "srt"}, timeout=TIMEOUT)
    assert answer.headers["content-type"].startswith("text/plain")
    target.fake()
    crash = bazarr(target.asr_url, "/asr", media.s16(1, 77), initial_prompt="fake:error", output="srt")
    assert crash.status_code == 500
    assert crash.headers["content-type"].startswith("text/plain")


@row("A6", "Bazarr: four films of 120 MB at once while another runs: no connection fails", DETECT, ASR, client=BAZARR)
def bazarr_films(target: Target) -> None:
    target.fake()
    tones = media.s16(2, 251)
    films = [bytes([each, 0]) * 4 + tones + bytes(FILM - 8 - len(tones)) for each in range(2)]
    url = str(target.special("asr").base_url).rstrip("/")
    with ThreadPoolExecutor(5) as threads:
        running = threads.submit(bazarr, url, "/asr", films[0], language="en", output="srt")
        time.sleep(0.2)
        others = [threads.submit(bazarr, url, "/detect-language", films[1]) for _ in range(2)]
        others += [threads.submit(bazarr, url, "/asr", film, language="en", output="srt") for film in films]
        alive = requests.get(f"{url}/livez", timeout=TIMEOUT)
        assert alive.ok
        assert [each.result().json()["language_code"] for each in others[:2]] == ["en", "en"]
        for each in (running, *others[2:]):
            assert subtitles(each.result().content)


# --- Open WebUI


@row("A2.1", "Open WebUI: aiohttp upload in chunks, again without a language", TRANSCRIPTIONS, client=OPEN_WEBUI)
def webui_upload(target: Target) -> None:
    audio = target.speech

    async def parts() -> AsyncIterator[bytes]:
        for first in range(0, len(audio), 65_536):
            yield audio[first : first + 65_536]

    async def send(language: str | None) -> dict[str, Any]:
        form = aiohttp.FormData()
        form.add_field("model", "whisper-1")
        if language:
            form.add_field("language", language)
        form.add_field("file", parts(), filename="3f0e.webm", content_type="audio/webm")
        async with (
            aiohttp.ClientSession(trust_env=True) as session,
            session.post(target.asr_url + TRANSCRIBE, headers={"Authorization": "Bearer "}, data=form) as answer,
        ):
            return dict(await answer.json())

    assert asyncio.run(send(None))["text"]
    assert asyncio.run(send("en"))["text"]
    # It reads error.message of an object, and sends the request again without the language.
    assert asyncio.run(send("xx"))["error"]["message"]


@row("A2.1", "Open WebUI: JSON with input_audio", TRANSCRIPTIONS, client=OPEN_WEBUI)
def webui_json(target: Target) -> None:
    audio = {"data": base64.b64encode(target.speech).decode(), "format": "wav"}
    body = {"model": "whisper-1", "input_audio": audio, "language": "en"}
    answer = requests.post(target.asr_url + TRANSCRIBE, json=body, headers={"Authorization": "Bearer x"}, timeout=60)
    assert answer.json()["text"]


@row("A0", "Open WebUI: models and voices without the key", "GET /v1/audio/models", VOICES, client=OPEN_WEBUI)
def webui_listings(target: Target) -> None:
    url = str(target.special("tts-strict").base_url).rstrip("/") + "/v1"
    models = requests.get(f"{url}/audio/models", timeout=5).json().get("models")
    assert all(model["id"] for model in models)
    assert models
    voices = requests.get(f"{url}/audio/voices", timeout=5).json()["voices"]
    assert {voice["id"]: voice["name"] for voice in voices}
    assert requests.get(f"{url}/models", timeout=5).json()["data"]


@row("A7", "Open WebUI: speech with parameters of its own", SPEECH, client=OPEN_WEBUI)
def webui_speech(target: Target) -> None:
    body = {"input": "Hello there.", "voice": "alloy", "model": "tts-1", "speed": 1, "custom": {"x": 1}}
    headers = {"Authorization": "Bearer x", "X-OpenWebUI-User-Name": "Ada"}
    answer = requests.post(target.tts_url + SPEAK, json=body, headers=headers, timeout=60)
    assert answer.headers["Content-Type"] == "audio/mpeg"
    assert media.heard(answer.content).seconds > 0.3
    pcm = requests.post(target.tts_url + SPEAK, json={**body, "response_format": "pcm"}, timeout=60)
    assert "rate=24000" in pcm.headers["Content-Type"]
    assert "channels=1" in pcm.headers["Content-Type"]


# --- Subtitle Edit

SE_FORM = {"model": (None, "whisper-1"), "language": (None, "en")}


def subtitle_edit_events(text: str) -> list[tuple[str, str]]:
    """Read a stream as Subtitle Edit does: a `data:` line without an `event:` line before it is dropped."""
    found, event = [], ""
    for line in text.split("\n"):
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: ") and event:
            found.append((event, line.removeprefix("data: ")))
        elif not line:
            event = ""
    return found


@row("A2.5", "Subtitle Edit: event lines, times from done.segments", TRANSCRIPTIONS, client=SUBTITLE_EDIT)
def subtitle_edit_stream(target: Target) -> None:
    files = {**SE_FORM, "response_format": (None, "json"), "stream": (None, "true")}
    answer = ok(target.asr.post(TRANSCRIBE, files={**files, "file": ("audio.wav", target.speech, "audio/wav")}))
    found = subtitle_edit_events(answer.text)
    parts = [json.loads(data) for event, data in found if event == "transcript.text.delta"]
    done = [json.loads(data) for event, data in found if event == "transcript.text.done"]
    assert "".join(each["delta"] for each in parts) == done[0]["text"] != ""
    assert all(type(each.get("segment_id", 0)) is int for each in parts)
    assert [(each["start"], each["end"], each["text"]) for each in done[0]["segments"]]


@row("A2.3", "Subtitle Edit: verbose_json with both granularities, the file last", TRANSCRIPTIONS, client=SUBTITLE_EDIT)
def subtitle_edit(target: Target) -> None:
    parts: list[tuple[str, Any]] = [
        *SE_FORM.items(),
        ("response_format", (None, "verbose_json")),
        ("timestamp_granularities[]", (None, "word")),
        ("timestamp_granularities[]", (None, "segment")),
        ("file", ("audio.wav", target.speech, "audio/wav")),
    ]
    body = ok(target.asr.post(TRANSCRIBE, files=parts)).json()
    assert all(type(each["id"]) is int and each["text"] for each in body["segments"])
    assert all(each["word"] for each in body["words"])


@row("A7", "Subtitle Edit: speech with attestations", SPEECH, client=SUBTITLE_EDIT)
def subtitle_edit_speech(target: Target) -> None:
    body = {
        "input": "Hello.", "response_format": "wav", "voice": "alloy", "language": "en",
        "consent_attestation": "I am the speaker.", "marking_attestation": "Generated.",
    }  # fmt: skip
    with wave.open(io.BytesIO(ok(target.tts.post(SPEAK, json=body)).content)) as file:
        assert file.getnchannels() == 1


# --- wyoming_openai


@row("A7.1", "wyoming_openai: wave.open on the first chunk of a streamed wav", SPEECH, client=WYOMING)
def wyoming_speech(target: Target) -> None:
    text = "This is the first sentence. And this is the second one. Then the third."
    body = {"input": text, "model": "tts-1", "voice": "alloy", "response_format": "wav", "stream_format": "audio"}
    with target.tts.stream("POST", SPEAK, json=body) as answer:
        chunks = answer.iter_bytes(2048)
        with wave.open(io.BytesIO(next(chunks))) as file:
            assert (file.getsampwidth(), file.getnchannels()) == (2, 1)
            assert file.getframerate() >= 8000
        rest = b"".join(chunks)
    assert b"LIST" not in rest
    assert b"RIFF" not in rest


@row("A9", "wyoming_openai: /v1/readyz and /v1/test are 404, /health is no plain OK", "GET /health", client=WYOMING)
def wyoming_probes(target: Target) -> None:
    for client in (target.asr, target.tts):
        assert client.get("/v1/readyz").status_code == 404
        assert client.get("/v1/test").status_code == 404
        assert client.get("/health").text != "OK"


@row("A2.5", "wyoming_openai: the sum of the deltas is the text", TRANSCRIPTIONS, client=WYOMING)
def wyoming_stream(target: Target) -> None:
    fields = {"model": "whisper-1", "language": "en", "temperature": "0.0", "prompt": "", "stream": "true"}
    fields |= {"response_format": "json", "vad_filter": "false"}
    files = {"file": ("audio.wav", target.speech, "audio/wav")}
    answer = ok(target.asr.post(TRANSCRIBE, files=files, data=fields))
    found = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: {")]
    assert "".join(each["delta"] for each in found if each["type"] == "transcript.text.delta").strip()


@row("A1", "wyoming_openai: voices of a model in the listing", MODELS, client=WYOMING)
def wyoming_voices(target: Target) -> None:
    models = ok(target.tts.get("/v1/models")).json()["data"]
    names = [voice["name"] for model in models for voice in model.get("voices") or []]
    assert names
    ok(target.tts.post(SPEAK, json={"input": "Hi.", "voice": names[0]}))


# --- LibreChat, n8n, Speakr, SillyTavern, Home Assistant, AnythingLLM


@row("A7.1", "LibreChat: two mp3 answers as one file play for the sum of both", SPEECH, client=LIBRECHAT)
def librechat(target: Target) -> None:
    texts = ("The first answer of the two is this one here.", "And this is the second, which is a little longer.")
    parts = [ok(target.tts.post(SPEAK, json={"input": text, "backend": "openai"})).content for text in texts]
    seconds = [media.heard(part).seconds for part in parts]
    together = media.heard(b"".join(parts)).seconds
    assert abs(together - sum(seconds)) < 0.12, (seconds, together)


@row("A2.1", "LibreChat: file, model and a language of two letters", TRANSCRIPTIONS, client=LIBRECHAT)
def librechat_stt(target: Target) -> None:
    files = {"file": ("audio.webm", target.speech, "audio/webm"), "model": (None, "whisper-1")}
    assert ok(target.asr.post(TRANSCRIBE, files={**files, "language": (None, "en")})).json()["text"]


@row("A0.2", "n8n: always whisper-1", TRANSCRIPTIONS, client=N8N)
def n8n(target: Target) -> None:
    form: dict[str, Any] = {"model": (None, "whisper-1"), "file": ("data.mp3", target.speech, "audio/mpeg")}
    assert ok(target.asr.post(TRANSCRIBE, files=form)).json()["text"]
    form |= {"language": (None, "en"), "temperature": (None, "0")}
    assert ok(target.asr.post(TRANSCRIBE, files=form)).json()["text"]


@row("A6", "Speakr: /asr as JSON, errors shown as text", "POST /asr", client=SPEAKR)
def speakr(target: Target) -> None:
    query = {"encode": "true", "task": "transcribe", "language": "en", "word_timestamps": "true", "output": "json"}
    answer = target.asr.post("/asr", params=query, files={"audio_file": ("a.mp3", target.speech, "audio/mpeg")})
    body = ok(answer).json()
    assert body["language"] == "en"
    assert all({"text", "start", "end"} <= set(each) for each in body["segments"])
    query |= {"diarize": "true", "enable_diarization": "true", "max_speakers": "4", "return_speaker_embeddings": "true"}
    answer = target.asr.post("/asr", params=query, files={"audio_file": ("a.mp3", target.speech, "audio/mpeg")})
    assert answer.status_code == 400, "until speakers can be told apart"
    assert "diari" in answer.text


@row("A2.3", "Speakr: gpt-4o-transcribe-diarize and diarized_json say why not", TRANSCRIPTIONS, client=SPEAKR)
def speakr_diarized(target: Target) -> None:
    fields = {"model": "gpt-4o-transcribe-diarize", "chunking_strategy": "auto", "response_format": "diarized_json"}
    clip = media.data_url(media.tone(4))
    fields |= {"known_speaker_names[]": "Ada", "known_speaker_references[]": clip}
    answer = target.asr.post(TRANSCRIBE, files={"file": target.speech}, data=fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_format"


@row("A7", "SillyTavern: an empty bearer", SPEECH, client=TAVERN)
def sillytavern(target: Target) -> None:
    body = {"model": "tts-1", "input": "Hello.", "voice": "alloy", "response_format": "mp3", "speed": 1}
    answer = requests.post(target.tts_url + SPEAK, json=body, headers={"Authorization": "Bearer "}, timeout=60)
    assert answer.headers["content-type"] == "audio/mpeg", answer.text


SUBTAGS = ["en", "fil", "nb", "zh"]


@row("A0.3", "Home Assistant: the first subtag of a language, {}", TRANSCRIPTIONS, each=SUBTAGS, client=HOME)
def home_assistant(target: Target, language: str) -> None:
    form = {"model": (None, "gpt-4o-mini-transcribe"), "response_format": (None, "json"), "prompt": (None, "Lights.")}
    form |= {"language": (None, language)}
    answer = target.asr.post(TRANSCRIBE, files={**form, "file": ("a.wav", target.speech, "audio/wav")})
    assert isinstance(answer.json()["text"], str)


@row("A2.3", "Home Assistant openai_whisper_cloud: JSON whatever happens", TRANSCRIPTIONS, client=HOME)
def whisper_cloud(target: Target) -> None:
    data = {"model": "whisper-1", "language": "en", "temperature": "0", "prompt": "", "response_format": "json"}
    files = {"file": ("audio.wav", target.speech, "audio/wav")}
    url = target.asr_url + TRANSCRIBE
    assert requests.post(url, data=data, files=files, headers={"Authorization": "Bearer "}, timeout=60).json()["text"]
    assert requests.post(url, data={**data, "temperature": "x"}, files=files, timeout=60).json()["error"]


@row("A7", "Home Assistant openai_tts: extra JSON of the user", SPEECH, client=HOME)
def openai_tts(target: Target) -> None:
    body = {"model": "tts-1", "input": "The door is open.", "voice": "shimmer", "response_format": "mp3", "speed": 1.0}
    body |= {"instructions": "calm", "my_own": 1}
    assert ok(target.tts.post(SPEAK, json=body)).headers["content-type"] == "audio/mpeg"


@row("A8", "AnythingLLM: voices as strings or objects; whisper-1, tts-1", VOICES, SPEECH, client=ANYTHING)
def anything(target: Target) -> None:
    voices = ok(target.tts.get("/v1/audio/voices")).json()["voices"]
    assert [each if isinstance(each, str) else each["name"] for each in voices]
    ok(target.tts.post(SPEAK, json={"input": "Hi.", "model": "tts-1", "voice": "alloy"}))
    ok(target.asr.post(TRANSCRIBE, files={"file": target.speech}, data={"model": "whisper-1", "temperature": "0"}))


# --- curl


def curl(*arguments: str) -> str:
    program = shutil.which("curl")
    if program is None:
        raise LeftOut("not installed: curl")
    command = [program, "--silent", "--show-error", "--max-time", "60", *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "replace")


@row("A2.1", "curl -F file=@, --data-binary, and an error it can show", TRANSCRIPTIONS, client=CURL)
def curl_transcribes(target: Target) -> None:
    url = target.asr_url + TRANSCRIBE
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        path.write_bytes(target.speech)
        text = json.loads(curl("-F", f"file=@{path}", url))["text"]
        assert text
        assert curl("-F", f"file=@{path}", "-F", "response_format=text", url) == text + "\n"
        by_type = curl("--data-binary", f"@{path}", "-H", "content-type: audio/wav", f"{url}?response_format=text")
        assert by_type == text + "\n"
        assert json.loads(curl("-F", f"file=@{path}", "-F", "language=xx", url))["error"]["param"] == "language"
        assert "transcript.text.done" in curl("-N", "-F", f"file=@{path}", "-F", "stream=true", url)
        assert json.loads(curl("-F", f"file=@{path}", "-F", "language=", "-F", "temperature=", url))["text"] == text


@row("A7", "curl writes an mp3 and reads the events", SPEECH, client=CURL)
def curl_speaks(target: Target) -> None:
    url = target.tts_url + SPEAK
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.mp3"
        curl("-d", '{"input": "Hello."}', "-H", "content-type: application/json", "-o", str(path), url)
        assert media.heard(path.read_bytes()).seconds > 0.1
        curl("-d", "input=Hello.", "-d", "response_format=wav", "-o", str(path), url)
        assert media.heard(path.read_bytes()).codec == "pcm_s16le"


@row("A0.1", "curl: a key, a wrong key", TRANSCRIPTIONS, client=CURL)
def curl_keys(target: Target) -> None:
    url = str(target.special("asr-strict").base_url).rstrip("/") + TRANSCRIBE
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        path.write_bytes(media.tone())
        assert json.loads(curl("-F", f"file=@{path}", "-H", f"Authorization: Bearer {KEY}", url))["text"]
        assert json.loads(curl("-F", f"file=@{path}", url))["error"]["code"] == "invalid_api_key"
