"""A0.2 model names, A0.3 languages, A1 the listings of models."""

from __future__ import annotations

from typing import Any

from tests.conformance import media
from tests.conformance.ask import SPEAK, TRANSCRIBE, speak, transcribe
from tests.conformance.checks import ok, refused
from tests.conformance.rows import MODELS, SPEECH, TRANSCRIPTIONS, Table
from tests.conformance.services import KEY
from tests.conformance.target import Target

table = Table()
row = table.row

ASR_NAMES = [
    "whisper-1", "gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper", "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe", "gpt-4o-mini-transcribe-2025-12-15", "gpt-4o-transcribe-diarize",
]  # fmt: skip
TTS_NAMES = ["tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"]
ASR, DIARIZATION, TTS = "automatic-speech-recognition", "speaker-diarization", "text-to-speech"
BASE = ["base", "openai/whisper-base", "Systran/faster-whisper-base", "whisper-base"]


@row("A0.2", "{} means the default model", TRANSCRIPTIONS, MODELS, each=ASR_NAMES)
def asr_aliases(target: Target, name: str) -> None:
    ok(transcribe(target.asr, {"model": name}))
    assert ok(target.asr.get(f"/v1/models/{name}")).json()["object"] == "model"


@row("A0.2", "{} means the default model", SPEECH, MODELS, each=TTS_NAMES)
def tts_aliases(target: Target, name: str) -> None:
    ok(speak(target.tts, model=name))
    assert ok(target.tts.get(f"/v1/models/{name}")).json()["object"] == "model"


@row("A0.2", "{} names Whisper base, installed or known", MODELS, each=BASE)
def whisper_base(target: Target, name: str) -> None:
    answer = target.asr.get(f"/v1/models/{name}")
    if answer.status_code == 404:
        refused(answer, 404, "model_not_found", "model", says=("voice-stack models pull whisper-base",))
    else:
        assert ok(answer).json()["id"] in {"whisper-base", name}


@row("A0.2", "{} names a TTS model, installed or known, or the default", MODELS, each=["kokoro", "xtts_v2"])
def tts_known(target: Target, name: str) -> None:
    answer = target.tts.get(f"/v1/models/{name}")
    if answer.status_code == 404:
        refused(answer, 404, "model_not_found", "model", says=("voice-stack models pull",))
    else:
        assert ok(answer).json()["object"] == "model"


@row("A0.2", "no model, or an empty one, is the default", TRANSCRIPTIONS, SPEECH)
def no_model(target: Target) -> None:
    ok(transcribe(target.asr))
    ok(transcribe(target.asr, {"model": ""}))
    ok(speak(target.tts))
    ok(speak(target.tts, model=""))


@row("A0.2", "MODEL_FALLBACK=true takes the default for an unknown name", TRANSCRIPTIONS)
def fallback(target: Target) -> None:
    strict = target.special("asr-strict")
    answer = strict.post(TRANSCRIBE, files={"file": media.tone()}, data={"model": "whatever"}, headers={"api-key": KEY})
    ok(answer)


LANGUAGES = [
    ("de", "german"), ("DE", "german"), ("de-AT", "german"), ("ger", "german"), ("deu", "german"),
    ("german", "german"), ("German", "german"), ("pt-BR", "portuguese"), ("pt_BR", "portuguese"), ("eng", "english"),
    ("fre", "french"), ("fra", "french"), ("zh-Hant", "chinese"), ("zh-CN", "chinese"), ("cmn", "chinese"),
    ("yue", "chinese"),
]  # fmt: skip


@row("A0.3", "language={} is understood", TRANSCRIPTIONS, each=LANGUAGES)
def languages(target: Target, given: tuple[str, str]) -> None:
    body = ok(transcribe(target.asr, {"language": given[0], "response_format": "verbose_json"}, audio=target.speech))
    names = {given[1], "cantonese"} if given[0] == "yue" else {given[1]}
    assert body.json()["language"] in names, body.json()["language"]


@row("A0.3", "language={} detects", TRANSCRIPTIONS, each=["auto", "und", "null", "", "AUTO"])
def detects(target: Target, value: str) -> None:
    body = ok(transcribe(target.asr, {"language": value, "response_format": "verbose_json"}, audio=target.speech))
    assert body.json()["language"] == "english"


@row("A0.3", "an unknown language is refused with its param: {}", TRANSCRIPTIONS, each=["klingon", "xx", "e", "en;de"])
def unknown_language(target: Target, value: str) -> None:
    error = transcribe(target.asr, {"language": value})
    refused(error, 400, "invalid_value", "language")
    refused(target.tts.post(SPEAK, json={"input": "a", "language": value}), 400, "invalid_value", "language")


def check_model(model: dict[str, Any]) -> None:
    """A Model as every SDK reads it."""
    assert model["object"] == "model"
    assert isinstance(model["id"], str)
    assert isinstance(model["owned_by"], str)
    assert type(model["created"]) is int
    assert 0 <= model["created"] < 5_000_000_000, "seconds, not milliseconds"


@row("A1", "GET /v1/models of the {} service", MODELS, each=["asr", "tts"])
def listing(target: Target, which: str) -> None:
    body = ok((target.asr if which == "asr" else target.tts).get("/v1/models")).json()
    assert body["object"] == "list"
    assert body["data"]
    for model in body["data"]:
        check_model(model)


@row("A1", "GET /v1/models?task=", MODELS)
def by_task(target: Target) -> None:
    for client, task in ((target.asr, ASR), (target.tts, TTS)):
        every = ok(client.get("/v1/models")).json()["data"]
        found = ok(client.get("/v1/models", params={"task": task})).json()["data"]
        assert [each["id"] for each in found] == [each["id"] for each in every if each["task"] == task]
        assert found
    assert ok(target.asr.get("/v1/models", params={"task": TTS})).json()["data"] == []
    diarizing = ok(target.asr.get("/v1/models", params={"task": DIARIZATION})).json()["data"]
    assert all(each["task"] == DIARIZATION for each in diarizing)
    told = ok(target.asr.get("/v1/capabilities")).json()["diarization"]["models"]
    assert [each["id"] for each in diarizing] == [each["id"] for each in told]


@row("A1", "GET /v1/models/{id}: each of the list, by any spelling of its id", MODELS)
def retrieving(target: Target) -> None:
    for client in (target.asr, target.tts):
        for model in ok(client.get("/v1/models")).json()["data"]:
            found = ok(client.get(f"/v1/models/{model['id']}")).json()
            check_model(found)
            assert found["id"] == model["id"]
            encoded = model["id"].replace("/", "%2F").replace(":", "%3A")
            assert ok(client.get(f"/v1/models/{encoded}")).json()["id"] == model["id"]


@row("A1", "GET /v1/audio/models has `models`", "GET /v1/audio/models")
def audio_models(target: Target) -> None:
    for client in (target.asr, target.tts):
        body = ok(client.get("/v1/audio/models")).json()
        assert body["object"] == "list"
        assert [model["id"] for model in body["models"]]
        for model in body["models"]:
            check_model(model)


@row("A1", "a model tells its task, languages, aliases and whether it is loaded", MODELS)
def extras(target: Target) -> None:
    for client, tasks in ((target.asr, {ASR, DIARIZATION}), (target.tts, {TTS})):
        for model in ok(client.get("/v1/models")).json()["data"]:
            assert model["task"] in tasks
            assert isinstance(model["loaded"], bool)
            assert all(isinstance(each, str) for each in [*model["language"], *model["aliases"]])


@row("A1", "a TTS model tells its voices and its sample rate", MODELS)
def model_voices(target: Target) -> None:
    loaded = [model for model in ok(target.tts.get("/v1/models")).json()["data"] if model.get("voices")]
    assert loaded
    for model in loaded:
        assert type(model["sample_rate"]) is int
        for voice in model["voices"]:
            assert {"name", "id", "language"} <= set(voice), voice


@row("A1", "an unknown model is 404", MODELS)
def unknown(target: Target) -> None:
    for client in (target.asr, target.tts):
        refused(client.get("/v1/models/no-such-model"), 404, "model_not_found", "model")
