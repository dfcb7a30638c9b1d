"""What the ASR service can do with the models that are installed, for GET /v1/capabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from asr.diarization.service import Diarizer
from asr.engine import AsrEngine
from asr.formats import FORMATS
from core.errors import ModelNotFound, NotSupported
from core.model_entry import ModelRef

if TYPE_CHECKING:
    from asr.service import AsrService


def capabilities(service: AsrService) -> dict[str, Any]:
    """Return formats, languages, limits and features; a feature is true where an installed model has it.

    `streaming` is a text that comes while the recording is transcribed, which every model gives, window by window;
    `live_streams` of a loaded one, whether its engine takes a recording that is still being made.
    """
    models, settings = service.host.installed(), service.settings
    engines = [engine for model in models if issubclass(engine := service.host.engine(model), AsrEngine)]
    default = _default(service.diarizer)
    encodes = default is not None and service.diarizer.encodes(default)
    return {
        "response_formats": [name for name, form in FORMATS.items() if default or not form.needs_speakers],
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
            "diarization": default is not None,
            "speaker_embeddings": encodes,
            "voiceprints": encodes and settings.voiceprints,
            "jobs": True,
            "realtime": False,
        },
        "loaded": [_loaded(model.id, facts) for model in models if (facts := service.host.worker(model).facts)],
        "diarization": {
            "default_model": default.id if default else None,
            "models": [_diarization(service.diarizer, model) for model in service.diarizer.host.installed()],
        },
    }


def _languages(service: AsrService, model: ModelRef) -> Iterable[str]:
    """Return the languages of a model: the catalogue's, else what the loaded engine says."""
    return model.languages or service.host.worker(model).facts.get("languages", ())


def _loaded(model: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an engine told of a model once it was loaded."""
    return {
        "id": model,
        "languages": facts.get("languages", []),
        "live_streams": facts.get("streams", False),
        "library_features": facts.get("library_features", []),
    }


def _default(diarizer: Diarizer) -> ModelRef | None:
    """Return the model that tells who speaks where a request names none; None where it cannot be used."""
    with suppress(NotSupported, ModelNotFound):
        return diarizer.resolve(None)
    return None


def _diarization(diarizer: Diarizer, model: ModelRef) -> dict[str, Any]:
    """Return what a client may ask of a model; no route takes a recording as it comes, whatever its engine could."""
    can = diarizer.capabilities(model)
    return {
        "id": model.id,
        "engine": model.engine,
        "licence": model.licence,
        "max_speakers": can.max_speakers,
        "overlap": can.overlap,
        "hints": can.hints,
        "threshold": can.threshold,
        "speaker_embeddings": diarizer.encodes(model),
    }
