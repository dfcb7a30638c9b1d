from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.engines import EngineContext
from core.errors import ConfigurationError, VoiceNotFound
from tts.engines.fake import CRASH_STATUS, FakeTtsEngine
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio

SRC = Path(__file__).resolve().parents[3] / "src"
SCRIPT = """
import sys
from core.engines import EngineContext
from tts.engines.fake import FakeTtsEngine
from tts.voice import SpeechOptions
engine = FakeTtsEngine(EngineContext())
for _ in engine.synthesize(sys.argv[1], engine.voices()[0], SpeechOptions()): pass
"""


def speak(text: str, voice: Voice | None = None, *, engine: FakeTtsEngine | None = None) -> np.ndarray:
    engine = engine or FakeTtsEngine(EngineContext())
    chunks = engine.synthesize(text, voice or engine.voices()[0], SpeechOptions())
    return np.concatenate([chunk.samples for chunk in chunks])


@pytest.mark.parametrize(("how", "status"), [("crash", CRASH_STATUS), ("segfault", -signal.SIGSEGV)])
def test_a_text_can_end_the_process(how: str, status: int) -> None:
    command = [sys.executable, "-c", SCRIPT, f"now fake:{how} please"]
    assert subprocess.run(command, cwd=SRC, check=False, capture_output=True).returncode == status


@pytest.mark.parametrize(("how", "error"), [("error", RuntimeError), ("out_of_memory", MemoryError)])
def test_a_text_or_an_option_can_raise(how: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        speak(f"now fake:{how} please")
    with pytest.raises(error):
        speak("Hello.", engine=FakeTtsEngine(EngineContext(options={"fail": how})))


def test_a_leak_does_not_change_the_sound() -> None:
    leaking = FakeTtsEngine(EngineContext(options={"fail": "leak", "leak_mb": 1}))
    assert np.array_equal(speak("Hello.", engine=leaking), speak("Hello."))


def test_it_can_refuse_to_load() -> None:
    with pytest.raises(ConfigurationError):
        FakeTtsEngine(EngineContext(options={"load_fails": True})).load()


def test_words_and_voices_have_tones_of_their_own() -> None:
    anna, ben, *_ = FakeTtsEngine(EngineContext()).voices()
    assert not np.array_equal(speak("one", anna), speak("two", anna))
    assert not np.array_equal(speak("one", anna), speak("one", ben))


def test_a_cloned_voice_must_be_prepared() -> None:
    engine = FakeTtsEngine(EngineContext())
    voice = Voice(id="me", name="me", type="cloned", sample=Path("me.wav"))
    with pytest.raises(VoiceNotFound):
        speak("Hello.", voice, engine=engine)
    engine.clone(voice, Audio(np.linspace(-1, 1, 1000, dtype=np.float32), 16_000))
    assert speak("Hello.", voice, engine=engine).size
