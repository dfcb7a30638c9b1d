"""`voice-stack doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from asr import engine_factory as asr_engines
from asr.diarization import engine_factory as diarizers
from asr.diarization.service import TASK as DIARIZATION
from asr.settings import AsrSettings
from core import devices
from core.catalogue import Catalogue
from core.engines import Device, Runtime
from core.errors import VoiceStackError
from core.model_entry import Task
from core.model_names import ModelNames
from core.registry import EngineRegistry
from tts import engine_factory as tts_engines
from tts.settings import TtsSettings
from utils.audio import ffmpeg
from voice_stack import __version__
from voice_stack.cli import runner

Mark = Literal["ok", "note", "problem"]
_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}
_PACKAGES = (
    *("fastapi", "uvicorn", "faster-whisper", "ctranslate2", "kokoro-onnx", "onnxruntime", "piper-tts", "torch"),
    *("numpy", "scipy", "pyannote.audio", "sherpa-onnx"),
)
_RUNTIMES: tuple[Runtime, ...] = ("ctranslate2", "onnxruntime", "torch")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    subject: str
    mark: Mark
    text: str


def doctor() -> None:
    """Check ffmpeg, devices, models, ports, versions and engines; exit status 1 when something will not work.

    Example: voice-stack doctor
    """
    findings = list(_findings())
    width = max(len(finding.subject) for finding in findings)
    console = Console(highlight=False)
    for finding in findings:
        mark = (f"{finding.mark:<7}", _COLOURS[finding.mark])
        # No table: its cells end in an ellipsis on a narrow terminal, and paths are there to be copied.
        console.print(Text.assemble(f"{finding.subject:<{width}}  ", mark, f"  {finding.text}"), soft_wrap=True)
    raise typer.Exit(1 if any(finding.mark == "problem" for finding in findings) else 0)


def _findings() -> Iterator[Finding]:
    yield Finding("voice-stack", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield _ffmpeg()
    yield from _guarded("hardware", _devices())
    yield from _guarded("engines", _engines())
    for name in ("asr", "tts"):
        yield from _guarded(f"{name} settings", _service(name))
    installed = [f"{name} {found}" for name in _PACKAGES if (found := _version(name))]
    yield Finding("packages", "ok", ", ".join(installed))


def _guarded(subject: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield findings; what breaks while they are made is one of them, for the rest is still worth knowing."""
    try:
        yield from findings
    except VoiceStackError as error:
        yield Finding(subject, "problem", error.message)
    except Exception as error:  # noqa: BLE001 - a broken library may raise anything
        reason = " ".join(str(error).split())
        yield Finding(subject, "problem", f"{type(error).__name__}: {reason}")


def _ffmpeg() -> Finding:
    try:
        return Finding("ffmpeg", "ok", f"{ffmpeg.version()} ({ffmpeg.executable()})")
    except ffmpeg.FfmpegMissing as error:
        return Finding("ffmpeg", "problem", str(error))


def _devices() -> Iterator[Finding]:
    found = devices.hardware()
    gpus = [f"{count} x {device}" for device, count in found.items() if count and device != "cpu"]
    yield Finding("hardware", "ok", ", ".join(gpus) or "cpu only")
    for runtime in _RUNTIMES:
        if _version(runtime) is None and _version(f"{runtime}-gpu") is None:
            continue
        yield from _guarded(f"  {runtime}", _runtime(runtime, found))


def _runtime(runtime: Runtime, found: Mapping[Device, int]) -> Iterator[Finding]:
    names = [device for device, count in devices.usable(runtime).items() if count]
    unused = [device for device in devices.PREFERENCE if found.get(device) and device not in names]
    hint = f"; cannot use the {unused[0]} device, see docs/devices.md" if unused else ""
    yield Finding(f"  {runtime}", "note" if unused else "ok", f"can use {', '.join(names)}{hint}")


def _engines() -> Iterator[Finding]:
    kinds: dict[str, EngineRegistry[Any]] = {
        "asr": asr_engines.registry(),
        "diarization": diarizers.registry(),
        "tts": tts_engines.registry(),
    }
    for kind, registry in kinds.items():
        for name in registry.names():
            yield from _guarded(f"engine {kind}/{name}", _engine(kind, name, registry))


def _engine(kind: str, name: str, registry: EngineRegistry[Any]) -> Iterator[Finding]:
    engine = registry.get(name)
    missing = engine.missing()
    how = f"not installed: {engine.install_line()}" if missing else "installed"
    yield Finding(f"engine {kind}/{name}", "note" if missing else "ok", how)


def _service(name: runner.Name) -> Iterator[Finding]:
    settings = runner.load_settings(name)
    yield from _guarded(f"{name} model", _models(name, settings))
    try:
        found = devices.hardware()
        for index in devices.spread(settings.device, settings.device_index, found):
            devices.choose(settings.device, found, index=index)
    except VoiceStackError as error:
        yield Finding(f"{name} device", "problem", error.message)
    if name == "asr":
        yield _diarization(settings)
    yield _port(name, settings.host, settings.port)


def _models(name: runner.Name, settings: AsrSettings | TtsSettings) -> Iterator[Finding]:
    """Tell of the default model, or of each of a chain, of which one has to be usable."""
    task: Task = "automatic-speech-recognition" if name == "asr" else "text-to-speech"
    registry: EngineRegistry[Any] = (asr_engines if name == "asr" else tts_engines).registry()
    catalogue = Catalogue.of(settings.places, engine=settings.engine)
    names = ModelNames(catalogue, task=task, default=settings.model, fallback=False, registry=registry)
    chain = names.members(settings.model)
    failures: list[str] = []
    for wanted in chain or (settings.model,):
        try:
            model = names.usable(names.member(wanted) if chain else names.default())
        except VoiceStackError as error:
            failures.append(error.message)
        else:
            yield Finding(f"{name} model", "ok", str(model.path or f"{model.id} needs no files"))
    absent: Mark = "note" if len(failures) < len(chain) else "problem"
    yield from (Finding(f"{name} model", absent, failure) for failure in failures)


def _diarization(settings: AsrSettings) -> Finding:
    """Tell of the model that tells who speaks, without which the service does all the rest."""
    subject = "diarization model"
    try:
        catalogue = Catalogue.of(settings.places, engine=settings.diarization_engine)
        model = catalogue.resolve(settings.diarization_model, DIARIZATION)
        engines = diarizers.registry()
        engines.check(settings.diarization_engine)
        engine = engines.get(model.engine)
        missing = engine.missing()
        devices.choose(settings.diarization_device, devices.hardware(), index=settings.device_index[0])
    except VoiceStackError as error:
        return Finding(subject, "problem", error.message)
    if missing:
        return Finding(subject, "note", f"{model.id} needs the engine {model.engine}: {engine.install_line()}")
    if not model.installed:
        return Finding(subject, "note", f"not installed; run: voice-stack models pull {model.id}")
    return Finding(subject, "ok", str(model.path or f"{model.id} needs no files"))


def _port(name: str, host: str, port: int) -> Finding:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding(f"{name} port", "note", f"{host}:{port} {error.strerror}; is the service running?")
    return Finding(f"{name} port", "ok", f"{host}:{port} is free")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
