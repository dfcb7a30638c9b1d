"""The sherpa-onnx engine: voices of made-up folders; Piper's and Kokoro's real weights where sherpa-onnx is installed.

Of Matcha, Kitten, MeloTTS, Supertonic, ZipVoice and Pocket no weights are at hand: what they are told is held against
the types of the library, or tested on a stand-in for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scripts import convert_voice

from core import sherpa
from core.engines import EngineContext
from core.errors import InvalidAudio, InvalidRequest, ModelBroken, UnsupportedParameter, VoiceNotFound
from core.sherpa import SherpaModel
from tests.core.test_sherpa import FOLDERS, folder
from tts.engines.sherpa_onnx import SherpaOnnxEngine
from tts.engines.sherpa_onnx_phonemes import LONGEST, Phonemes, lexicons
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio
from utils.onnx_metadata import more_metadata, read_metadata

needs_sherpa = pytest.mark.skipif(find_spec("sherpa_onnx") is None, reason="sherpa-onnx is not installed")


def listed(folder: Path, name: str, facts: Mapping[str, object], *others: str) -> list[tuple[str, str | None]]:
    (folder / name).write_bytes(b"\x08\x07" + more_metadata(facts))
    for other in ("tokens.txt", *others):
        (folder / other).write_bytes(b"")
    return [(voice.id, voice.language) for voice in SherpaOnnxEngine.list_voices(folder)]


def test_a_voice_is_called_as_its_file(tmp_path: Path) -> None:
    facts = {"comment": "piper", "n_speakers": 1, "voice": "en-us", "language": "English"}
    assert listed(tmp_path, "en_US-joe-medium.onnx", facts) == [("en_US-joe-medium", "en-US")]


def test_speakers_are_named_or_numbered(tmp_path: Path) -> None:
    facts = {"comment": "coqui", "n_speakers": 2, "language": "German"}
    assert listed(tmp_path, "de.onnx", facts) == [("de-0", "de"), ("de-1", "de")]
    assert listed(tmp_path, "de.onnx", {**facts, "speaker_names": "eva,tom"}) == [("eva", "de"), ("tom", "de")]


def test_kokoros_voices_say_their_language(tmp_path: Path) -> None:
    facts = {"model_type": "kokoro", "n_speakers": 2, "speaker_names": "bf_emma,pm_alex"}
    assert listed(tmp_path, "model.onnx", facts, "voices.bin") == [("bf_emma", "en-GB"), ("pm_alex", "pt-BR")]


def test_supertonics_voices_are_counted_in_its_file(tmp_path: Path) -> None:
    for name in ("text_encoder", "vector_estimator", "vocoder"):
        (tmp_path / f"{name}.onnx").write_bytes(b"\x08\x07")
    listed(tmp_path, "duration_predictor.onnx", {}, "tts.json", "unicode_indexer.bin")
    (tmp_path / "voice.bin").write_bytes(struct.pack("<6q", 3, 50, 256, 3, 8, 16))
    assert [voice.language for voice in SherpaOnnxEngine.list_voices(tmp_path)] == ["en"] * 3


def test_phonemes_are_those_of_the_model(tmp_path: Path) -> None:
    from kokoro_onnx.config import DEFAULT_VOCAB  # noqa: PLC0415 - loads onnxruntime
    from kokoro_onnx.tokenizer import Tokenizer  # noqa: PLC0415

    convert_voice.write_tokens(DEFAULT_VOCAB, tmp_path / "tokens.txt")
    phonemes = Phonemes(tmp_path / "tokens.txt")
    first, second = phonemes.sentences("Hello, world. How are you?", "en-us")
    assert "".join(map(chr, first)) == Tokenizer().phonemize("Hello, world.", "en-us")
    assert chr(second[-1]) == "?"
    assert phonemes.sentences("?!", "en") == []
    long = phonemes.sentences("word " * 300, "en")
    assert len(long) > 1
    assert max(map(len, long)) <= LONGEST
    with pytest.raises(UnsupportedParameter):
        phonemes.sentences("hello", "xx-xx")


def test_espeak_reads_what_a_lexicon_would_leave_out(tmp_path: Path) -> None:
    folder(tmp_path, "lexicon-gb-en.txt", "lexicon-us-en.txt")
    assert lexicons(tmp_path, "kokoro") == lexicons(tmp_path, "kitten") == ""
    folder(tmp_path, "lexicon-zh.txt")
    names = [Path(path).name for path in lexicons(tmp_path, "kokoro").split(",")]
    assert names == ["lexicon-zh.txt", "lexicon-us-en.txt"]
    assert len(lexicons(tmp_path, "matcha").split(",")) == 3


class Library:
    """As OfflineTts and GenerationConfig: remembers what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def GenerationConfig(self) -> Any:  # noqa: N802 - as the library calls it
        return SimpleNamespace(extra={}, phoneme_codepoints=[], sid=0)

    def generate(self, text: str, config: Any) -> Any:
        self.asked.append((text, config))
        return SimpleNamespace(samples=[0.5, -2.0], sample_rate=24_000)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[SherpaOnnxEngine, Library]]:
    """A function that makes an engine whose library is a stand-in."""
    monkeypatch.setattr(SherpaOnnxEngine, "requires", ())

    def make(family: str, *voices: str) -> tuple[SherpaOnnxEngine, Library]:
        engine, library = SherpaOnnxEngine(EngineContext(options={"num_steps": 7})), Library()
        engine._library = engine._tts = library
        engine._model = SherpaModel(family=family, kind="tts")
        engine._numbers = {name: number for number, name in enumerate(voices)}
        engine.languages, engine.can_clone = ("en", "fr"), not voices
        return engine, library

    return make


Made = Callable[..., tuple[SherpaOnnxEngine, Library]]


def spoken(engine: SherpaOnnxEngine, voice: Voice, text: str = "Hello.", **options: Any) -> list[Audio]:
    return list(engine.synthesize(text, voice, SpeechOptions(**options)))


def test_a_numbered_voice_and_its_options_reach_the_library(made: Made) -> None:
    engine, library = made("supertonic", "F1", "M1")
    (audio,) = spoken(engine, Voice(id="M1", name="M1", language="en"), seed=4, speed=1.2, language="fr")
    assert audio.samples.tolist() == [0.5, -1.0]
    (text, config) = library.asked[0]
    assert (text, config.sid, config.speed, config.num_steps) == ("Hello.", 1, 1.2, 7)
    assert config.extra == {"seed": "4", "lang": "fr"}
    assert config.silence_scale == 1.0


def test_a_recording_and_its_text_reach_the_library(made: Made) -> None:
    engine, library = made("zipvoice")
    voice = Voice(id="me", name="me", type="cloned", transcript="So I said.")
    reference = Audio(np.full(48_000, 0.1, np.float32), 24_000)
    with pytest.raises(VoiceNotFound):
        spoken(engine, voice)
    engine.clone(voice, reference)
    assert spoken(engine, voice)
    config = library.asked[0][1]
    assert config.reference_audio is reference.samples
    assert (config.reference_sample_rate, config.reference_text) == (24_000, "So I said.")
    engine.forget(voice)
    with pytest.raises(VoiceNotFound):
        spoken(engine, voice)


def test_what_cannot_be_done_is_refused(made: Made) -> None:
    engine, _ = made("zipvoice")
    voice = Voice(id="me", name="me", type="cloned")
    with pytest.raises(InvalidRequest):
        engine.check("Hello.", voice, SpeechOptions())
    for seconds, level in ((0.5, 0.1), (40.0, 0.1), (3.0, 0.0)):
        with pytest.raises(InvalidAudio):
            engine.clone(voice, Audio(np.full(round(seconds * 16_000), level, np.float32), 16_000))
    for options in ({"seed": 1}, {"temperature": 1.0}, {"instructions": "x"}, {"language": "de"}):
        with pytest.raises(UnsupportedParameter):
            spoken(engine, voice, **options)


@needs_sherpa
@pytest.mark.parametrize(("names", "notes", "family", "kind"), [each for each in FOLDERS if each[3] == "tts"])
def test_the_library_takes_what_a_family_is_made_with(
    tmp_path: Path, names: tuple[str, ...], notes: Any, family: str, kind: str
) -> None:
    import sherpa_onnx  # noqa: PLC0415 - only where it is installed

    path = folder(tmp_path, "tokens.txt", *names, notes=notes)
    engine = SherpaOnnxEngine(EngineContext(model=path, options={"noise_scale": 0.5, "noise_w_scale": 0.5}))
    model = sherpa.find(path)
    assert model is not None
    assert (model.family, model.kind) == (family, kind)
    engine._library, engine._model = sherpa_onnx, model
    made = getattr(engine._config("lexicon.txt").model, family)
    assert {name: getattr(made, name) for name in model.files} == {
        name: str(file) for name, file in model.files.items()
    }


@needs_sherpa
def test_the_library_takes_a_recording_to_speak_like(tmp_path: Path) -> None:
    import sherpa_onnx  # noqa: PLC0415 - only where it is installed

    engine = SherpaOnnxEngine(EngineContext(model=tmp_path, options={"num_steps": 7}))
    engine._library, engine.can_clone = sherpa_onnx, True
    engine._model = SherpaModel(family="pocket", kind="tts")
    voice = Voice(id="me", name="me", type="cloned", transcript="So I said.")
    engine.clone(voice, Audio(np.full(48_000, 0.25, np.float32), 24_000))
    asked = engine._asked(voice, SpeechOptions(seed=3, temperature=0.5))
    assert (asked.reference_sample_rate, asked.reference_text, asked.num_steps) == (24_000, "So I said.", 7)
    assert list(asked.reference_audio) == [0.25] * 48_000
    assert dict(asked.extra) == {"seed": "3", "temperature": "0.5"}


@needs_sherpa
@pytest.mark.e2e
@pytest.mark.parametrize("fault", ["network", "tokens", "rate"])
def test_a_damaged_voice_is_said_to_be_one(tmp_path: Path, model_dir: Callable[[str], Path], fault: str) -> None:
    convert_voice.convert(model_dir("piper-en_US-joe-medium"), tmp_path)
    network = tmp_path / "en_US-joe-medium.onnx"
    if fault == "network":
        network.write_bytes(network.read_bytes().replace(b"Softmax", b"NoSuchX"))
    elif fault == "tokens":
        (tmp_path / "tokens.txt").write_text("")
    else:
        with network.open("ab") as file:
            file.write(more_metadata({"sample_rate": "fast"}))
    with pytest.raises(ModelBroken):
        SherpaOnnxEngine(EngineContext(model=tmp_path, threads=1)).load()


@pytest.mark.e2e
def test_a_conversion_keeps_the_weights(tmp_path: Path, model_dir: Callable[[str], Path]) -> None:
    source = model_dir("piper-en_US-joe-medium")
    convert_voice.convert(source, tmp_path)
    before = (source / "en_US-joe-medium.onnx").read_bytes()
    after = tmp_path / "en_US-joe-medium.onnx"
    assert after.read_bytes().startswith(before)
    assert read_metadata(after)["sample_rate"] == "22050"
    assert [voice.id for voice in SherpaOnnxEngine.list_voices(tmp_path)] == ["en_US-joe-medium"]


def test_what_is_no_voice_is_not_converted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither"):
        convert_voice.convert(tmp_path, tmp_path / "out")


@pytest.fixture(scope="module")
def kokoro(model_dir: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SherpaOnnxEngine]:
    folder = tmp_path_factory.mktemp("kokoro")
    convert_voice.convert(model_dir("kokoro-82m-int8"), folder)
    engine = SherpaOnnxEngine(EngineContext(model=folder, model_id="kokoro", threads=2))
    engine.load()
    yield engine
    engine.close()


@needs_sherpa
@pytest.mark.e2e
def test_kokoros_voices_differ_and_speak_their_languages(kokoro: SherpaOnnxEngine) -> None:
    voices = {voice.id: voice for voice in kokoro.voices()}
    one, two = list(voices.values())[:2]
    first, second = (np.concatenate([each.samples for each in spoken(kokoro, voice)]) for voice in (one, two))
    assert not np.array_equal(first, second)
    assert len(spoken(kokoro, one, "One. Two.")) == 2
    with pytest.raises(UnsupportedParameter):
        spoken(kokoro, one, language="xx")
    for language in ("zh", "ja"):
        kokoro.check("\u3053\u3093 ni hao", one, SpeechOptions(language=language))
        with pytest.raises(InvalidRequest):
            kokoro.check("\u4f60\u597d", one, SpeechOptions(language=language))


@needs_sherpa
@pytest.mark.e2e
def test_kokoros_lexicons_are_for_chinese(kokoro: SherpaOnnxEngine, tmp_path: Path) -> None:
    weights = cast("Path", kokoro.context.model)
    for path in weights.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "lexicon-zh.txt").write_text("\u4e16 \u0282 \u0268 \u2198\n", encoding="utf-8")
    (tmp_path / "lexicon-gb-en.txt").write_text("hello b a\n", encoding="utf-8")
    engine = SherpaOnnxEngine(EngineContext(model=tmp_path, threads=2))
    engine.load()
    voice = kokoro.voices()[0]
    (own,), (same,) = (spoken(each, voice, "Hello, sherpas.") for each in (kokoro, engine))
    assert np.array_equal(own.samples, same.samples)
    engine.check("\u4e16", voice, SpeechOptions(language="zh"))
    assert spoken(engine, voice, "\u4e16", language="zh")
    engine.close()
