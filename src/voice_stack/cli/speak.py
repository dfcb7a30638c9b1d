"""`voice-stack speak`: a text to speech, by the running service or by a worker of our own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from core import errors, logs
from tts.api.schemas import SpeechRequest
from tts.encoded import EncodedSpeech
from tts.service import TtsService
from tts.settings import TtsSettings
from voice_stack.cli import output as outputs
from voice_stack.cli import runner
from voice_stack.cli.client import key_header, raise_for_error, service_url

console = Console(stderr=True)
TIMEOUT = httpx.Timeout(60.0, read=600.0)
DEFAULT_OUTPUT = Path("speech.mp3")


def speak(
    text: Annotated[str, typer.Argument(help="What to say; - reads standard input.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; its suffix is the format; - is standard output.")
    ] = DEFAULT_OUTPUT,
    output_format: Annotated[str | None, typer.Option("--format", "-f", help="Format, else by suffix.")] = None,
    voice: Annotated[str | None, typer.Option(help="Voice; see `voice-stack voices list`.")] = None,
    model: Annotated[str | None, typer.Option(help="Model id or alias; without a service also a path.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the text; else it is detected.")] = None,
    speed: Annotated[float, typer.Option(help="0.25 to 4.")] = 1.0,
    local: Annotated[bool, typer.Option("--local", help="Do not use a running service.")] = False,
    url: Annotated[str | None, typer.Option(help="Use this service; else TTS_URL when it answers.")] = None,
) -> None:
    """Speak a text.

    Example: voice-stack speak "Good morning." -o morning.mp3 --voice af_heart
    """
    settings: TtsSettings = runner.load_settings("tts")
    logs.setup("WARNING")
    if str(output) != "-":
        outputs.check(output)
    chosen = output_format or output.suffix.lstrip(".") or "mp3"
    data = {
        "input": sys.stdin.read() if text == "-" else text,
        "response_format": chosen,
        "voice": voice,
        "model": model,
        "language": language,
        "speed": speed,
        "stream": chosen not in {"wav", "flac"},
    }
    wanted = SpeechRequest.from_data(data, settings)
    service = service_url(settings.url, local=local, url=url)
    chunks = (
        _remote(service, {k: v for k, v in data.items() if v is not None}, settings.api_keys)
        if service
        else _local(settings, wanted)
    )
    asyncio.run(_write(chunks, output))
    if str(output) != "-":
        console.print(f"wrote {output}", markup=False, highlight=False, emoji=False, soft_wrap=True)


async def _write(chunks: AsyncIterator[bytes], output: Path) -> None:
    """Write to standard output or a file; a broken answer leaves no half file behind."""
    if str(output) == "-":
        async for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    with outputs.replacing(output) as file, console.status("speaking"):
        async for chunk in chunks:
            file.write(chunk)


async def _local(settings: TtsSettings, wanted: SpeechRequest) -> AsyncGenerator[bytes, None]:
    settings, name = runner.with_folder(settings, wanted.model)
    service = TtsService(settings)
    try:
        model = service.host.resolve(name)
        await service.prepare(model)
        utterance = service.utterance(wanted.input, model, wanted.voice_name, wanted.options(), wanted.delivery())
        opened = EncodedSpeech.open(service, utterance, whole=not wanted.stream)
        async with opened as encoded, aclosing(encoded.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        await service.close()


async def _remote(url: str, data: dict[str, object], keys: Sequence[str]) -> AsyncGenerator[bytes, None]:
    try:
        async with (
            httpx.AsyncClient(base_url=url, timeout=TIMEOUT, headers=key_header(keys), trust_env=False) as client,
            client.stream("POST", "/audio/speech", json=data) as response,
        ):
            await raise_for_error(response)
            async for chunk in response.aiter_bytes():
                yield chunk
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise errors.Unavailable(f"the service at {url} broke off: {str(error) or type(error).__name__}") from error
