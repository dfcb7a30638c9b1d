"""The ASR engines by name."""

from __future__ import annotations

from asr.engine import AsrEngine
from core.registry import EngineRegistry

TABLE = {
    "faster-whisper": "asr.engines.faster_whisper:FasterWhisperEngine",
    "whisper": "asr.engines.whisper:WhisperEngine",
    "crispasr": "asr.engines.crispasr:CrispasrAsrEngine",
    "sherpa-onnx": "asr.engines.sherpa_onnx:SherpaOnnxEngine",
    "whisper-server": "asr.engines.whisper_server:WhisperServerEngine",
    "openai": "asr.engines.openai:OpenAiEngine",
    "fake": "asr.engines.fake:FakeAsrEngine",
    "fake-windows": "asr.engines.fake:FakeWindowEngine",
}


def registry() -> EngineRegistry[AsrEngine]:
    """Return our engines and those of installed packages (entry-point group `voice_stack.asr_engines`)."""
    # mypy: an abstract base is meant here, as a bound for isinstance checks.
    return EngineRegistry(base=AsrEngine, table=TABLE, group="voice_stack.asr_engines")  # type: ignore[type-abstract]
