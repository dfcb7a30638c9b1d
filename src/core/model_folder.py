"""Which engine a folder of weights belongs to, told by its files alone; nothing is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.model_entry import Task

_ENGLISH_ONLY_END = 50256
"""End-of-text token of English-only Whispers; the multilingual ones have the next number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFacts:
    """What the files of a model folder say: engine, task, languages (empty: not known), output rate in Hz."""

    engine: str
    task: Task
    languages: tuple[str, ...] = ()
    sample_rate: int | None = None
    translates: bool = False


def detect(folder: Path) -> FolderFacts | None:
    """Return what the folder holds, None when no engine of ours would open it."""
    for look in (_faster_whisper, _kokoro, _piper, _coqui, _speakers):
        if facts := look(folder):
            return facts
    return None


def _faster_whisper(folder: Path) -> FolderFacts | None:
    has_words = any(folder.glob("tokenizer.json")) or any(folder.glob("vocabulary.*"))
    if not (has_words and (folder / "model.bin").is_file() and (folder / "config.json").is_file()):
        return None
    # Every Whisper suppresses its end-of-text token at the beginning.
    begin = _json(folder / "config.json").get("suppress_ids_begin", [])
    english = isinstance(begin, list) and _ENGLISH_ONLY_END in begin
    return FolderFacts(
        engine="faster-whisper",
        task="automatic-speech-recognition",
        languages=("en",) if english else (),
        translates=not english,
    )


def _kokoro(folder: Path) -> FolderFacts | None:
    if (folder / "model.onnx").is_file() and any(folder.glob("voices/*.bin")):
        return FolderFacts(engine="kokoro", task="text-to-speech", sample_rate=24_000)
    return None


def _piper(folder: Path) -> FolderFacts | None:
    for model in sorted(folder.glob("*.onnx")):
        config = _json(model.with_name(f"{model.name}.json"))
        if "phoneme_id_map" in config:
            language = str(_inside(config, "espeak", "voice") or "").partition("-")[0]
            rate = _inside(config, "audio", "sample_rate")
            return FolderFacts(
                engine="piper",
                task="text-to-speech",
                languages=(language,) if language else (),
                sample_rate=rate if isinstance(rate, int) else None,
            )
    return None


def _coqui(folder: Path) -> FolderFacts | None:
    config = _json(folder / "config.json")
    # Of its many families: which of them can be spoken with is for the engine to say.
    if not (isinstance(config.get("model"), str) and isinstance(config.get("audio"), dict)):
        return None
    languages = config.get("languages")
    rate = _inside(config, "audio", "output_sample_rate") or _inside(config, "audio", "sample_rate")
    return FolderFacts(
        engine="coqui",
        task="text-to-speech",
        languages=tuple(str(code).partition("-")[0] for code in languages) if isinstance(languages, list) else (),
        sample_rate=rate if isinstance(rate, int) else None,
    )


def _speakers(folder: Path) -> FolderFacts | None:
    """Know a speaker encoder, alone or with the rest of community-1, in ONNX or ONNX Runtime's own format."""
    if not _network(folder, "embedding"):
        return None
    whole = _network(folder, "segmentation") and (folder / "plda_psi.bin").is_file()
    return FolderFacts(engine="community1" if whole else "fast", task="speaker-diarization")


def _network(folder: Path, name: str) -> bool:
    return any((folder / f"{name}.{kind}").is_file() for kind in ("onnx", "ort"))


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _inside(data: dict[str, Any], *keys: str) -> object:
    for key in keys:
        data = data.get(key, {}) if isinstance(data, dict) else {}
    return data or None
