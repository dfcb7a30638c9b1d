"""docs/api.md is whole and true: every route, field and format of the services is on it, and no route that is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.routing import Match

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.api.bazarr_requests import AsrFields, DetectFields
from asr.api.diarization_requests import FORMATS as DIARIZATION_FORMATS
from asr.api.diarization_requests import DiarizationRequest
from asr.api.schemas import TranscriptionRequest
from asr.api.vad import TimestampsRequest
from asr.api.voice_requests import VoiceRequest
from asr.app import create_app as create_asr
from asr.formats import FORMATS
from asr.jobs.job import STATUSES
from asr.settings import AsrSettings
from tts.api.schemas import SpeechRequest
from tts.app import create_app as create_tts
from tts.settings import TtsSettings
from utils.audio import encode

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
METHODS = ("GET", "POST", "PATCH", "DELETE")
PREFIX = "/v1"
DOCUMENTED = [
    TranscriptionRequest, DiarizationRequest, TimestampsRequest, VoiceRequest, SpeechRequest, AsrFields, DetectFields
]  # fmt: skip


@pytest.fixture(scope="module")
def apps() -> list[FastAPI]:
    """Both services, not started."""
    asr = create_asr(AsrSettings(ASR_MODEL="fake", ASR_ENGINE="fake"))
    return [asr, create_tts(TtsSettings(TTS_MODEL="fake", TTS_ENGINE="fake"))]


def named_paths() -> set[tuple[str | None, str]]:
    """Every path on the page in backticks, with its method where one is written before it."""
    found = re.findall(r"`(?:(GET|POST|PATCH|DELETE) )?(/[a-z][^`? *]*|/)(?:\?[^`]*)?`", PAGE)
    return {(method or None, path) for method, path in found}


def answers(app: FastAPI, method: str, path: str) -> bool:
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": [], "query_string": b""}
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)


def test_every_route_is_on_the_page(apps: list[FastAPI]) -> None:
    named = {path for _, path in named_paths()}
    operations = {
        (method.upper(), path) for app in apps for path, item in app.openapi()["paths"].items() for method in item
    }
    pages = {(method, re.sub(r"\{[^}]*\}", "{id}", path)) for method, path in operations}
    missing = {(method, path) for method, path in pages if (method, path) not in named_paths() and path not in named}
    assert missing == set()


def test_every_path_on_the_page_is_a_route(apps: list[FastAPI]) -> None:
    wrong = set()
    for method, path in named_paths():
        concrete = path.replace("{id}", "voice_1").rstrip("/") or "/"
        methods = [method] if method else METHODS
        prefix = path == PREFIX or (path.endswith("/") and path != "/")
        if not prefix and not any(answers(app, each, concrete) for app in apps for each in methods):
            wrong.add((method, path))
    assert wrong == set()


@pytest.mark.parametrize("model", DOCUMENTED)
def test_every_field_is_on_the_page(model: type[BaseModel]) -> None:
    words = set(re.findall(r"`(\w+)(?:\[\])?`", PAGE))
    assert set(model.model_fields) - words == set()


def test_every_format_and_status_is_on_the_page() -> None:
    words = set(re.findall(r"`(\w+)`", PAGE))
    assert {*FORMATS, *DIARIZATION_FORMATS, *encode.FORMATS, *STATUSES} - words == set()
