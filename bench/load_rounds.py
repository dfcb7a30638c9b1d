"""Models loaded, used and unloaded by several clients at once, again and again, over the routes that everybody uses."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench import processes, services

CLIENTS = 4
ANSWER_SECONDS = 120.0
SETTLE_SECONDS = 30.0
FAKES = ("rounds-a", "rounds-b", "rounds-c")
"""Fewer than clients, so that they meet: one unloads what another uses."""
TASKS: Mapping[services.Name, str] = {"asr": "automatic-speech-recognition", "tts": "text-to-speech"}
EXPECTED: Mapping[str, frozenset[int]] = {
    "load": frozenset({201, 409}),  # 409: it is loaded already
    "use": frozenset({200}),
    "unload": frozenset({200, 404, 409}),  # 404: somebody else was faster; 409: somebody else uses it
}
Use = Callable[[httpx.Client, str, int], httpx.Response]
"""Asks a model for something, another thing for each number: requests that are the same would share one answer."""


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

    @property
    def told(self) -> Iterable[str]:
        """Each failure once, with how often it came."""
        return (f"{failure} ({count} times)" for failure, count in Counter(self.failures).items())


def settings(name: services.Name, models: Sequence[str], folder: Path) -> dict[str, str]:
    """Return the settings of a service that may keep all of the models; a models.toml in `folder` tells of FAKES."""
    prefix = name.upper()
    told = {f"{prefix}_MODEL": models[0], "MODEL_SLOTS": str(len(models))}
    if not set(models) <= set(FAKES):
        return told
    file = folder / "models.toml"
    entry = '[models.{model}]\nengine = "fake"\ntask = "{task}"\n'
    file.write_text("".join(entry.format(model=model, task=TASKS[name]) for model in models), encoding="utf-8")
    return told | {"MODELS_FILE": str(file), f"{prefix}_ENGINE": "fake"}


def run(service: services.Service, models: Sequence[str], use: Use, *, rounds: int, clients: int = CLIENTS) -> Seen:
    """Do so many rounds, shared by the clients, and measure memory before and after, all models unloaded."""
    seen, lock = Seen(), threading.Lock()
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
            model = models[number % len(models)]
            step("load", lambda: client.post(f"/api/ps/{model}"))
            step("use", lambda: use(client, model, number))
            step("unload", lambda: client.delete(f"/api/ps/{model}"))

        for number in range(len(models)):  # the first of everything brings in code
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
