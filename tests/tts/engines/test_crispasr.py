"""The crispasr engine for speech synthesis: voices, recordings, and what the library is told of them.

On a stand-in for the library: trained weights are at hand for Piper's architecture alone (tests/contract), which has
neither names of speakers nor clones.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts.voice_gguf import write

from core.engines import EngineContext
from core.errors import (
    ConfigurationError,
    InternalError,
    InvalidAudio,
    ModelBroken,
    NotSupported,
    UnsupportedParameter,
    VoiceNotFound,
)
from tests.crispasr_library import EMPTY, Library
from tts.engines.crispasr import CrispasrTtsEngine, CrispasrTtsOptions
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio

pytestmark = pytest.mark.adapter
REFERENCE = Audio(np.full(16_000, 0.2, np.float32), 16_000)
ANNA = Voice(id="anna", name="anna", type="cloned", transcript="what she says")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    found = Library()
    found.backend = "chatterbox"
    monkeypatch.setitem(sys.modules, "crispasr", found)
    return found


def opened(folder: Path, *files: str, **options: Any) -> CrispasrTtsEngine:
    for name in ("model.gguf", *files):
        (folder / name).write_bytes(EMPTY)
    engine = CrispasrTtsEngine(EngineContext(model=folder, model_id="mine", threads=2, options=options))
    engine.load()
    return engine


def speak(engine: CrispasrTtsEngine, voice: Voice | None = None, text: str = "Hello.", **options: Any) -> np.ndarray:
    chunks = engine.synthesize(text, voice or engine.voices()[0], SpeechOptions(**options))
    return np.concatenate([np.zeros(0, np.float32), *(chunk.samples for chunk in chunks)])


def test_a_model_without_names_has_one_voice(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path)
    assert list(engine.voices()) == list(CrispasrTtsEngine.list_voices(tmp_path))
    assert [voice.id for voice in engine.voices()] == ["default"]
    assert speak(engine).size == 2400
    assert library.calls("synthesize")[-1] == ("synthesize", "Hello.")
    assert library.calls("set_voice", "set_speaker_name", "set_speaker_id") == []


def test_speakers_are_voices_and_that_of_the_options_is_first(library: Library, tmp_path: Path) -> None:
    library.backend, library.names = "orpheus", ["leo", "tara"]
    engine = opened(tmp_path, "snac.gguf", codec="snac.gguf", speaker="tara")
    assert [voice.id for voice in engine.voices()] == ["tara", "leo"]
    speak(engine)
    speak(engine, engine.voices()[1])
    assert library.calls("set_speaker_name") == [("set_speaker_name", "tara"), ("set_speaker_name", "leo")]
    assert library.told[1] == ("set_codec_path", str(tmp_path / "snac.gguf"))
    assert not engine.can_clone
    with pytest.raises(NotSupported):
        engine.clone(ANNA, REFERENCE)


def test_a_speaker_that_is_not_there_is_told(library: Library, tmp_path: Path) -> None:
    library.backend, library.names = "orpheus", ["leo"]
    with pytest.raises(ConfigurationError, match="leo"):
        opened(tmp_path, speaker="tara")


def test_the_voice_of_the_options_is_beside_the_model(library: Library, tmp_path: Path) -> None:
    opened(tmp_path, "me.wav", voice="me.wav", voice_text="what I say")
    assert library.calls("set_voice") == [("set_voice", str(tmp_path / "me.wav"), "what I say")]
    with pytest.raises(ConfigurationError, match=r"there is no file you\.wav"):
        opened(tmp_path, voice="you.wav")


@pytest.mark.parametrize("options", [{"speaker": "a", "voice": "b.wav"}, {"voice_text": "a"}])
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="voice"):
        CrispasrTtsOptions.model_validate(options)


def test_a_recording_is_a_voice_with_its_transcript(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path)
    engine.clone(ANNA, REFERENCE)
    for _ in range(2):
        speak(engine, ANNA)
    given = library.calls("set_voice_samples")
    assert [(len(call[1]), *call[2:]) for call in given] == [(16_000, 16_000, "what she says")]


def test_the_own_voice_comes_back_with_a_new_session(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path)
    engine.clone(ANNA, REFERENCE)
    for voice in (ANNA, engine.voices()[0], ANNA):
        speak(engine, voice)
    assert [call[0] for call in library.calls("open", "close", "set_voice_samples")] == [
        "open",
        "set_voice_samples",
        "close",
        "open",
        "set_voice_samples",
    ]


def test_a_session_that_could_not_be_opened_again_is_not_used_and_tried_again(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path)
    engine.clone(ANNA, REFERENCE)
    speak(engine, ANNA)
    library.fails = {"open"}
    said = len(library.calls("synthesize"))
    for _ in range(2):
        with pytest.raises(ModelBroken):
            speak(engine)
    assert len(library.calls("synthesize")) == said
    assert len(library.calls("close")) == 1
    library.fails = set()
    assert speak(engine).size
    engine.close()
    with pytest.raises(InternalError):
        speak(engine)


def test_an_architecture_that_the_library_does_not_list_speaks(library: Library, tmp_path: Path) -> None:
    assert speak(opened(tmp_path, backend="vibevoice-tts")).size
    library.verbs = {}
    assert speak(opened(tmp_path, backend="vibevoice-tts")).size


def test_another_recording_of_a_name_is_taken_and_a_forgotten_one_is_gone(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path)
    for _ in range(2):
        engine.clone(ANNA, REFERENCE)
        speak(engine, ANNA)
    assert len(library.calls("set_voice_samples")) == 2
    engine.forget(ANNA)
    with pytest.raises(VoiceNotFound):
        speak(engine, ANNA)


def test_a_recording_that_the_library_refuses_leaves_the_others(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path)
    engine.clone(ANNA, REFERENCE)
    library.fails = {"set_voice_samples"}
    with pytest.raises(InvalidAudio) as caught:
        speak(engine, ANNA)
    assert caught.value.param == "voice"
    library.fails = set()
    assert speak(engine).size


@pytest.mark.parametrize("options", [{"seed": 1}, {"temperature": 0.5}, {"instructions": "whisper"}])
def test_what_it_cannot_be_told_is_refused(library: Library, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        speak(opened(tmp_path), **options)
    assert caught.value.param == next(iter(options))


def test_the_language_is_told_or_known(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path, language="de")
    speak(engine, language="de-DE")
    assert library.calls("set_target_language")[-1] == ("set_target_language", "de")
    with pytest.raises(UnsupportedParameter):
        speak(engine, language="fr")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('He said: "Hi `$(touch x)`"', "He said: 'Hi ' (touch x)''"),
        ("a\\$HOME ${HOME} $$ \0\n b", "a HOME {HOME} $ b"),
        ("It costs $5, or 5 $", "It costs $5, or 5 $"),
        ("-f /etc/passwd", " -f /etc/passwd"),
    ],
)
def test_no_shell_makes_anything_of_the_text(library: Library, tmp_path: Path, text: str, said: str) -> None:
    engine = opened(tmp_path)
    speak(engine, text=text)
    assert library.calls("synthesize")[-1] == ("synthesize", said)


def test_the_language_of_a_piper_voice_is_in_its_file(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "voice.gguf", {"piper.espeak_voice": "pt-br", "piper.sample_rate": 22_050}, {})
    engine = CrispasrTtsEngine(EngineContext(model=tmp_path))
    engine.load()
    assert [voice.language for voice in CrispasrTtsEngine.list_voices(tmp_path)] == ["pt"]
    assert [voice.language for voice in engine.voices()] == ["pt"]
    with pytest.raises(UnsupportedParameter):
        speak(engine, language="en")


def test_samples_are_brought_into_their_range(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path)
    library.samples = np.array([2.0, -3.0, 0.5], np.float32)
    assert speak(engine).tolist() == [1.0, -1.0, 0.5]
    library.samples = np.array([np.nan], np.float32)
    with pytest.raises(InternalError):
        speak(engine)
    assert speak(engine, text="...").size == 0


def test_a_model_that_listens_or_is_silent_does_not_load(library: Library, tmp_path: Path) -> None:
    library.samples = np.zeros(100, np.float32)
    with pytest.raises(ModelBroken):
        opened(tmp_path)
    library.backend = "parakeet"
    with pytest.raises(ConfigurationError, match="ASR service"):
        opened(tmp_path)
