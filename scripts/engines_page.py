"""The tables of docs/engines.md, made from the engines' classes and the reference results of `make engines`.

A table stands between `<!-- table NAME … -->` and `<!-- end of table -->`; the text around it is written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from settings_page import table

from asr import engine_factory as asr_engines
from asr.diarization import engine_factory as diarizers
from asr.diarization.engine import DiarizationEngine, SpeakerEncoder
from core.engines import Engine
from tts import engine_factory as tts_engines
from tts.engine import TtsEngine

RESULT = Path(__file__).resolve().parent.parent / "bench" / "results" / "reference" / "engines.json"
BLOCK = re.compile(r"(<!-- table (\w+)[^>]*-->\n).*?(<!-- end of table -->)", re.DOTALL)
HIDDEN = {"fake-windows"}
"""Engines that only our own tests use."""
FROM_FILE = "where the model file has durations"


class Told(NamedTuple):
    """What a class does not say of its engine."""

    models: str
    voices: str = "those of the model"
    languages: str = "those of the model"
    cloning: str = ""
    times: str = ""


ASR: Mapping[str, Told] = {
    "faster-whisper": Told("any Whisper in CTranslate2's format"),
    "whisper": Told("any checkpoint of openai-whisper (`.pt`)"),
    "crispasr": Told("any ggml or GGUF model of the library's architectures"),
    "sherpa-onnx": Told("its offline and streaming families, as ONNX"),
    "whisper-server": Told("that of a running whisper.cpp server"),
    "openai": Told("those of any OpenAI-compatible server"),
    "fake": Told("none: fixed text, for tests"),
}
DIARIZATION: Mapping[str, str] = {
    "community1": "pyannote's community-1: `diarization-community1`",
    "fast": "WeSpeaker's encoder: `wespeaker-resnet34-lm`",
    "ge2e": "Resemblyzer's encoder: `ge2e`",
    "channels": "none",
    "pyannote": "pipelines of pyannote.audio 4",
    "sherpa-onnx": "ONNX files of your own",
    "fake-diarizer": "none: turns by the clock, for tests",
}
TTS: Mapping[str, Told] = {
    "kokoro": Told(
        "Kokoro-82M v1.0 (ONNX)",
        "up to 54",
        "en, es, fr, hi, it, ja (kanji: extra `kokoro-ja`), pt, zh (extra `kokoro-zh`)",
        times=FROM_FILE,
    ),
    "piper": Told("any Piper voice", times=FROM_FILE),
    "coqui": Told(
        "XTTS-v2, VITS, Tortoise, Coqui's older families",
        "those of the model",
        "those of the model",
        cloning="by family",
    ),
    "sherpa-onnx": Told(
        "VITS/Piper, Kokoro, Matcha, MeloTTS, Kitten, Supertonic, ZipVoice, Pocket", cloning="ZipVoice, Pocket"
    ),
    "crispasr": Told("GGUF models of the library's architectures that speak", cloning="by architecture"),
    "elevenlabs": Told("those of ElevenLabs, in the cloud", "those of the account", "those of the model"),
    "openai": Told("those of any OpenAI-compatible server", "those of the server", "those of the server"),
    "fake": Told("none: a tone, for tests", "four", "en, es"),
}
WEIGHTS = {"none": "no weights needed"}


def pages(page: str) -> str:
    """Return the page with its tables made anew. ValueError for a table that nobody makes, or that is missing."""
    found = {name for _, name, _ in BLOCK.findall(page)}
    if found != set(TABLES):
        raise ValueError(f"the page has the tables {sorted(found)}, not {sorted(TABLES)}")
    return BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block[2]]()}\n\n{block[3]}", page)


def _asr() -> str:
    head = ("engine", "models", "token log-probabilities", "install", "library's licence")
    registry = asr_engines.registry()
    rows = []
    for name in _names(asr_engines.TABLE):
        engine = registry.get(name)
        models = ASR[name].models if name in ASR else _first_line(engine)
        rows.append((f"`{name}`", models, _yes(engine.gives_logprobs), _install(engine), engine.licence))
    return table(head, rows)


def _tts() -> str:
    head = (
        *("engine", "models", "voices", "languages", "speed by itself", "cloning", "mixes", "word times", "install"),
        "library's licence",
    )
    registry = tts_engines.registry()
    return table(head, [_tts_row(name, registry.get(name)) for name in _names(tts_engines.TABLE)])


def _tts_row(name: str, engine: type[TtsEngine]) -> tuple[str, ...]:
    told = TTS.get(name) or Told(_first_line(engine))
    low, high = engine.speed_range
    # The fake engine's is an option, and `times_words` of others is known once a model is loaded.
    times = told.times or _yes(engine.times_words or name == "fake")
    return (
        f"`{name}`",
        told.models,
        told.voices,
        told.languages,
        f"{low:g} to {high:g}",
        told.cloning or _yes(engine.can_clone),
        _yes(engine.can_mix),
        times,
        _install(engine),
        engine.licence,
    )


def _diarization() -> str:
    head = (
        *("engine", "models", "how many speakers", "overlapping speech", "vectors of voices", "streaming", "install"),
        "licence",
    )
    registry = diarizers.registry()
    return table(head, [_diarization_row(name, registry.get(name)) for name in _names(diarizers.TABLE)])


def _diarization_row(name: str, engine: type[DiarizationEngine]) -> tuple[str, ...]:
    can = engine.capabilities
    count = "one for each channel" if can.by_channel else "any, can be told" if can.hints else "any"
    licence = f"{engine.licence} (weights)" if engine.licence.startswith("CC-") else engine.licence
    return (
        f"`{name}`",
        DIARIZATION.get(name) or _first_line(engine),
        count,
        _yes(can.overlap),
        _yes(issubclass(engine, SpeakerEncoder)),
        _yes(can.streaming),
        _install(engine),
        licence,
    )


def _measured(path: Path = RESULT) -> str:
    if not path.is_file():
        return "No results have been published yet."
    result = json.loads(path.read_text(encoding="utf-8"))
    head = ("", "engine", "tested with", "tests", "words wrong", "real-time factor", "memory", "library")
    rows = [
        (
            row["kind"],
            f"`{row['engine']}`",
            _tested_with(row),
            row["tests"],
            _number(row["WER %"], " %"),
            _number(row["RTF"], ""),
            _number(row["RSS MB"], " MB"),
            row["library"],
        )
        for row in result["tables"]["engines"]
    ]
    machine, settings = result["machine"], result["settings"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {settings['threads']} threads, Python {machine['python']}"
    when = f"Measured with `make engines` on {result['measured_at'][:10]} on {where}."
    return f"{table(head, rows)}\n\n{when}"


def _tested_with(row: Mapping[str, Any]) -> str:
    weights = WEIGHTS.get(row["tested with"], row["tested with"])
    told = " ".join(part for part in (f"`{row['model']}`" if row["model"] else "", row["note"]) if part)
    return f"{weights}: {told}" if told else str(weights)


def _number(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:g}{unit}"


def _names(names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in HIDDEN]


def _first_line(engine: type[Engine]) -> str:
    return (engine.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _install(engine: type[Engine]) -> str:
    return f"extra `{engine.extra}`" if engine.extra else "base install"


def _yes(can: bool) -> str:
    return "yes" if can else "no"


TABLES: Mapping[str, Callable[[], str]] = {
    "asr": _asr,
    "tts": _tts,
    "diarization": _diarization,
    "measured": _measured,
}
