"""Calls a client would make, timed from the first byte sent; bodies are built beforehand: that is the client's work."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from bench.bare import Answer


def transcriber(client: httpx.Client, url: str, path: Path, *, language: str) -> Callable[[], Answer]:
    """Return a call that uploads the file and waits for the whole text."""
    request = client.build_request(
        "POST",
        f"{url}/v1/audio/transcriptions",
        files={"file": (path.name, path.read_bytes())},
        data={"language": language},
    )
    request.read()

    def call() -> Answer:
        started = time.perf_counter()
        response = client.send(request)
        seconds = time.perf_counter() - started
        response.raise_for_status()
        return Answer(seconds, str(response.json()["text"]).strip())

    return call


def speaker(client: httpx.Client, url: str, text: str, response_format: str) -> Callable[[], Answer]:
    """Return a call that has a text spoken and is timed up to the first byte; its answer's text names the voice."""
    body = {"input": text, "response_format": response_format}
    request = client.build_request("POST", f"{url}/v1/audio/speech", json=body)

    def call() -> Answer:
        started = time.perf_counter()
        response = client.send(request, stream=True)
        chunks = response.iter_raw()
        next(chunks, b"")
        seconds = time.perf_counter() - started
        for _ in chunks:  # to the end: the engine must be idle before anything else is measured
            pass
        response.close()
        response.raise_for_status()
        return Answer(seconds, response.headers["x-voice-stack-voice"])

    return call
