"""The ASR service as an ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = create_service(settings, service, lifespan)
    app.state.service = service
    for routes in (openai.router(service), model_routes(service.host)):
        app.include_router(routes, prefix=settings.api_v1_str)
        app.include_router(routes, include_in_schema=False)
    return app
