"""The two requests that most rows send, in their shortest form."""

from __future__ import annotations

from typing import Any

import httpx

from tests.conformance import media

TRANSCRIBE = "/v1/audio/transcriptions"
TRANSLATE = "/v1/audio/translations"
SPEAK = "/v1/audio/speech"


def transcribe(
    client: httpx.Client, fields: dict[str, Any] | None = None, *, audio: bytes | None = None, path: str = TRANSCRIBE
) -> httpx.Response:
    """Post a multipart form with a short tone, or the given file, and these fields."""
    files = {"file": ("audio.wav", media.tone() if audio is None else audio, "audio/wav")}
    return client.post(path, files=files, data=fields or {})


def speak(client: httpx.Client, text: str = "Hello there, world.", path: str = SPEAK, **fields: Any) -> httpx.Response:
    """Post a JSON body with the text and these fields; a field of None is left out."""
    return client.post(path, json={"input": text, **{key: value for key, value in fields.items() if value is not None}})
