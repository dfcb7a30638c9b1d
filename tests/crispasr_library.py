"""A stand-in for the library `crispasr`: its functions and results as version 0.8.45 has them, without any weights.

Where the real one is installed, whatever is called here has to be there, and to take what it is given.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

REAL: Any = import_module("crispasr") if find_spec("crispasr") else None
EMPTY = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
"""A GGUF file without keys and weights."""


VERBS = {
    "whisper": "timestamps-native word-timestamps token-confidence language-detect translate diarize grammar "
    "temperature beam-search flash-attn punctuation-native auto-download parallel-processors vad-internal",
    "parakeet": "timestamps-native word-timestamps token-confidence diarize temperature beam-search flash-attn "
    "punctuation-toggle auto-download parallel-processors",
    "canary": "timestamps-native timestamps-ctc word-timestamps token-confidence translate diarize temperature "
    "beam-search flash-attn punctuation-toggle src-tgt-language auto-download parallel-processors",
    "voxtral": "timestamps-ctc token-confidence translate diarize temperature beam-search flash-attn "
    "punctuation-toggle src-tgt-language auto-download parallel-processors",
    "wav2vec2": "timestamps-ctc token-confidence diarize auto-download parallel-processors",
    "vibevoice": "timestamps-ctc diarize flash-attn punctuation-native auto-download tts",
    "orpheus": "temperature flash-attn auto-download tts",
    "chatterbox": "temperature flash-attn src-tgt-language auto-download tts voice-cloning",
}
"""What the library says of some architectures."""
UNLISTED = ("vibevoice-tts", "canary-ctc", "omniasr-llm-unlimited")
"""Architectures that it has and does not say anything of."""


@dataclass
class Word:
    text: str
    start: float | None
    end: float | None
    confidence: float = 1.0


@dataclass
class Segment:
    text: str
    start: float
    end: float
    words: list[Word] = field(default_factory=list)
    no_speech_prob: float = -1.0
    tokens: list[Any] = field(default_factory=list)


class Session:
    """A session of the library that a subclass names."""

    library: Library

    def __init__(self, path: str, /, *, n_threads: int, backend: str | None, use_gpu: bool) -> None:
        self.library.note("open", path, n_threads, backend, use_gpu)
        self.backend = backend or self.library.backend

    @classmethod
    def available_backends(cls) -> list[str]:
        return [*cls.library.verbs, *UNLISTED]

    def transcribe(self, pcm: np.ndarray, rate: int, /, *, language: str | None) -> list[Segment]:
        assert rate == 16_000
        self.library.note("transcribe", len(pcm), language)
        return self.library.found

    def synthesize(self, text: str, /) -> np.ndarray:
        self.library.note("synthesize", text)
        return self.library.samples

    def speakers(self) -> list[str]:
        return self.library.names

    def output_sample_rate(self) -> int:
        return 24_000

    def is_custom_voice(self) -> bool:
        return False

    is_voice_design = is_custom_voice

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("set_") and name != "close":
            raise AttributeError(name)

        def called(*given: Any, **named: Any) -> None:
            if REAL is not None:
                inspect.signature(getattr(REAL.Session, name)).bind(self, *given, **named)
            self.library.note(name, *given, *named.values())

        return called


class Library(ModuleType):
    """The module; a test lays down what a session is of and finds, and reads what it was told."""

    def __init__(self) -> None:
        super().__init__("crispasr")
        self.__spec__ = ModuleSpec("crispasr", None)
        self.backend = "parakeet"
        self.verbs: dict[str, tuple[str, ...]] = {name: tuple(verbs.split()) for name, verbs in VERBS.items()}
        self.found: list[Segment] = []
        self.samples = np.full(2400, 0.5, np.float32)
        self.names: list[str] = []
        self.heard = SimpleNamespace(lang_code="de", confidence=0.75)
        self.fails: set[str] = set()
        self.told: list[tuple[Any, ...]] = []
        self.Session = type("Session", (Session,), {"library": self})
        self.LidMethod = SimpleNamespace(WHISPER=0)

    def note(self, name: str, *given: Any) -> None:
        self.told.append((name, *given))
        if name in self.fails:
            raise RuntimeError(f"{name} failed (rc=-1)")

    def calls(self, *names: str) -> list[tuple[Any, ...]]:
        return [call for call in self.told if call[0] in names]

    def backend_capabilities(self, backend: str | None = None) -> Any:
        if backend is None:
            return self.verbs
        if backend not in self.verbs:
            raise ValueError(f"unknown backend {backend!r}")
        return self.verbs[backend]

    def detect_language_pcm(self, pcm: np.ndarray, **how: Any) -> SimpleNamespace:
        if REAL is not None:
            inspect.signature(REAL.detect_language_pcm).bind(pcm, **how)
        self.note("detect_language_pcm", how["model_path"])
        return self.heard


def spoken(*words: str, step: float = 0.5) -> Segment:
    """A segment whose words last `step` seconds each."""
    timed = [Word(word, number * step, (number + 1) * step, 0.9) for number, word in enumerate(words)]
    return Segment(" ".join(words), 0.0, len(words) * step, timed)


def texts(segments: Iterable[Any]) -> list[str]:
    return [segment.text for segment in segments]
