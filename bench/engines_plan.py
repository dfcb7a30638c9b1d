"""What `make engines` runs: each engine, its environment, its tests, and the weights that a sentence needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from asr import engine_factory as asr_engines
from asr.diarization import engine_factory as diarizers
from core.engines import Engine
from core.registry import EngineRegistry
from tts import engine_factory as tts_engines

Kind = Literal["asr", "diarization", "tts"]
Weights = Literal["real weights", "tiny checkpoint", "stub", "none"]
BASE = "base"
"""The environment without any extra."""
REGISTRIES: Mapping[Kind, EngineRegistry[Any]] = {
    "asr": asr_engines.registry(),
    "diarization": diarizers.registry(),
    "tts": tts_engines.registry(),
}
TABLES: Mapping[Kind, Mapping[str, str]] = {
    "asr": asr_engines.TABLE,
    "diarization": diarizers.TABLE,
    "tts": tts_engines.TABLE,
}
CONTRACT: Mapping[Kind, tuple[str, ...]] = {
    "asr": ("tests/contract/test_asr_engines.py",),
    "diarization": ("tests/contract/test_diarizers.py",),
    "tts": ("tests/contract/test_tts_engines.py",),
}
HIDDEN = {"fake-windows"}
"""Engines that only tests use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One engine: what its tests run it with, and the model of the catalogue that it says or hears a sentence with.

    `convert` is a script of ours and its arguments, which makes that model's files into the engine's format; {model} is
    their folder, {target} the file or folder `converted` that it makes; `converter` is the environment that it runs in
    where that is not the engine's, which the tests are told as CONVERTER_PYTHON. Without `library` its own is not
    installed, being large and not called by its tests: they run in the environment without extras. {asr_url} and
    {tts_url} in an option are services of ours with real weights. No model and no such option: there is no sentence.
    `note` says of what is tested what the word `weights` does not.
    """

    kind: Kind
    engine: str
    weights: Weights
    model: str | None = None
    convert: tuple[str, ...] = ()
    converted: str = "converted"
    converter: str | None = None
    library: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    voice: str | None = None
    tests: tuple[str, ...] = ()
    note: str = ""

    @property
    def cls(self) -> type[Engine]:
        """The engine's class."""
        found: type[Engine] = REGISTRIES[self.kind].get(self.engine)
        return found

    @property
    def environment(self) -> str:
        """The environment it runs in: that of its extra."""
        return (self.cls.extra if self.library else None) or BASE

    @property
    def environments(self) -> set[str]:
        """All environments that it needs."""
        return {self.environment, self.converter or self.environment}

    @property
    def paths(self) -> tuple[str, ...]:
        """The tests it has to pass."""
        return self.tests or CONTRACT[self.kind]

    @property
    def service(self) -> Literal["asr", "tts"] | None:
        """The service of ours that it is a client of."""
        text = " ".join(map(str, self.options.values()))
        return "asr" if "{asr_url}" in text else "tts" if "{tts_url}" in text else None

    @property
    def has_sentence(self) -> bool:
        """Whether it is given a sentence."""
        return self.kind != "diarization" and (self.model is not None or self.service is not None)


RESULT_TYPES = "its adapter, on the library's result types"
CASES: Sequence[Case] = (
    Case(kind="asr", engine="faster-whisper", weights="real weights", model="whisper-base"),
    Case(
        kind="asr",
        engine="whisper",
        weights="real weights",
        model="whisper-base",
        convert=("scripts/convert_whisper.py", "{model}", "{target}"),
        converted="base.pt",
        note="rebuilt from the catalogue's CTranslate2 file",
    ),
    Case(
        kind="asr",
        engine="crispasr",
        weights="real weights",
        model="whisper-base",
        convert=("scripts/convert_whisper.py", "{model}", "{target}"),
        converted="ggml-base.bin",
        note="written as ggml from the catalogue's CTranslate2 file",
    ),
    Case(
        kind="asr",
        engine="sherpa-onnx",
        weights="real weights",
        model="whisper-base",
        convert=("scripts/convert_whisper.py", "{model}", "{target}"),
        converted="base-onnx",
        converter="whisper",
        note="exported from the catalogue's CTranslate2 file",
    ),
    Case(kind="asr", engine="whisper-server", weights="stub", note="of whisper.cpp's server"),
    Case(
        kind="asr",
        engine="openai",
        weights="real weights",
        options={"url": "{asr_url}/v1"},
        note="a second instance of this service",
    ),
    Case(kind="tts", engine="kokoro", weights="real weights", model="kokoro", voice="af_heart"),
    Case(kind="tts", engine="piper", weights="real weights", model="piper-en_US-joe-medium"),
    Case(
        kind="tts",
        engine="sherpa-onnx",
        weights="real weights",
        model="piper-en_US-joe-medium",
        convert=("scripts/convert_voice.py", "{model}", "{target}"),
        note="the Piper voice, converted",
    ),
    Case(
        kind="tts",
        engine="crispasr",
        weights="real weights",
        model="piper-en_US-joe-medium",
        convert=("scripts/voice_gguf.py", "{model}", "{target}"),
        converted="joe.gguf",
        note="the Piper voice, written as GGUF",
    ),
    Case(kind="tts", engine="elevenlabs", weights="stub", note="of its API"),
    Case(
        kind="tts",
        engine="openai",
        weights="real weights",
        options={"url": "{tts_url}/v1"},
        voice="af_heart",
        note="a second instance of this service",
    ),
    Case(
        kind="tts",
        engine="coqui",
        weights="tiny checkpoint",
        tests=("tests/coqui", *CONTRACT["tts"]),
        note="noise, not speech",
    ),
    Case(kind="diarization", engine="community1", weights="real weights", model="diarization-community1"),
    Case(kind="diarization", engine="fast", weights="real weights", model="wespeaker-resnet34-lm"),
    Case(kind="diarization", engine="ge2e", weights="real weights", model="ge2e"),
    Case(kind="diarization", engine="channels", weights="none"),
    Case(
        kind="diarization",
        engine="pyannote",
        weights="stub",
        tests=("tests/asr/engines/test_pyannote.py",),
        library=False,
        note=f"{RESULT_TYPES}; the library, with torch above 1.5 GB, is not installed",
    ),
    Case(
        kind="diarization",
        engine="sherpa-onnx",
        weights="stub",
        tests=("tests/asr/engines/test_sherpa_onnx.py",),
        note=RESULT_TYPES,
    ),
    Case(kind="asr", engine="fake", weights="none"),
    Case(kind="tts", engine="fake", weights="none"),
    Case(kind="diarization", engine="fake-diarizer", weights="none"),
)


def cases(wanted: Sequence[str] = ()) -> list[Case]:
    """Return the cases of the engines there are, or of those named; ValueError for a name without a case."""
    found = [case for case in CASES if case.engine in TABLES[case.kind]]
    if unknown := set(wanted) - {case.engine for case in found}:
        raise ValueError(f"no such engine: {', '.join(sorted(unknown))}")
    return [case for case in found if not wanted or case.engine in wanted]


def extras(wanted: Sequence[str] = ()) -> list[str]:
    """Return the extras that those engines need, each once."""
    return sorted(set[str]().union(*(case.environments for case in cases(wanted))) - {BASE})
