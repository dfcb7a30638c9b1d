"""Which cloned voices an engine has, and when it forgets them."""

from __future__ import annotations

import contextlib
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.engines import EngineContext
from core.errors import VoiceNotFound
from tts import traces
from tts.engine import TtsEngine
from tts.reference import MAX_VOICES, References
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio


class Remembering(TtsEngine):
    """An engine that has what it was given, and nothing to say."""

    def __init__(self) -> None:
        super().__init__(EngineContext())
        self.has: dict[str, str] = {}

    def load(self) -> None:
        """Nothing to load."""

    def clone(self, voice: Voice, reference: Audio) -> None:
        self.has[voice.id] = traces.recording_hash(reference)

    def forget(self, voice: Voice) -> None:
        del self.has[voice.id]

    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        raise NotImplementedError


def cloned(folder: Path, name: str = "anna", *, frames: bytes = b"\1\0\xff\x7f\0\x80", one_shot: bool = False) -> Voice:
    path = folder / f"{name}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes(frames * 24_000)
    return Voice(id=name, name=name, type="cloned", sample=path, one_shot=one_shot)


def use(references: References, engine: TtsEngine, voice: Voice) -> None:
    with references.using(engine, voice) as prepare:
        prepare()


def test_what_an_engine_has_is_found_by_the_recordings_hash(tmp_path: Path) -> None:
    """Also of one that is longer than what engines are given."""
    for name, frames in (("short", b"\1\0\xff\x7f\0\x80"), ("long", b"\1\0" * 61)):
        engine, voice = Remembering(), cloned(tmp_path, name, frames=frames)
        use(References(), engine, voice)
        assert engine.has == {name: traces.hash_of(voice)}


def test_a_voice_is_cloned_once_and_again_after_it_was_forgotten(tmp_path: Path) -> None:
    engine, references, voice = Remembering(), References(), cloned(tmp_path)
    use(references, engine, voice)
    engine.has["anna"] = "not cloned again"
    use(references, engine, voice)
    assert engine.has == {"anna": "not cloned again"}
    references.forget(engine, voice)
    assert engine.has == {}
    use(references, engine, voice)
    assert engine.has == {"anna": traces.hash_of(voice)}


def test_a_voice_that_is_spoken_with_is_forgotten_at_the_end(tmp_path: Path) -> None:
    engine, references, voice = Remembering(), References(), cloned(tmp_path)
    with references.using(engine, voice) as prepare:
        prepare()
        references.forget(engine, voice)
        assert "anna" in engine.has
    assert engine.has == {}


def test_a_voice_that_several_speak_with_is_forgotten_when_the_last_is_done(tmp_path: Path) -> None:
    engine, references, voice = Remembering(), References(), cloned(tmp_path)
    with references.using(engine, voice) as prepare:
        prepare()
        with references.using(engine, voice) as again:
            again()
            references.forget(engine, voice)
        assert "anna" in engine.has
    assert engine.has == {}


def test_a_new_voice_of_the_name_is_not_forgotten_with_the_old_one(tmp_path: Path) -> None:
    engine, references, voice = Remembering(), References(), cloned(tmp_path)
    with references.using(engine, voice) as prepare:
        prepare()
        references.forget(engine, voice)
        new = cloned(tmp_path, frames=b"\2\0")
        use(references, engine, new)
    assert engine.has == {"anna": traces.hash_of(new)}


def test_an_engine_clones_when_it_is_its_turn(tmp_path: Path) -> None:
    engine, references, voice = Remembering(), References(), cloned(tmp_path)
    with references.using(engine, voice) as prepare:
        assert engine.has == {}
        prepare()
        assert "anna" in engine.has


def test_what_came_with_a_request_goes_with_it(tmp_path: Path) -> None:
    engine, references, voice = Remembering(), References(), cloned(tmp_path, one_shot=True)
    with contextlib.suppress(RuntimeError), references.using(engine, voice) as prepare:
        prepare()
        assert "anna" in engine.has
        raise RuntimeError
    assert engine.has == {}


def test_the_voice_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    engine, references = Remembering(), References()
    voices = [cloned(tmp_path, f"voice{number}", frames=b"\1\0") for number in range(MAX_VOICES + 1)]
    for voice in (*voices[:-1], voices[0], voices[-1]):
        use(references, engine, voice)
    assert set(engine.has) == {voice.id for voice in voices} - {"voice1"}
    use(references, engine, voices[1])
    assert "voice1" in engine.has


def test_a_recording_that_is_gone_is_no_voice(tmp_path: Path) -> None:
    engine, references, voice = Remembering(), References(), cloned(tmp_path)
    use(references, engine, voice)
    assert voice.sample is not None
    voice.sample.unlink()
    with pytest.raises(VoiceNotFound):
        use(references, engine, voice)


def test_traces_go_by_their_recording(tmp_path: Path) -> None:
    for name in ("aa-1.npz", "aa-2.npz", "aab-1.npz", "b-1.npz"):
        (tmp_path / "engine").mkdir(exist_ok=True)
        (tmp_path / "engine" / name).touch()
    traces.remove(tmp_path, "aa")
    traces.remove(tmp_path, None)
    traces.remove(tmp_path / "nowhere", "b")
    assert {path.name for path in tmp_path.rglob("*.npz")} == {"aab-1.npz", "b-1.npz"}


def test_a_file_that_is_no_recording_any_more_has_no_hash(tmp_path: Path) -> None:
    voice = cloned(tmp_path)
    assert voice.sample is not None
    voice.sample.write_bytes(b"something else")
    assert traces.hash_of(voice) is None
