"""Models loaded, used and unloaded by several clients at once, again and again: no error, no hang, the memory back.

`make bench-load`: 200 rounds by four clients of each service, with the fake engines, over the routes that everybody
uses; needs no model. Environment: ROUNDS=20 for fewer. Exit status 1 when an answer was wrong or memory stayed.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from bench import processes, services

ROUNDS, CLIENTS = 200, 4
MODELS = ("rounds-a", "rounds-b", "rounds-c")
"""Fewer than clients, so that they meet: one unloads what another uses."""
MAX_GROWTH_MB = 60.0
ANSWER_SECONDS = 60.0
SETTLE_SECONDS = 30.0
TASKS: Mapping[services.Name, str] = {"asr": "automatic-speech-recognition", "tts": "text-to-speech"}
EXPECTED: Mapping[str, frozenset[int]] = {
    "load": frozenset({201, 409}),  # 409: it is loaded already
    "use": frozenset({200}),
    "unload": frozenset({200, 404, 409}),  # 404: somebody else was faster; 409: somebody else uses it
}
_RATE = 16_000


@dataclass
class Seen:
    """What came of the rounds: answers by step and status, what went wrong, and memory in MB before and after."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    before: float = 0.0
    after: float = 0.0
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """Memory that did not come back, in MB."""
        return self.after - self.before


def settings(name: services.Name, folder: Path) -> dict[str, str]:
    """Return the settings of a service with models of the fake engine, which a models.toml in `folder` names."""
    file = folder / "models.toml"
    entry = '[models.{model}]\nengine = "fake"\ntask = "{task}"\n'
    file.write_text("".join(entry.format(model=model, task=TASKS[name]) for model in MODELS), encoding="utf-8")
    prefix = name.upper()
    return {
        "MODELS_FILE": str(file),
        f"{prefix}_MODEL": MODELS[0],
        f"{prefix}_ENGINE": "fake",
        "MODEL_SLOTS": str(len(MODELS)),
    }


def run(service: services.Service, *, rounds: int, clients: int = CLIENTS) -> Seen:
    """Do so many rounds, shared by the clients, and measure memory before and after, all models unloaded."""
    seen, lock = Seen(), threading.Lock()
    use = _USES[service.name]
    with httpx.Client(base_url=service.url, timeout=ANSWER_SECONDS, trust_env=False) as client:

        def step(name: str, ask: Callable[[], httpx.Response]) -> None:
            try:
                answer = ask()
            except httpx.HTTPError as error:
                with lock:
                    seen.failures.append(f"{name}: {error!r}")
                return
            with lock:
                seen.answers[name, answer.status_code] += 1
                if answer.status_code not in EXPECTED[name]:
                    seen.failures.append(f"{name}: {answer.status_code} {answer.text[:200]}")

        def one(number: int) -> None:
            model = MODELS[number % len(MODELS)]
            step("load", lambda: client.post(f"/api/ps/{model}"))
            step("use", lambda: use(client, model, number))
            step("unload", lambda: client.delete(f"/api/ps/{model}"))

        for number in range(len(MODELS)):  # the first of everything brings in code
            one(number)
        seen.before = _at_rest(client, service.pid, seen)
        seen.answers.clear()
        started = time.monotonic()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(one, range(rounds)))
        seen.seconds = time.monotonic() - started
        seen.after = _at_rest(client, service.pid, seen)
    return seen


def _at_rest(client: httpx.Client, pid: int, seen: Seen) -> float:
    """Unload what is loaded, wait for the workers to end, and return the memory of all processes in MB."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        loaded = client.get("/api/ps").raise_for_status().json()["models"]
        for model in loaded:
            client.delete(f"/api/ps/{model}")
        workers = [one for one in processes.tree(pid) if _is_worker(one)]
        if not loaded and not workers:
            return processes.total_rss(pid)
        if time.monotonic() > deadline:
            seen.failures.append(f"{len(loaded)} models and {len(workers)} workers are still there")
            return processes.total_rss(pid)
        time.sleep(0.1)


def _is_worker(pid: int) -> bool:
    try:
        return processes.role(pid) == "worker"
    except OSError:
        return False


def _transcribe(client: httpx.Client, model: str, number: int) -> httpx.Response:
    """Send noise of its own each time: requests that are the same would share one answer."""
    noise = np.random.default_rng(number).normal(0.0, 0.1, _RATE // 2).clip(-1, 1)
    file = io.BytesIO()
    soundfile.write(file, noise, _RATE, format="WAV", subtype="PCM_16")
    files = {"file": ("noise.wav", file.getvalue())}
    return client.post("/v1/audio/transcriptions", files=files, data={"model": model})


def _speak(client: httpx.Client, model: str, number: int) -> httpx.Response:
    body: dict[str, Any] = {"model": model, "input": f"Round {number}.", "voice": "fake_anna", "response_format": "pcm"}
    return client.post("/v1/audio/speech", json=body)


_USES: Mapping[str, Callable[[httpx.Client, str, int], httpx.Response]] = {"asr": _transcribe, "tts": _speak}


def table(found: Mapping[str, Seen]) -> Table:
    """Return what was seen of each service, for the terminal."""
    shown = Table(title="load, use, unload", title_justify="left")
    for heading in ("service", "answers", "took", "before", "after", "growth"):
        shown.add_column(heading)
    for name, seen in found.items():
        answers = ", ".join(f"{step} {status}: {count}" for (step, status), count in sorted(seen.answers.items()))
        memory = (f"{value:.1f} MB" for value in (seen.before, seen.after, seen.growth))
        shown.add_row(name, answers, f"{seen.seconds:.0f} s", *memory)
    return shown


def problems(found: Mapping[str, Seen]) -> Iterable[str]:
    """Yield what is wrong: each failure once with how often it came, and memory that stayed."""
    for name, seen in found.items():
        for failure, count in Counter(seen.failures).items():
            yield f"{name}: {failure} ({count} times)"
        if seen.growth > MAX_GROWTH_MB:
            yield f"{name}: {seen.growth:.1f} MB stayed, {MAX_GROWTH_MB:g} may"


def main() -> int:
    """Do the rounds, print the table, and say by the exit status whether all is well."""
    console, found = Console(), dict[str, Seen]()
    rounds = int(os.environ.get("ROUNDS") or ROUNDS)
    for name in TASKS:
        with (
            tempfile.TemporaryDirectory(prefix="bench-load-") as folder,
            services.running(name, settings(name, Path(folder))) as service,
        ):
            found[name] = run(service, rounds=rounds)
    console.print(table(found))
    wrong = list(problems(found))
    for problem in wrong:
        console.print(f"failed: {problem}", soft_wrap=True, markup=False)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
