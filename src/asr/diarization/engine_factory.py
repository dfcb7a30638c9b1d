"""The diarization engines by name."""

from __future__ import annotations

from asr.diarization.engine import DiarizationEngine
from core.registry import EngineRegistry

TABLE = {
    "community1": "asr.diarization.engines.community1:Community1Engine",
    "fast": "asr.diarization.engines.fast:FastEngine",
    "ge2e": "asr.diarization.engines.ge2e:Ge2eEngine",
    "channels": "asr.diarization.engines.channels:ChannelsEngine",
    "pyannote": "asr.diarization.engines.pyannote:PyannoteEngine",
    "sherpa-onnx": "asr.diarization.engines.sherpa_onnx:SherpaOnnxEngine",
    "fake-diarizer": "asr.diarization.engines.fake:FakeDiarizer",
}


def registry() -> EngineRegistry[DiarizationEngine]:
    """Return our engines and those of installed packages (entry-point group `voice_stack.diarizers`)."""
    # mypy: an abstract base is meant here, as a bound for isinstance checks.
    return EngineRegistry(base=DiarizationEngine, table=TABLE, group="voice_stack.diarizers")  # type: ignore[type-abstract]
