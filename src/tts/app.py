"""The TTS service as an ASGI app."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI

from core.model_control import Hosts, loading_routes, pulling_routes
from core.schemas import model_routes
from core.server import create_service
from tts.api import consents, openai, voices
from tts.capabilities import model_details
from tts.consents import Consents
from tts.library import Library
from tts.service import TASK, TtsService
from tts.settings import TtsSettings


def create_app(settings: TtsSettings | None = None) -> FastAPI:
    """Return the app; the service behind it starts and ends with the app's lifespan and is at `app.state.service`."""
    settings = settings or TtsSettings()
    service = TtsService(settings)
    kept = Consents(settings.places.state / "voices.db")
    hosts: Hosts = {TASK: service.host}
    looking = APIRouter(dependencies=[Depends(service.look)])
    looking.include_router(openai.router(service, kept))
    looking.include_router(model_routes(service.host, lambda model: model_details(service, model)))
    routers = [
        looking,
        voices.router(service, Library(service.recordings), kept),
        consents.router(service, kept),
        pulling_routes(settings, hosts),
    ]
    app = create_service(settings, service, routers)
    app.include_router(loading_routes(settings, hosts))
    return app
