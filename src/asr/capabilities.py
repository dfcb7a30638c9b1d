"""What the ASR service can do with the models that are installed, for GET /v1/capabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from asr.engine import AsrEngine
from asr.formats import FORMATS
from core.model_entry import ModelRef

if TYPE_CHECKING:
    from asr.service import AsrService


def capabilities(service: AsrService) -> dict[str, Any]:
    """Return formats, languages, limits and features; a feature is true where an installed model has it."""
    models, settings = service.host.installed(), service.settings
    engines = [engine for model in models if issubclass(engine := service.host.engine(model), AsrEngine)]
    return {
        "response_formats": list(FORMATS),
        "languages": sorted({language for model in models for language in _languages(service, model)}),
        "limits": {
            "max_audio_seconds": settings.max_audio_seconds,
            "max_waiting": settings.max_waiting,
            "timeout_seconds": settings.timeout,
        },
        "features": {
            "streaming": True,
            "word_timestamps": True,
            "language_detection": True,
            "translation": any(model.translates for model in models),
            "logprobs": any(engine.gives_logprobs for engine in engines),
            "diarization": "diarized_json" in FORMATS,
            "jobs": True,
            "realtime": False,
        },
    }


def _languages(service: AsrService, model: ModelRef) -> Iterable[str]:
    """Return the languages of a model: the catalogue's, else what the loaded engine says."""
    return model.languages or service.host.worker(model).facts.get("languages", ())
