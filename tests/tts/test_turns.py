"""Calls that share one engine: their pieces take turns, and what is waited for in silence goes first."""

from __future__ import annotations

import asyncio
import threading
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from core.process import WorkerSpec
from core.scheduler import Cancelled
from core.worker import CallContext, Event
from core.workers import Worker
from tts.engines.fake import FakeTtsEngine
from tts.voice import Voice
from tts.worker import TtsWorker

ANNA = asdict(Voice(id="fake_anna", name="fake_anna", language="en-US"))
SENTENCES = [f"This is sentence {number}." for number in range(60)]
SECONDS = 20.0


class Gate:
    """Lets an engine begin one piece after the other, and keeps what it was given."""

    def __init__(self) -> None:
        self.spoken: list[str] = []
        self._begun = threading.Condition()
        self._open = threading.Semaphore(0)

    def pass_through(self, text: str) -> None:
        with self._begun:
            self.spoken.append(text)
            self._begun.notify_all()
        assert self._open.acquire(timeout=SECONDS)

    def let(self, pieces: int) -> None:
        self._open.release(pieces)

    def wait_for(self, pieces: int) -> None:
        with self._begun:
            assert self._begun.wait_for(lambda: len(self.spoken) >= pieces, SECONDS)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    real = FakeTtsEngine.synthesize

    def synthesize(self: FakeTtsEngine, text: str, *args: Any) -> Iterator[Any]:
        made.pass_through(text)
        yield from real(self, text, *args)

    monkeypatch.setattr(FakeTtsEngine, "synthesize", synthesize)
    return made


@pytest.fixture
def worker() -> Iterator[TtsWorker]:
    made = TtsWorker({"engine": "fake", "max_chars": 25})
    made.load()
    yield made
    made.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def say(worker: TtsWorker, text: str, context: CallContext | None = None) -> list[Event]:
    return list(worker.call("synthesize", {"text": text, "voice": ANNA}, context=context))


def eventually(condition: Callable[[], bool]) -> None:
    waiter = threading.Event()
    for _ in range(int(SECONDS / 0.01)):
        if condition():
            return
        waiter.wait(0.01)
    pytest.fail("it did not come true")


def test_a_new_call_is_heard_between_two_pieces_of_a_long_text(
    worker: TtsWorker, gate: Gate, threads: ThreadPoolExecutor
) -> None:
    long = threads.submit(say, worker, " ".join(SENTENCES[:5]))
    gate.wait_for(1)
    short = threads.submit(say, worker, "Hi.")
    eventually(lambda: worker._scheduler.waiting == 1)
    gate.let(6)
    assert [event.name for event in short.result(SECONDS)] == ["start", "audio"]
    assert long.result(SECONDS)
    assert gate.spoken == [SENTENCES[0], "Hi.", *SENTENCES[1:5]]


def test_long_texts_take_turns(worker: TtsWorker, gate: Gate, threads: ThreadPoolExecutor) -> None:
    one = threads.submit(say, worker, " ".join(SENTENCES[:3]))
    gate.wait_for(1)
    other = threads.submit(say, worker, " ".join(SENTENCES[10:13]))
    eventually(lambda: worker._scheduler.waiting == 1)
    gate.let(1)
    gate.wait_for(2)
    eventually(lambda: worker._scheduler.waiting == 1)
    gate.let(1)
    gate.wait_for(3)
    eventually(lambda: worker._scheduler.waiting == 1)
    gate.let(4)
    one.result(SECONDS), other.result(SECONDS)
    assert gate.spoken[:4] == [SENTENCES[0], SENTENCES[10], SENTENCES[1], SENTENCES[11]]


def test_a_call_that_is_cancelled_while_it_waits_is_over_and_never_spoken(
    worker: TtsWorker, gate: Gate, threads: ThreadPoolExecutor
) -> None:
    long = threads.submit(say, worker, SENTENCES[0])
    gate.wait_for(1)
    context = CallContext()
    waiting = threads.submit(say, worker, "Never said.", context)
    eventually(lambda: worker._scheduler.waiting == 1)
    context.cancel()
    with pytest.raises(Cancelled):
        waiting.result(SECONDS)
    gate.let(2)
    assert long.result(SECONDS)
    assert say(worker, "Hi.")
    assert gate.spoken == [SENTENCES[0], "Hi."]


def test_a_call_that_is_left_in_the_middle_gives_its_turn_back(worker: TtsWorker, gate: Gate) -> None:
    gate.let(9)
    stream = worker.call("synthesize", {"text": " ".join(SENTENCES), "voice": ANNA})
    assert [next(stream).name, next(stream).name] == ["start", "audio"]
    stream.close()  # type: ignore[attr-defined]
    assert say(worker, "Hi.")


@pytest.mark.parametrize("known", [False, True])
def test_nobody_gets_in_between_a_new_voice_and_its_first_piece(
    worker: TtsWorker,
    gate: Gate,
    threads: ThreadPoolExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
) -> None:
    path = tmp_path / "eve.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\1\0\xff\x7f" * 16_000)
    voice = asdict(Voice(id="eve", name="eve", type="cloned", sample=path)) | {"sample": str(path)}
    real = FakeTtsEngine.clone
    if known:
        gate.let(1)
        list(worker.call("synthesize", {"text": "Known.", "voice": voice}))
        gate.spoken.clear()
    monkeypatch.setattr(FakeTtsEngine, "clone", lambda *args: (gate.spoken.append("clone"), real(*args)))
    long = threads.submit(say, worker, " ".join(SENTENCES[:3]))
    gate.wait_for(1)
    other = threads.submit(say, worker, " ".join(SENTENCES[10:13]))
    eventually(lambda: worker._scheduler.waiting == 1)
    gate.let(1)
    gate.wait_for(2)
    eventually(lambda: worker._scheduler.waiting == 1)
    new = threads.submit(lambda: list(worker.call("synthesize", {"text": "Hi.", "voice": voice})))
    eventually(lambda: worker._scheduler.waiting == 2)
    gate.let(9)
    for each in (long, other, new):
        each.result(SECONDS)
    assert gate.spoken[2:5] == [*([] if known else ["clone"]), "Hi.", SENTENCES[1], SENTENCES[11]][:3]


@pytest.mark.parametrize("callers", [2, 4])
def test_texts_that_share_the_engine_are_not_cut_into_fragments(gate: Gate, callers: int) -> None:
    worker = TtsWorker({"engine": "fake", "engine_options": {"first_chars": 32}, "utterance_cache_mb": 0})
    gate.let(10_000)
    worker.load()
    text = "It runs on your own machine and needs no cloud at all. Every word stays where it was said. " * 16
    gate.spoken.clear()
    say(worker, text)
    alone = len(gate.spoken)
    gate.spoken.clear()
    with ThreadPoolExecutor(callers) as pool:
        for answer in [pool.submit(say, worker, text) for _ in range(callers)]:
            answer.result(SECONDS)
    worker.close()
    assert len(gate.spoken) <= 1.3 * alone * callers
    assert all(len(piece.split()) >= 3 for piece in gate.spoken)


@pytest.mark.anyio
async def test_a_worker_process_answers_a_short_text_while_it_speaks_a_long_one() -> None:
    config = {"engine": "fake", "max_chars": 25, "engine_options": {"delay": 0.25}}  # 15 seconds for the long one
    worker = Worker(WorkerSpec(name="fake", handler="tts.worker:TtsWorker", config=config, slots=16, log_level="ERROR"))
    done: list[str] = []
    speaking = asyncio.Event()

    async def speak(text: str) -> None:
        async with worker.call("synthesize", {"text": text, "voice": ANNA}, timeout=60) as call:
            async for event in call:
                if event.name == "audio":
                    speaking.set()
        done.append(text)

    try:
        async with asyncio.TaskGroup() as tasks:
            long = tasks.create_task(speak(" ".join(SENTENCES)))
            await speaking.wait()
            async with asyncio.TaskGroup() as others:
                for text in ("Hi.", "Good morning."):
                    others.create_task(speak(text))
                async with worker.call("synthesize", {"text": "Cancelled.", "voice": ANNA}, timeout=60) as call:
                    assert (await anext(aiter(call))).name == "start"
            assert sorted(done) == ["Good morning.", "Hi."]
            speaking.clear()
            await speaking.wait()  # the long one goes on
            assert not long.done()
            long.cancel()
    finally:
        await worker.close()
