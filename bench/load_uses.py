"""What the clients of `make bench-load` ask of a model, and how two models answer at once."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import numpy as np
import soundfile

from bench import services
from bench.audio import SENTENCES
from bench.load_rounds import Use
from bench.speech import Clip

_RATE = 16_000
_SPOKEN = 6
"""Sentences that a model says while another one does."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Seconds that each of two models takes alone, and both asked at once; `times` is how often each was asked."""

    times: tuple[int, int]
    alone: tuple[float, float]
    together: float

    @property
    def gain(self) -> float:
        """One after the other, over both at once: 1 when they take turns, 2 when neither notices the other."""
        return sum(self.alone) / self.together


def noise(client: httpx.Client, model: str, number: int) -> httpx.Response:
    """Have half a second of noise transcribed, which is enough for the fake engine."""
    samples = np.random.default_rng(number).normal(0.0, 0.1, _RATE // 2).clip(-1, 1)
    file = io.BytesIO()
    soundfile.write(file, samples, _RATE, format="WAV", subtype="PCM_16")
    return _transcribe(client, model, "noise.wav", file.getvalue())


def speech(clips: Sequence[Clip]) -> Use:
    """Return what has one of the clips transcribed; the answer must hold words."""

    def use(client: httpx.Client, model: str, number: int) -> httpx.Response:
        clip = clips[number % len(clips)]
        answer = _transcribe(client, model, clip.path.name, clip.path.read_bytes())
        return answer if answer.is_error or answer.json()["text"] else _nothing(answer)

    return use


def _transcribe(client: httpx.Client, model: str, name: str, data: bytes) -> httpx.Response:
    return client.post("/v1/audio/transcriptions", files={"file": (name, data)}, data={"model": model})


def says(client: httpx.Client, model: str, number: int) -> httpx.Response:
    """Have a sentence spoken; the answer must hold sound."""
    return _speak(client, model, f"{SENTENCES[number % len(SENTENCES)]} Number {number}.")


def _speak(client: httpx.Client, model: str, text: str) -> httpx.Response:
    answer = client.post("/v1/audio/speech", json={"model": model, "input": text, "response_format": "pcm"})
    return answer if answer.is_error or answer.content else _nothing(answer)


def _nothing(answer: httpx.Response) -> httpx.Response:
    """Return an answer that counts as wrong."""
    return httpx.Response(204, text="an empty answer", request=answer.request)


def reads(client: httpx.Client, model: str, number: int) -> httpx.Response:
    """Have some sentences spoken."""
    return _speak(client, model, " ".join([*SENTENCES[:_SPOKEN], f"Number {number}."]))


def pair(service: services.Service, models: tuple[str, str], uses: Mapping[str, Use], *, rounds: int) -> Pair:
    """Return what two loaded models take, each alone and both at once; medians of the rounds, taken in turn.

    The faster one is asked as often as takes it as long as one answer takes the other: else it would have nothing to
    do for most of the time.
    """
    numbers = iter(range(1_000_000))
    with httpx.Client(base_url=service.url, timeout=600.0, trust_env=False) as client:

        def ask(model: str, times: int = 1) -> Callable[[], None]:
            def asked() -> None:
                for _ in range(times):
                    uses[model](client, model, next(numbers)).raise_for_status()

            return asked

        for model in models:
            ask(model)()
        times = how_often(_timed(ask(models[0])), _timed(ask(models[1])))
        first, second = map(ask, models, times)
        seconds = [(_timed(first), _timed(second), _timed(first, second)) for _ in range(rounds)]
    one, other, together = (statistics.median(column) for column in zip(*seconds, strict=True))
    return Pair(times, (one, other), together)


def how_often(one: float, other: float) -> tuple[int, int]:
    """Return how often two things are to be done to last about equally long; `one` and `other` are their seconds."""
    return max(1, round(other / one)), max(1, round(one / other))


def _timed(*asks: Callable[[], object]) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(len(asks)) as pool:
        for done in [pool.submit(ask) for ask in asks]:
            done.result()
    return time.perf_counter() - started
