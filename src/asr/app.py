"""The ASR service as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI

from asr.api import bazarr, diarization, jobs, openai, vad, voice
from asr.diarization.service import TASK as DIARIZATION
from asr.jobs.service import JobService
from asr.service import TASK
from asr.settings import AsrSettings
from core.dialect import WHISPER_WEBSERVICE
from core.model_control import Hosts, loading_routes, pulling_routes
from core.schemas import model_routes
from core.server import create_service


def create_app(settings: AsrSettings | None = None) -> FastAPI:
    """Return the app; the service behind it starts and ends with the app's lifespan and is at `app.state.service`."""
    settings = settings or AsrSettings()
    service = JobService(settings)
    hosts: Hosts = {TASK: service.host, DIARIZATION: service.diarizer.host}
    routers = [
        openai.router(service),
        jobs.router(service),
        diarization.router(service),
        vad.router(service),
        voice.router(service),
        model_routes(service.host, others=[service.diarizer.host]),
        pulling_routes(settings, hosts),
    ]
    app = create_service(settings, service, routers, dialect=WHISPER_WEBSERVICE)
    # Clients of these families know one address and no prefix.
    app.include_router(loading_routes(settings, hosts))
    app.include_router(bazarr.router(service))
    return app
