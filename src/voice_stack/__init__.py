"""The public name of the project: what starts it, and what authors of engines import.

Importing it puts the folder that holds `asr`, `tts`, `core` and `utils` first on `sys.path` and refuses to go on
when another distribution already owns one of those four generic names. Nothing heavy is imported here.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voice_stack.__about__ import __version__

if TYPE_CHECKING:
    from asr.diarization.engine import Capabilities as Capabilities
    from asr.diarization.engine import Diarization as Diarization
    from asr.diarization.engine import DiarizationEngine as DiarizationEngine
    from asr.diarization.engine import DiarizeOptions as DiarizeOptions
    from asr.diarization.engine import EncoderFacts as EncoderFacts
    from asr.diarization.engine import Recording as Recording
    from asr.diarization.engine import SpeakerEncoder as SpeakerEncoder
    from asr.diarization.engine import Turn as Turn
    from asr.engine import AsrEngine as AsrEngine
    from asr.engine import WindowEngine as WindowEngine
    from asr.engine import WindowText as WindowText
    from asr.engine import WindowWork as WindowWork
    from asr.transcript import LanguageGuess as LanguageGuess
    from asr.transcript import Segment as Segment
    from asr.transcript import TokenLogprob as TokenLogprob
    from asr.transcript import TranscribeOptions as TranscribeOptions
    from asr.transcript import Transcription as Transcription
    from asr.transcript import Word as Word
    from core.engines import Engine as Engine
    from core.engines import EngineContext as EngineContext
    from core.engines import EngineOptions as EngineOptions
    from core.errors import ConfigurationError as ConfigurationError
    from core.errors import InvalidAudio as InvalidAudio
    from core.errors import InvalidRequest as InvalidRequest
    from core.errors import ModelNotFound as ModelNotFound
    from core.errors import UnsupportedParameter as UnsupportedParameter
    from core.errors import VoiceStackError as VoiceStackError
    from tts.engine import TtsEngine as TtsEngine
    from tts.voice import SpeechOptions as SpeechOptions
    from tts.voice import SpokenWord as SpokenWord
    from tts.voice import TimedAudio as TimedAudio
    from tts.voice import Voice as Voice
    from utils.audio.pcm import Audio as Audio

_PACKAGES = ("asr", "tts", "core", "utils")
_EXPORTS = {
    "AsrEngine": "asr.engine",
    "Audio": "utils.audio.pcm",
    "Capabilities": "asr.diarization.engine",
    "ConfigurationError": "core.errors",
    "Diarization": "asr.diarization.engine",
    "DiarizationEngine": "asr.diarization.engine",
    "DiarizeOptions": "asr.diarization.engine",
    "EncoderFacts": "asr.diarization.engine",
    "Engine": "core.engines",
    "EngineContext": "core.engines",
    "EngineOptions": "core.engines",
    "InvalidAudio": "core.errors",
    "InvalidRequest": "core.errors",
    "LanguageGuess": "asr.transcript",
    "ModelNotFound": "core.errors",
    "Recording": "asr.diarization.engine",
    "Segment": "asr.transcript",
    "SpeakerEncoder": "asr.diarization.engine",
    "SpeechOptions": "tts.voice",
    "SpokenWord": "tts.voice",
    "TimedAudio": "tts.voice",
    "TokenLogprob": "asr.transcript",
    "TranscribeOptions": "asr.transcript",
    "Transcription": "asr.transcript",
    "TtsEngine": "tts.engine",
    "Turn": "asr.diarization.engine",
    "UnsupportedParameter": "core.errors",
    "Voice": "tts.voice",
    "VoiceStackError": "core.errors",
    "WindowEngine": "asr.engine",
    "WindowText": "asr.engine",
    "WindowWork": "asr.engine",
    "Word": "asr.transcript",
}
__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604 - the table is the list


def _bundle() -> Path:
    """Return the folder that holds our four packages: inside the wheel, or `src/` of a checkout."""
    here = Path(__file__).resolve().parent
    return bundled if (bundled := here / "_bundle").is_dir() else here.parent


def _claim_import_root() -> None:
    root = _bundle()
    for name in _PACKAGES:
        module = sys.modules.get(name)
        if module is None:
            continue
        places = [Path(p).resolve() for p in getattr(module, "__path__", [])]
        if root / name not in places:
            msg = (
                f"voice-stack cannot start: the package {name!r} was already imported from {places or module!r}; "
                f"uninstall the distribution that ships it or use a separate environment"
            )
            raise ImportError(msg)
    while str(root) in sys.path:
        sys.path.remove(str(root))
    # Twice: a debugger (pydevd) drops the first entry when the main module lies below it.
    sys.path[:0] = [str(root)] * 2


_claim_import_root()
# onnxruntime's official builds report their use to Microsoft unless this is set before it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
