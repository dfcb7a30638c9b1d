"""Which engine a folder or a file of weights belongs to, told by the files alone; nothing is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core import gguf, sherpa, whisper_checkpoint
from core.model_entry import Task

_ENGLISH_ONLY_END = 50256
"""End-of-text token of English-only Whispers; the multilingual ones have the next number."""
# Beginnings of architectures in GGUF files, and parts of their names, that CrispASR opens.
_COMPANIONS = ("snac", "s3gen", "codec", "tokenizer", "vocoder", "-voice", "vad", "lid", "punc")
_SPEAKS = (
    *("bark", "chatterbox", "csm", "dia", "kokoro", "kugelaudio", "omnivoice", "orpheus", "outetts", "parler"),
    *("piper", "speecht5", "supertonic", "zonos"),
)
_LISTENS = (
    *("canary", "cohere", "data2vec", "dolphin", "fastconformer", "firered", "funasr", "gigaam", "glm-asr"),
    *("granite", "hubert", "kyutai", "mimo", "moonshine", "nemotron", "omniasr", "parakeet", "paraformer"),
    *("qwen3-asr", "sensevoice", "vibevoice", "voxtral", "wav2vec2", "whisper"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFacts:
    """What the files of a model folder say: engine, task, languages (empty: not known), output rate in Hz."""

    engine: str
    task: Task
    languages: tuple[str, ...] = ()
    sample_rate: int | None = None
    translates: bool = False


def detect(path: Path) -> FolderFacts | None:
    """Return what the folder, or the single file, holds; None when no engine of ours would open it."""
    if path.is_file():
        return _file(path)
    for look in (_faster_whisper, _kokoro, _piper, _coqui, _sherpa, _speakers, _single_file):
        if facts := look(path):
            return facts
    return None


def weights_file(path: Path) -> Path | None:
    """Return the file of a folder that is the model, where one alone is; a file is returned as it is.

    Meant are checkpoints of openai-whisper and ggml or GGUF files; companions, such as a codec, are passed over.
    """
    if path.is_file():
        return path
    files = [file for kind in ("*.pt", "*.gguf", "ggml*.bin") for file in path.glob(kind)]
    found = [file for file in sorted(files) if file.is_file() and _file(file)]
    return found[0] if len(found) == 1 else None


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


def _sherpa(folder: Path) -> FolderFacts | None:
    model = sherpa.find(folder)
    if model is None:
        return None
    if model.kind == "tts":
        rate = model.fact("sample_rate")
        return FolderFacts(engine="sherpa-onnx", task="text-to-speech", sample_rate=rate or None)
    if not {"tokens", "tokenizer"} & set(model.files):
        return None
    if model.family == "whisper":
        return _whisper("sherpa-onnx", english=not model.fact("is_multilingual", 1))
    translates = model.family == "nemo_canary"
    return FolderFacts(engine="sherpa-onnx", task="automatic-speech-recognition", translates=translates)


def _single_file(folder: Path) -> FolderFacts | None:
    found = weights_file(folder)
    return _file(found) if found else None


def _file(path: Path) -> FolderFacts | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _read(path: Path, changed: int, size: int) -> FolderFacts | None:
    """Return what a file holds; those of some writers have a header of megabytes before what is looked for."""
    del changed, size  # with them it is read again where it was replaced
    if path.suffix == ".pt":
        words = whisper_checkpoint.whisper_words(path)
        return _whisper("whisper", english=words == whisper_checkpoint.ENGLISH_ONLY_WORDS) if words else None
    if path.suffix == ".bin":
        words = gguf.whisper_words(path)
        return _whisper("crispasr", english=words == whisper_checkpoint.ENGLISH_ONLY_WORDS) if words else None
    if path.suffix == ".gguf" and (name := gguf.architecture(path)):
        return _crispasr(path, name.lower().replace("_", "-"))
    return None


def _whisper(engine: str, *, english: bool) -> FolderFacts:
    return FolderFacts(
        engine=engine,
        task="automatic-speech-recognition",
        languages=("en",) if english else (),
        translates=not english,
    )


def _crispasr(path: Path, architecture: str) -> FolderFacts | None:
    if any(part in architecture for part in _COMPANIONS):
        return None
    if architecture.startswith("piper") and (voice := gguf.piper_voice(path)):
        return FolderFacts(engine="crispasr", task="text-to-speech", languages=voice[:1], sample_rate=voice[1])
    # VibeVoice has one architecture for both tasks.
    speaks = "tts" in architecture or architecture.startswith(_SPEAKS)
    if speaks or (architecture.startswith("vibevoice") and "asr" not in path.stem.lower()):
        return FolderFacts(engine="crispasr", task="text-to-speech")
    if architecture == "whisper":
        return _whisper("crispasr", english=".en" in path.stem)
    if architecture.startswith(_LISTENS) or {"asr", "stt", "ctc"} & set(architecture.split("-")):
        task: Task = "automatic-speech-recognition"
        return FolderFacts(engine="crispasr", task=task, translates=architecture == "canary")
    return None


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
