"""What the files of a Coqui model folder say, read without importing the library: family, speakers, languages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import ModelBroken
from tts.voice import Voice

CHECKPOINTS = ("model.pth", "model_file.pth", "model_file.pth.tar", "checkpoint.pth", "best_model.pth")
XTTS_LANGUAGES = (
    *("en", "es", "fr", "de", "it", "pt", "pl", "tr", "ru"),
    *("nl", "cs", "ar", "zh-cn", "ja", "hu", "ko", "hi"),
)
SINGLE_SPEAKER = "default"
TORTOISE_MARK = "autoregressive.pth"
# Released configurations carry the paths of the machine they were trained on; only the file names are right.
COMPANIONS: Mapping[str, tuple[str, ...]] = {
    "speakers_file": ("speaker_ids.json", "speaker_ids.pth", "speakers.pth"),
    "d_vector_file": ("speakers.json", "speakers.pth"),
    "language_ids_file": ("language_ids.json",),
}


class CoquiFolder:
    """A folder with config.json, a checkpoint, and the small files the configuration names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.json"
        if not self.config_path.exists() and (path / TORTOISE_MARK).is_file():
            # Tortoise is published without one, and the library's defaults are right for it.
            self._config: Any = {"model": "tortoise"}
            return
        try:
            self._config = json.loads(self.config_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelBroken(f"the Coqui model {path.name} has no readable config.json") from error
        if not isinstance(self._config, dict):
            raise ModelBroken(f"config.json of the Coqui model {path.name} is not an object")

    @property
    def family(self) -> str:
        """Return the architecture in lower case: xtts, vits, glow_tts …; "" when the file names none."""
        name = self._config.get("base_model") or self._config.get("model")
        return name.lower() if isinstance(name, str) else ""

    def checkpoint(self) -> Path:
        """Return the file with the weights; ConfigurationError when there is none."""
        found = next((self.path / name for name in CHECKPOINTS if (self.path / name).is_file()), None)
        others = [path for path in sorted(self.path.glob("*.pth")) if path not in self._companions()]
        if found is None and len(others) != 1:
            raise ModelBroken(f"the Coqui model {self.path.name} has no checkpoint (model.pth)")
        return found or others[0]

    def companion(self, field: str) -> Path | None:
        """Return the file that a configuration field means, looked up by its name inside this folder only."""
        named = self._field(field)
        named = named[0] if isinstance(named, list) and named else named
        names = [Path(named).name] if isinstance(named, str) and named else []
        return next((self.path / name for name in (*names, *COMPANIONS[field]) if (self.path / name).is_file()), None)

    @property
    def names_statistics(self) -> bool:
        """Return whether the configuration names a file of statistics, which the library would unpickle."""
        return _has(self._config, "stats_path")

    def speaker_encoder(self) -> tuple[Path, Path] | None:
        """Return checkpoint and configuration of what turns recordings into d-vectors, None where it cannot be used.

        One that names a file of statistics cannot: the library would unpickle that.
        """
        weights, config = self.path / "model_se.pth", self.path / "config_se.json"
        if not (self._field("use_d_vector_file") and weights.is_file()):
            return None
        about = _read_json(config if config.is_file() else None)
        return None if about is None or _has(about, "stats_path") else (weights, config)

    def speaker_names(self) -> list[str] | None:
        """Return the speakers of a VITS-like model, [] for a model with one, None when only the library can tell."""
        if self._field("use_d_vector_file"):
            entries = _read_json(self.companion("d_vector_file"))
            return None if entries is None else sorted({str(entry["name"]) for entry in entries.values()})
        if self._field("use_speaker_embedding"):
            if listed := self._config.get("speakers"):
                return [str(name) for name in listed]
            entries = _read_json(self.companion("speakers_file"))
            return None if entries is None else list(entries)
        return []

    def languages(self) -> list[str]:
        """Return the languages as the model spells them; empty when it does not say."""
        if listed := self._config.get("languages"):
            return [str(name) for name in listed]
        if self.family == "xtts":
            return list(XTTS_LANGUAGES)
        datasets = [entry for entry in self._config.get("datasets") or [] if isinstance(entry, dict)]
        named = sorted({str(entry["language"]) for entry in datasets if entry.get("language")})
        phonemes = self._config.get("phoneme_language")
        return named or ([str(phonemes)] if phonemes else [])

    def voices(self) -> list[Voice]:
        """Return the voices that can be known without the library; those of XTTS cannot."""
        names = None if self.family == "xtts" else self.speaker_names()
        return [] if names is None else as_voices(names or [SINGLE_SPEAKER], languages=self.languages())

    def _field(self, name: str) -> Any:
        arguments = self._config.get("model_args")
        inner = arguments.get(name) if isinstance(arguments, dict) else None
        return inner if inner is not None else self._config.get(name)

    def _companions(self) -> set[Path]:
        names = {name for names in COMPANIONS.values() for name in names}
        return {self.path / name for name in (*names, "speakers_xtts.pth", "model_se.pth", "dvae.pth", "mel_stats.pth")}


def _has(value: object, key: str) -> bool:
    """Return whether the key has a value anywhere in a JSON value; None and "" are none."""
    open_values = [value]
    while open_values:
        found = open_values.pop()
        if isinstance(found, dict):
            if found.get(key):
                return True
            open_values.extend(found.values())
        elif isinstance(found, list):
            open_values.extend(found)
    return False


def _read_json(path: Path | None) -> dict[str, Any] | None:
    """Return a JSON object; None for no file or for one that only torch can read."""
    if path is None or path.suffix != ".json":
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelBroken(f"{path.name} of the Coqui model cannot be read") from error
    return found if isinstance(found, dict) else None


def slug(name: str) -> str:
    """Return a speaker's name as a voice id: lower case, letters, digits, dash and underscore."""
    return re.sub(r"[^a-z0-9-]+", "_", name.strip().lower()).strip("_-") or "speaker"


def ids_of(names: Iterable[str]) -> dict[str, str]:
    """Return voice ids and the speaker names they stand for, in order; equal ids are numbered."""
    found: dict[str, str] = {}
    for name in names:
        base = voice_id = slug(name)
        number = 2
        while voice_id in found:
            voice_id = f"{base}_{number}"
            number += 1
        found[voice_id] = name
    return found


def as_voices(names: Sequence[str], *, languages: Sequence[str]) -> list[Voice]:
    """Return built-in voices; their language is set when the model has just one."""
    language = primary(languages[0]) if len(languages) == 1 else None
    return [Voice(id=voice_id, name=name.strip(), language=language) for voice_id, name in ids_of(names).items()]


def primary(language: str) -> str:
    """Return the primary subtag: "pt-BR" and "pt_br" are "pt"."""
    return re.split("[-_]", language.strip().lower(), maxsplit=1)[0]
