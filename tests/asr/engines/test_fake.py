"""The fake engine fails in the ways that tests of the services need."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from asr.engines.fake import CRASH_STATUS, FakeAsrEngine
from asr.transcript import TranscribeOptions
from core.engines import EngineContext
from core.errors import ConfigurationError, InsufficientMemory
from utils.audio.pcm import Audio

NOISE = Audio(np.random.default_rng(0).normal(0, 0.1, 32_000).clip(-1, 1).astype(np.float32), 16_000)
CHILD = """
import numpy as np, sys
import voice_stack
from asr.engines.fake import FakeAsrEngine
from asr.transcript import TranscribeOptions
from core.engines import EngineContext
from utils.audio.pcm import Audio
engine = FakeAsrEngine(EngineContext())
engine.load()
found = engine.transcribe(Audio(np.full(16_000, 0.1, np.float32), 16_000), TranscribeOptions(prompt=sys.argv[1]))
print("started", flush=True)
print([segment.text for segment in found.segments])
"""


def engine(**options: Any) -> FakeAsrEngine:
    made = FakeAsrEngine(EngineContext(options=options))
    made.load()
    return made


def hear(made: FakeAsrEngine, audio: Audio = NOISE, **options: Any) -> str:
    return "".join(segment.text for segment in made.transcribe(audio, TranscribeOptions(**options)).segments)


def child(prompt: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", CHILD, prompt], capture_output=True, check=False, timeout=60)


def test_text_depends_on_the_samples_and_on_the_task() -> None:
    louder = Audio(NOISE.samples * 0.5, 16_000)
    texts = {hear(engine()), hear(engine(), louder), hear(engine(), task="translate")}
    assert len(texts) == 3
    assert all(len(text.split()) == 4 for text in texts)


def test_silent_stretches_are_left_out() -> None:
    audio = Audio(np.concatenate([NOISE.samples, np.zeros(64_000, np.float32), NOISE.samples]), 16_000)
    found = list(engine(segment_seconds=2).transcribe(audio, TranscribeOptions()).segments)
    assert [(segment.start, segment.end) for segment in found] == [(0.0, 2.0), (6.0, 8.0)]
    assert found[0].text == found[1].text


@pytest.mark.parametrize(("prompt", "status"), [("fake:crash", CRASH_STATUS), ("fake:segfault", -signal.SIGSEGV)])
def test_process_ends_in_the_middle_of_a_call(prompt: str, status: int) -> None:
    done = child(prompt)
    assert (done.returncode, done.stdout) == (status, b"started\n")


def test_garbage_goes_to_both_outputs_and_the_call_ends_well() -> None:
    done = child("fake:garbage")
    assert done.returncode == 0
    assert b"\xff" in done.stdout
    assert b"\xff" in done.stderr
    assert done.stdout.rstrip().endswith(b"']")


def test_hanging_lasts() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, "fake:hang"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"started\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
        finally:
            process.kill()
        assert process.stdout.read() == b"", "it gave a text"


def test_failure_by_option_and_by_request() -> None:
    with pytest.raises(InsufficientMemory):
        hear(engine(fail="out_of_memory"))
    with pytest.raises(RuntimeError):
        hear(engine(), prompt="fake:error")
    assert hear(engine(leak_mb=1), prompt="fake:leak") == hear(engine(), prompt="fake:nonsense") == hear(engine())


def test_load_can_fail() -> None:
    with pytest.raises(ConfigurationError):
        engine(load_fails=True)


def test_detects_the_language_it_is_told_to() -> None:
    found = engine(language="de").transcribe(NOISE, TranscribeOptions(languages=("de", "fr")))
    assert found.language == "de"
    assert engine(language="de").transcribe(NOISE, TranscribeOptions(languages=("fr",))).language == "fr"
