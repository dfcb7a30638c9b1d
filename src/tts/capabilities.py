"""What the TTS service can do with the models that are installed, for GET /v1/capabilities and the model list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.model_entry import ModelRef
from tts.engine import TtsEngine
from utils.audio.encode import FORMATS

if TYPE_CHECKING:
    from tts.service import TtsService


def capabilities(service: TtsService) -> dict[str, Any]:
    """Return formats, languages, limits and features; a feature is true where an installed model has it."""
    models, settings = service.host.installed(), service.settings
    engines = [engine for model in models if issubclass(engine := service.host.engine(model), TtsEngine)]
    voices = [voice for model in models for voice in service.voices(model)]
    clones = settings.voice_cloning and service.clones
    return {
        "response_formats": list(FORMATS),
        "languages": sorted({language for model in models for language in model.languages}),
        "voices": len({voice.id for voice in voices}),
        "limits": {
            "max_input_characters": settings.max_input,
            "max_waiting": settings.max_waiting,
            "timeout_seconds": settings.timeout,
        },
        "features": {
            "streaming": True,
            "sse": True,
            "word_timestamps": bool(settings.align_url) or any(_times_words(service, model) for model in models),
            "voice_mixes": any(engine.can_mix for engine in engines),
            "voice_cloning": clones,
            "instructions": any(engine.takes_instructions for engine in engines),
            "voice_consent": settings.voice_consent,
        },
    }


def _times_words(service: TtsService, model: ModelRef) -> bool:
    """Whether a model says when its words are spoken, which some know only once they are loaded."""
    own = getattr(service.host.engine(model), "times_words", False)
    return bool(service.host.worker(model).facts.get("times_words", own))


def model_details(service: TtsService, model: ModelRef) -> dict[str, Any]:
    """Return what the list of models says of one beside the rest: its rate in Hz, its voices as wyoming reads them."""
    facts = service.host.worker(model).facts
    voices = [
        {"id": voice.id, "name": voice.name, "language": voice.language, "gender": voice.gender}
        for voice in service.voices(model)
    ]
    return {"sample_rate": facts.get("sample_rate", model.sample_rate), "voices": voices}
