from __future__ import annotations

import wave
from pathlib import Path

import pytest

from core.errors import VoiceNotFound
from tts.recordings import Recordings
from tts.voice import Voice
from tts.voices import VoiceBook, stand_ins

OPENAI = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx"),
    *("nova", "sage", "shimmer", "verse", "marin", "cedar"),
)
JAPANESE = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")


def builtin(*ids: str) -> list[Voice]:
    return [Voice(id=name, name=name, language={"j": "ja", "a": "en-US", "p": "pt-BR"}.get(name[0])) for name in ids]


def write(folder: Path, *stems: str) -> Path:
    for stem in stems:
        with wave.open(str(folder / f"{stem}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(b"\1\0" * 800)
    return folder


def resolve(
    name: str | None,
    voices: list[Voice],
    *,
    folder: Path,
    language: str | None = None,
    clones: bool = False,
    **book: str,
) -> str:
    return VoiceBook(Recordings(folder), **book).resolve(name, language, voices, clones=clones).id


def test_the_default_voice(tmp_path: Path) -> None:
    every = builtin("af_alloy", "af_bella", "af_heart", *JAPANESE)
    assert resolve(None, every, folder=tmp_path) == "af_heart"
    assert resolve("", every, folder=tmp_path) == "af_heart"
    assert resolve(None, every, folder=tmp_path, default="af_bella") == "af_bella"
    assert resolve(None, every, folder=tmp_path, default="not_there") == "af_heart"
    assert resolve(None, builtin(*JAPANESE), folder=tmp_path) == "jf_alpha"
    assert resolve(None, builtin("en_US-joe-medium"), folder=tmp_path) == "en_US-joe-medium"


@pytest.mark.parametrize("name", [*OPENAI, "speaker_en", "speaker_pt", "speaker_es"])
@pytest.mark.parametrize("voices", [builtin(*JAPANESE), builtin("en_US-joe-medium"), builtin("a_1", "af_heart")])
def test_well_known_names_always_find_a_voice(name: str, voices: list[Voice], tmp_path: Path) -> None:
    assert resolve(name, voices, folder=tmp_path) in {voice.id for voice in voices}


def test_well_known_names_take_the_first_voice_there_is(tmp_path: Path) -> None:
    assert resolve("alloy", builtin("af_heart", "af_alloy"), folder=tmp_path) == "af_alloy"
    assert resolve("onyx", builtin(*JAPANESE), folder=tmp_path) == "jm_kumo"
    assert resolve("speaker_pt", builtin("af_heart", "pf_dora"), folder=tmp_path) == "pf_dora"


def test_the_table_ends_every_list_with_a_voice_that_pip_alone_brings() -> None:
    assert set(OPENAI) < set(stand_ins())
    for name, candidates in stand_ins().items():
        assert candidates[-1] in JAPANESE, name


def test_a_recording_of_a_well_known_name_comes_first_where_the_model_clones(tmp_path: Path) -> None:
    write(tmp_path, "alloy", "speaker_en", "af_heart")
    voices = builtin("af_alloy", "af_heart")
    book = VoiceBook(Recordings(tmp_path))
    assert book.resolve("alloy", None, voices, clones=True).type == "cloned"
    assert book.resolve("af_heart", None, voices, clones=True).type == "cloned"
    assert book.resolve("speaker_en", None, voices, clones=True).id == "speaker_en"
    assert book.resolve("alloy", None, voices, clones=False).id == "af_alloy"


def test_a_speaker_alone_is_the_recording_in_the_language_of_the_request(tmp_path: Path) -> None:
    write(tmp_path, "anna_de", "anna_en", "anna_pt", "bob_fr", "bob_it")
    book = VoiceBook(Recordings(tmp_path))

    def find(name: str, language: str | None) -> str:
        return book.resolve(name, language, [], clones=True).id

    assert find("anna", "pt") == "anna_pt"
    assert find("anna", "pt-BR") == "anna_pt"
    assert find("anna", None) == "anna_en"
    assert find("anna", "ja") == "anna_de"
    assert find("anna_de", "pt") == "anna_de"
    assert find("bob", None) == "bob_fr"


def test_a_full_stem_beats_a_speaker(tmp_path: Path) -> None:
    write(tmp_path, "anna", "anna_pt")
    assert VoiceBook(Recordings(tmp_path)).resolve("anna", "pt", [], clones=True).id == "anna"


def test_a_model_of_recordings_only(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    book = VoiceBook(recordings)
    with pytest.raises(VoiceNotFound, match="voices folder"):
        book.resolve(None, None, [], clones=True)
    write(tmp_path, "anna_en", "carla_es")
    assert book.voices([], clones=True) == [], "as it was at the last look"
    recordings.voices()
    assert book.resolve(None, None, [], clones=True).id == "anna_en"
    assert book.resolve(None, "es", [], clones=True).id == "carla_es"
    assert [voice.id for voice in book.voices([], clones=True)] == ["anna_en", "carla_es"]
    assert book.voices([], clones=False) == []


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/abs",
        "a/b",
        "a\\b",
        "..",
        ".",
        "\0",
        "x" * 65,
        "con",
        "\u0430f_heart",
        "AF_HEART",
        " ",
        "nobody",
    ],
)
def test_every_bad_name_gets_the_same_answer(name: str, tmp_path: Path) -> None:
    write(tmp_path, "anna_en")
    voices = builtin("af_alloy", "af_heart")
    with pytest.raises(VoiceNotFound) as caught:
        resolve(name, voices, folder=tmp_path, clones=True)
    assert caught.value.param == "voice"
    assert caught.value.status == 400
    assert caught.value.message == f"this model has no voice {name!r}; there are: af_alloy, af_heart, anna_en"


def test_a_bad_name_is_told_up_to_100_characters(tmp_path: Path) -> None:
    with pytest.raises(VoiceNotFound) as caught:
        resolve("x" * 500, builtin("af_heart"), folder=tmp_path)
    assert f"'{'x' * 99}…'" in caught.value.message


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    with pytest.raises(VoiceNotFound) as caught:
        resolve("nobody", builtin(*(f"a_{number:03}" for number in range(54))), folder=tmp_path)
    assert caught.value.message.count("a_") == 20
    assert "34 more" in caught.value.message


def test_a_voice_made_by_request_goes_by_its_id_and_its_name(tmp_path: Path) -> None:
    stem = "voice_0123456789abcdef01234567"
    write(tmp_path, stem, "anna_en")
    (tmp_path / f"{stem}.json").write_text('{"name": "alloy"}')
    voices = builtin("af_alloy", "af_heart")
    assert resolve(stem, voices, folder=tmp_path, clones=True) == stem
    assert resolve("alloy", voices, folder=tmp_path, clones=True) == stem
    assert resolve("alloy", voices, folder=tmp_path) == "af_alloy"
    with pytest.raises(VoiceNotFound, match="there are: af_alloy, af_heart, anna_en, alloy"):
        resolve("nobody", voices, folder=tmp_path, clones=True)
    (tmp_path / f"{stem}.json").write_text('{"name": "anna"}')
    assert resolve("anna", voices, folder=tmp_path, clones=True) == stem, "a full name beats a speaker"


def test_a_voice_of_the_model_goes_by_its_name_too(tmp_path: Path) -> None:
    voices = [Voice(id="21m00Tcm4TlvDq8ikWAM", name="Rachel"), Voice(id="x", name="alloy"), *builtin("af_heart")]
    assert resolve("Rachel", voices, folder=tmp_path) == "21m00Tcm4TlvDq8ikWAM"
    assert resolve(None, voices, folder=tmp_path, default="Rachel") == "21m00Tcm4TlvDq8ikWAM"
    assert resolve("alloy", voices, folder=tmp_path) == "x", "its own name beats a well-known one"
    with pytest.raises(VoiceNotFound):
        resolve("rachel", voices, folder=tmp_path)
