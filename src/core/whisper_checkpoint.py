"""Telling a checkpoint of openai-whisper from other files of PyTorch; nothing in it is unpickled."""

from __future__ import annotations

import pickletools
import re
import zipfile
import zlib
from pathlib import Path

ENGLISH_ONLY_WORDS = 51_864
"""Size of the vocabulary of English-only Whispers; that of the multilingual ones is larger."""
_NAMES = re.compile(r"(tiny|base|small|medium)(\.en)?|large(-v\d)?(-turbo)?|turbo")
_MOST_BYTES = 8 << 20
_NUMBERS = {"BININT", "BININT1", "BININT2", "INT", "LONG1"}


def whisper_words(path: Path) -> int | None:
    """Return the size of the vocabulary in a checkpoint of openai-whisper, None for every other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            if name is None or archive.getinfo(name).file_size > _MOST_BYTES:
                return None
            pickled = archive.read(name)
    except zipfile.BadZipFile:
        return _by_name(path)
    except (OSError, EOFError, RuntimeError, ValueError, zlib.error):
        return None
    return _number_of(pickled, "n_vocab") if b"n_audio_ctx" in pickled else None


def _by_name(path: Path) -> int | None:
    """Know a checkpoint that an old PyTorch wrote, which is no archive, by the name that openai-whisper gives it."""
    if not _NAMES.fullmatch(path.stem):
        return None
    return ENGLISH_ONLY_WORDS if path.stem.endswith(".en") else ENGLISH_ONLY_WORDS + 1


def _number_of(pickled: bytes, key: str) -> int | None:
    """Return the number that follows a text in a pickle."""
    last: object = None
    try:
        for code, argument, _ in pickletools.genops(pickled):
            if isinstance(argument, str):
                last = argument
            elif last == key and code.name in _NUMBERS and isinstance(argument, int):
                return argument
    except ValueError:
        return None
    return None
