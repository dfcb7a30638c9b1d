"""The self-check: a text spoken by the TTS service and understood by the ASR service."""

from __future__ import annotations

import io
import time
import wave
from collections.abc import Sequence

import httpx
from rich.console import Console

from utils.text.wer import word_error_rate
from voice_stack.cli.client import key_header

TEXT = "Good morning. The kettle is on, and the tea will be ready in a few minutes."
MAX_WER = 0.1


async def round_trip(asr: str, tts: str, console: Console, *, keys: Sequence[str], text: str = TEXT) -> bool:
    """Speak `text` at `tts`, transcribe it at `asr`, print what came of it, and return whether it was understood."""
    async with httpx.AsyncClient(timeout=300.0, headers=key_header(keys), trust_env=False) as client:
        try:
            spoken, speak_seconds = await _timed(
                client, f"{tts}/audio/speech", json={"input": text, "response_format": "wav", "stream": False}
            )
            files = {"file": ("speech.wav", spoken.content)}
            heard, listen_seconds = await _timed(
                client, f"{asr}/audio/transcriptions", files=files, data={"language": "en"}
            )
        except httpx.HTTPError as error:
            console.print(f"round trip: failed  {error}", soft_wrap=True, markup=False, emoji=False)
            return False
    with wave.open(io.BytesIO(spoken.content)) as sound:
        duration = sound.getnframes() / sound.getframerate()
    understood = str(heard.json()["text"])
    wer = word_error_rate(text, understood)
    verdict = "ok" if wer <= MAX_WER else "failed"
    console.print(f"said:   {text}\nheard:  {understood}", soft_wrap=True, markup=False, emoji=False)
    console.print(f"times:  {duration:.1f} s of speech made in {speak_seconds:.2f} s, read in {listen_seconds:.2f} s")
    console.print(f"ASR     {asr}/docs\nTTS     {tts}/docs", soft_wrap=True)
    rates = f"tts_rtf={speak_seconds / duration:.2f}  asr_rtf={listen_seconds / duration:.2f}"
    console.print(f"round trip: {verdict}  wer={wer:.2f}  {rates}", soft_wrap=True)
    return verdict == "ok"


async def _timed(client: httpx.AsyncClient, url: str, **request: object) -> tuple[httpx.Response, float]:
    started = time.perf_counter()
    response = await client.post(url, **request)  # type: ignore[arg-type]
    response.raise_for_status()
    return response, time.perf_counter() - started
