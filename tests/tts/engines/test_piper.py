from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from core.engines import EngineContext
from core.errors import ConfigurationError, NotSupported, VoiceNotFound
from tests.onnx_files import model, node, tensor, value
from tts.engines import piper
from tts.engines.piper import PiperEngine
from tts.voice import SpeechOptions, Voice

NOTES = (200, 400, 800)
needs_piper = pytest.mark.skipif(find_spec("piper") is None, reason="piper-tts is not installed")


def write_config(folder: Path, name: str = "de_DE-x-low", **config: Any) -> Path:
    (folder / f"{name}.onnx").write_bytes(b"not a graph")
    (folder / f"{name}.onnx.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def listed(folder: Path) -> list[tuple[str, str | None]]:
    return [(voice.id, voice.language) for voice in PiperEngine.list_voices(folder)]


def write_hum(folder: Path) -> Path:
    """Write a model of three speakers with the inputs of Piper's: each hums a note of his own, for as long as asked."""
    constants = {"zero": 0, "one": 1, "two": 2, "whole": [1, 1, 1, -1]}
    factors = {"from": 0, "by": 1, "per_symbol": 512, "per_noise": 1000, "quiet": 0.1, "half": 0.5}
    graph = [
        node("Cast", "input_lengths", "lengths", to=1),
        node("Gather", "lengths zero", "symbols"),
        *(
            node("Gather", f"scales {at}", name)
            for at, name in (("zero", "noise"), ("one", "scale"), ("two", "rhythm"))
        ),
        node("Mul", "symbols scale", "scaled"),
        node("Mul", "scaled per_symbol", "steady"),
        node("Mul", "rhythm per_noise", "added"),
        node("Add", "steady added", "samples"),
        node("Range", "from samples by", "times"),
        node("Gather", "notes sid", "note"),
        node("Mul", "times note", "phases"),
        node("Sin", "phases", "hum"),
        node("RandomNormalLike", "hum", "random"),
        node("Mul", "random noise", "rough"),
        node("Mul", "rough quiet", "breath"),
        node("Mul", "hum half", "tone"),
        node("Add", "tone breath", "sound"),
        node("Reshape", "sound whole", "output"),
        *(tensor(name, np.array(each, np.int64)) for name, each in constants.items()),
        *(tensor(name, np.array(each, np.float32)) for name, each in factors.items()),
        tensor("notes", np.array(NOTES, np.float32) * 2 * np.pi / 16_000),
        value(11, "input", 7, 1, "N"),
        value(11, "input_lengths", 7, 1),
        value(11, "scales", 1, 3),
        value(11, "sid", 7, 1),
        value(12, "output", 1, 1, 1, 1, "T"),
    ]
    letters = "_^$ abcdefghijklmnopqrstuvwxyz\u0259\u025b\u0254\u026a\u028a\u02c8\u02d0\u03b8\u0279\u028c."
    write_config(
        folder,
        audio={"sample_rate": 16_000},
        espeak={"voice": "en-us"},
        language={"code": "en_US"},
        inference={"noise_scale": 0.0, "length_scale": 1, "noise_w": 0.0},
        phoneme_type="espeak",
        phoneme_id_map={letter: [number] for number, letter in enumerate(letters)},
        num_symbols=len(letters),
        num_speakers=len(NOTES),
        speaker_id_map={"bass": 0, "alto": 1, "p 2": 2},
    )
    (folder / "de_DE-x-low.onnx").write_bytes(model(*graph))
    return folder


def test_a_model_of_one_speaker_is_one_voice(tmp_path: Path) -> None:
    write_config(tmp_path, num_speakers=1, speaker_id_map={}, language={"code": "de_DE"})
    assert listed(tmp_path) == [("de_DE-x-low", "de-DE")]


def test_a_model_of_many_speakers_is_many_voices(tmp_path: Path) -> None:
    write_config(tmp_path, num_speakers=2, speaker_id_map={"eva": 0, "p 2": 1}, language={"code": "de_DE"})
    assert listed(tmp_path) == [("de_DE-x-low-eva", "de-DE"), ("de_DE-x-low-p 2", "de-DE")]


def test_speakers_without_names_are_numbered(tmp_path: Path) -> None:
    write_config(tmp_path, num_speakers=2, espeak={"voice": "en-us"})
    assert listed(tmp_path) == [("de_DE-x-low-0", "en-US"), ("de_DE-x-low-1", "en-US")]


@pytest.mark.parametrize(
    ("espeak", "language"), [("cmn", "zh"), ("nb", "no"), ("pt-br", "pt-BR"), ("de", "de"), ("en-gb-x-rp", "en")]
)
def test_older_configurations_name_espeaks_voice_only(tmp_path: Path, espeak: str, language: str) -> None:
    write_config(tmp_path, espeak={"voice": espeak})
    assert listed(tmp_path) == [("de_DE-x-low", language)]


def test_a_folder_without_a_model_has_no_voices(tmp_path: Path) -> None:
    (tmp_path / "x.onnx.json").write_text("{}", encoding="utf-8")
    assert listed(tmp_path) == []


@needs_piper
@pytest.mark.parametrize("config", [{}, {"audio": {"sample_rate": 22050}}, {"num_speakers": "many"}])
def test_a_broken_folder_does_not_load(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PiperEngine(EngineContext(model=tmp_path)).load()
    with pytest.raises(ConfigurationError):
        PiperEngine(EngineContext(model=write_config(tmp_path, **config))).load()
    (tmp_path / "de_DE-x-low.onnx.json").write_text("[", encoding="utf-8")
    with pytest.raises(ConfigurationError):
        PiperEngine(EngineContext(model=tmp_path)).load()


@pytest.mark.parametrize(
    ("kind", "missing", "told"),
    [
        ("pinyin", "g2pw", r"piper-tts\[zh\]"),
        ("pinyin", None, "g2pW model"),
        ("japanese", "pyopenjtalk", r"piper-tts\[ja\]"),
        ("thai", "tltk", r"piper-tts\[th\]"),
    ],
)
def test_a_language_that_needs_another_reader_says_so(
    kind: str, missing: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piper, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(NotSupported, match=told):
        piper._check_reader({"phoneme_type": kind}, tmp_path)
    monkeypatch.setattr(piper, "find_spec", lambda _: object())
    (tmp_path / "g2pW").mkdir()
    piper._check_reader({"phoneme_type": kind}, tmp_path)


@pytest.fixture(scope="module")
def joe(model_dir: Callable[[str], Path]) -> Iterator[PiperEngine]:
    still = {"noise_scale": 0.0, "noise_w_scale": 0.0}
    engine = PiperEngine(EngineContext(model=model_dir("piper-en_US-joe-medium"), threads=2, options=still))
    engine.load()
    yield engine
    engine.close()


def length(engine: PiperEngine, text: str, speed: float = 1.0) -> int:
    chunks = engine.synthesize(text, engine.voices()[0], SpeechOptions(speed=speed))
    return sum(len(chunk.samples) for chunk in chunks)


@pytest.mark.e2e
@needs_piper
def test_speed_is_the_inverse_of_the_length(joe: PiperEngine) -> None:
    text = "The quick brown fox jumps over the lazy dog."
    for speed in (0.5, 0.75, 1.25, 1.5):
        assert length(joe, text, speed) * speed == pytest.approx(length(joe, text), rel=0.08)


@pytest.mark.e2e
@needs_piper
def test_the_length_can_be_set(joe: PiperEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The quick brown fox jumps over the lazy dog."
    usual = length(joe, text)
    monkeypatch.setattr(joe, "options", joe.options.model_copy(update={"length_scale": 1.5}))
    assert length(joe, text) == pytest.approx(1.5 * usual, rel=0.12)


@pytest.mark.parametrize("options", [{"length_scale": 0}, {"noise_scale": -1}, {"noise_w_scale": 3}, {"speed": 1}])
@needs_piper
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PiperEngine(EngineContext(options=options))


@pytest.mark.e2e
@needs_piper
def test_without_noise_the_sound_is_the_same_every_time(joe: PiperEngine) -> None:
    first, second = (list(joe.synthesize("Hello.", joe.voices()[0], SpeechOptions())) for _ in range(2))
    assert np.array_equal(first[0].samples, second[0].samples)


@pytest.mark.e2e
@needs_piper
def test_parts_of_a_sentence_are_made_louder_alike(joe: PiperEngine) -> None:
    made = []
    for text in ("Hello there, how are you?", "the soft rain,", "and the sea."):
        (chunk,) = joe.synthesize(text, joe.voices()[0], SpeechOptions())
        (bare,) = joe._piper.synthesize(text, joe._config(joe.voices()[0], 1.0))
        made.append(float(np.abs(chunk.samples).max() / np.abs(bare.audio_float_array).max()))
    assert made == pytest.approx([made[0]] * 3, rel=0.01)
    assert 1 < made[0] < 5


@pytest.mark.e2e
@needs_piper
def test_facts_come_from_the_configuration(joe: PiperEngine) -> None:
    assert joe.sample_rate == 22_050
    assert joe.languages == ("en",)
    assert [voice.id for voice in joe.voices()] == ["en_US-joe-medium"]


@pytest.fixture
def load_hum(tmp_path: Path) -> Iterator[Callable[..., PiperEngine]]:
    """A function that loads the model of three speakers, with options."""
    loaded: list[PiperEngine] = []

    def load(**options: Any) -> PiperEngine:
        engine = PiperEngine(EngineContext(model=write_hum(tmp_path), threads=1, options=options))
        engine.load()
        loaded.append(engine)
        return engine

    yield load
    for engine in loaded:
        engine.close()


def hummed(engine: PiperEngine, voice: Voice, **options: Any) -> np.ndarray:
    (chunk,) = engine.synthesize("one two three", voice, SpeechOptions(**options))
    assert chunk.sample_rate == 16_000
    return chunk.samples


@needs_piper
def test_each_speaker_of_a_model_is_the_one_that_is_heard(load_hum: Callable[..., PiperEngine]) -> None:
    engine = load_hum()
    heard = {}
    for voice in engine.voices():
        samples = hummed(engine, voice)
        heard[voice.id] = np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples)
    expected = dict(zip(("de_DE-x-low-bass", "de_DE-x-low-alto", "de_DE-x-low-p 2"), NOTES, strict=True))
    assert heard == pytest.approx(expected, rel=0.01)
    with pytest.raises(VoiceNotFound):
        hummed(engine, Voice(id="de_DE-x-low", name="x"))


@needs_piper
def test_scales_reach_the_model(load_hum: Callable[..., PiperEngine]) -> None:
    engine = load_hum()
    voice = engine.voices()[1]
    usual = hummed(engine, voice)
    assert np.array_equal(hummed(engine, voice), usual)
    assert len(hummed(load_hum(length_scale=2), voice)) == 2 * len(usual)
    assert len(hummed(load_hum(noise_w_scale=2), voice)) == len(usual) + 2000
    rough = load_hum(noise_scale=1)
    assert not np.array_equal(hummed(rough, voice), hummed(rough, voice))
