"""The ASR service as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI

from asr.api import bazarr, diarization, jobs, openai, vad, voice
from asr.jobs.service import JobService
from asr.settings import AsrSettings
from core.dialect import WHISPER_WEBSERVICE
from core.schemas import model_routes
from core.server import create_service


def create_app(settings: AsrSettings | None = None) -> FastAPI:
    """Return the app; the service behind it starts and ends with the app's lifespan and is at `app.state.service`."""
    settings = settings or AsrSettings()
    service = JobService(settings)
    routers = [
        openai.router(service),
        jobs.router(service),
        diarization.router(service),
        vad.router(service),
        voice.router(service),
        model_routes(service.host, others=[service.diarizer.host]),
    ]
    app = create_service(settings, service, routers, dialect=WHISPER_WEBSERVICE)
    # Clients of this family know one address and no prefix.
    app.include_router(bazarr.router(service))
    return app
