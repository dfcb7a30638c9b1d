"""The TTS service as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI

from core.schemas import model_routes
from core.server import create_service
from tts.api import openai, voices
from tts.service import TtsService
from tts.settings import TtsSettings


def create_app(settings: TtsSettings | None = None) -> FastAPI:
    """Return the app; the service behind it starts and ends with the app's lifespan and is at `app.state.service`."""
    settings = settings or TtsSettings()
    service = TtsService(settings)
    return create_service(
        settings, service, [openai.router(service), voices.router(service), model_routes(service.host)]
    )
