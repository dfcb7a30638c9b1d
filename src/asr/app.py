"""The ASR service as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI

from asr.api import openai
from asr.service import AsrService
from asr.settings import AsrSettings
from core.schemas import model_routes
from core.server import create_service


def create_app(settings: AsrSettings | None = None) -> FastAPI:
    """Return the app; the service behind it starts and ends with the app's lifespan and is at `app.state.service`."""
    settings = settings or AsrSettings()
    service = AsrService(settings)
    return create_service(settings, service, [openai.router(service), model_routes(service.host)])
