"""The TTS engines by name."""

from __future__ import annotations

from core.registry import EngineRegistry
from tts.engine import TtsEngine

TABLE = {
    "kokoro": "tts.engines.kokoro:KokoroEngine",
    "piper": "tts.engines.piper:PiperEngine",
    "coqui": "tts.engines.coqui:CoquiEngine",
    "crispasr": "tts.engines.crispasr:CrispasrTtsEngine",
    "sherpa-onnx": "tts.engines.sherpa_onnx:SherpaOnnxEngine",
    "elevenlabs": "tts.engines.elevenlabs:ElevenLabsEngine",
    "openai": "tts.engines.openai:OpenAiTtsEngine",
    "fake": "tts.engines.fake:FakeTtsEngine",
}


def registry() -> EngineRegistry[TtsEngine]:
    """Return our engines and those of installed packages (entry-point group `voice_stack.tts_engines`)."""
    # mypy: an abstract base is meant here, as a bound for isinstance checks.
    return EngineRegistry(base=TtsEngine, table=TABLE, group="voice_stack.tts_engines")  # type: ignore[type-abstract]
