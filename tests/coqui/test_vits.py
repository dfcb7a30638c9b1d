"""VITS and Glow-TTS through the real loaders, with random weights: voices, languages, speed, seeds, not sound."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigurationError, NotSupported, UnsupportedParameter, VoiceNotFound
from tts.engines.coqui import CoquiEngine
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples

TEXT = "Hello there, my friend."
Load = Callable[..., CoquiEngine]


def say(engine: CoquiEngine, voice: Voice, text: str = TEXT, **options: object) -> Samples:
    (chunk,) = engine.synthesize(text, voice, SpeechOptions(**options))  # type: ignore[arg-type]
    assert chunk.sample_rate == engine.sample_rate
    assert np.isfinite(chunk.samples).all()
    assert 0.001 < np.abs(chunk.samples).max() <= 1
    return chunk.samples


def test_a_model_of_one_speaker(vits_dir: Path, load_engine: Load) -> None:
    engine = load_engine(vits_dir)
    (voice,) = engine.voices()
    assert (voice.id, voice.language) == ("default", "en")
    assert [listed.id for listed in CoquiEngine.list_voices(vits_dir)] == ["default"]
    assert (engine.sample_rate, engine.languages) == (22_050, ("en",))
    assert not engine.can_clone
    assert say(engine, voice).size > 2000


def test_speakers_are_listed_without_loading_and_are_the_same_afterwards(
    vits_many: CoquiEngine, vits_many_dir: Path
) -> None:
    listed = CoquiEngine.list_voices(vits_many_dir)
    assert [(voice.id, voice.name) for voice in listed] == [("ed", "ED"), ("p225", "p225"), ("p225_2", "P225")]
    assert vits_many.voices() == listed
    assert vits_many.languages == ("en", "pt")


def test_speakers_and_languages_sound_different(vits_many: CoquiEngine) -> None:
    first, second, _ = vits_many.voices()
    spoken = say(vits_many, first, seed=1, language="en")
    assert np.array_equal(say(vits_many, first, seed=1, language="en"), spoken)
    assert not np.array_equal(say(vits_many, second, seed=1, language="en"), spoken)
    assert not np.array_equal(say(vits_many, first, seed=1, language="pt-PT"), spoken)
    assert not np.array_equal(say(vits_many, first, seed=2, language="en"), spoken)


@pytest.mark.parametrize(
    "text", ["${jndi:ldap://x}", "%s%n{0}'; DROP TABLE", "<speak>hi</speak>", "9" * 200, "a\nb\tc"]
)
def test_hostile_text_does_no_harm(vits_many: CoquiEngine, text: str) -> None:
    for chunk in vits_many.synthesize(text, vits_many.voices()[0], SpeechOptions()):
        assert np.isfinite(chunk.samples).all()


def test_speed_is_the_models_own_and_does_not_stick(vits_many: CoquiEngine) -> None:
    voice = vits_many.voices()[0]
    normal = say(vits_many, voice, seed=1).size
    assert say(vits_many, voice, seed=1, speed=2.0).size < 0.8 * normal
    assert say(vits_many, voice, seed=1, speed=0.5).size > 1.5 * normal
    assert say(vits_many, voice, seed=1).size == normal


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"instructions": "whisper"}, "instructions"),
        ({"language": "ja"}, "language"),
        ({"speed": 0.25}, "speed"),
    ],
)
def test_what_it_cannot_honour_is_refused(vits_many: CoquiEngine, options: dict[str, object], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        list(vits_many.synthesize(TEXT, vits_many.voices()[0], SpeechOptions(**options)))  # type: ignore[arg-type]
    assert caught.value.param == param


@pytest.mark.parametrize("text", ["", "…", "😀", "ひらがな"])
def test_text_outside_the_alphabet_makes_no_sound(vits_many: CoquiEngine, text: str) -> None:
    assert list(vits_many.synthesize(text, vits_many.voices()[0], SpeechOptions())) == []


@pytest.mark.parametrize("kind", ["builtin", "cloned"])
def test_an_unknown_voice_is_refused(vits_many: CoquiEngine, kind: str) -> None:
    with pytest.raises(VoiceNotFound):
        list(vits_many.synthesize(TEXT, Voice(id="nobody", name="", type=kind), SpeechOptions()))  # type: ignore[arg-type]


def test_it_does_not_clone(vits_many: CoquiEngine) -> None:
    with pytest.raises(NotSupported):
        vits_many.clone(Voice(id="me", name="me", type="cloned"), Audio(np.ones(9, dtype=np.float32), 16_000))


def test_noise_is_an_option(vits_dir: Path, load_engine: Load) -> None:
    """Without noise the seed makes no difference."""
    engine = load_engine(vits_dir, options={"noise_scale": "0", "duration_noise_scale": 0})
    voice = engine.voices()[0]
    assert np.array_equal(say(engine, voice, seed=1), say(engine, voice, seed=2))


def test_an_option_of_xtts_stops_the_load(vits_dir: Path, load_engine: Load) -> None:
    with pytest.raises(ConfigurationError, match="top_k"):
        load_engine(vits_dir, options={"top_k": 3})


def test_a_path_of_the_configuration_is_followed_inside_the_folder_only(
    vits_many_dir: Path, tmp_path: Path, load_engine: Load
) -> None:
    folder = Path(shutil.copytree(vits_many_dir, tmp_path / "model"))
    outside = tmp_path / "other_names.json"
    (folder / "speaker_ids.json").rename(outside)
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["speakers_file"] = str(outside)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError):
        load_engine(folder)


def test_the_older_families_go_through_the_librarys_synthesizer(glow_dir: Path, load_engine: Load) -> None:
    engine = load_engine(glow_dir)
    voice = engine.voices()[0]
    assert engine.sample_rate == 22_050
    normal = say(engine, voice, seed=1)
    assert np.array_equal(say(engine, voice, seed=1), normal)
    assert say(engine, voice, seed=1, speed=0.5).size > normal.size
    with pytest.raises(UnsupportedParameter):
        say(engine, voice, temperature=0.5)
