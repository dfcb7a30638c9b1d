from __future__ import annotations

import logging
import os
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.errors import NotFound
from tts import recordings
from tts.library import Library
from tts.recordings import Recordings, scan
from tts.voices import VoiceBook


def write_wav(path: Path, frames: int = 800) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\1\0" * frames)
    return path


def test_a_recording_is_a_voice_with_its_language_and_transcript(tmp_path: Path) -> None:
    write_wav(tmp_path / "anna_pt.wav")
    (tmp_path / "anna_pt.txt").write_text("\ufeff Olá a todos. \n", encoding="utf-8")
    voice = scan(tmp_path)["anna_pt"]
    assert (voice.id, voice.name, voice.language, voice.type) == ("anna_pt", "anna_pt", "pt", "cloned")
    assert voice.transcript == "Olá a todos."
    assert voice.sample == tmp_path / "anna_pt.wav"
    assert voice.created_at > 0
    assert recordings.speaker_of(voice) == "anna"


@pytest.mark.parametrize(
    ("stem", "speaker", "language"),
    [
        ("anna", "anna", None),
        ("anna_pt-BR", "anna", "pt"),
        ("the_old_man", "the_old_man", None),
        ("the_old_man_eng", "the_old_man", "en"),
        ("take_2", "take_2", None),
        ("my_english", "my_english", None),
        ("_en", "_en", None),
        ("Ünal_de", "Ünal", "de"),
    ],
)
def test_file_names(tmp_path: Path, stem: str, speaker: str, language: str | None) -> None:
    write_wav(tmp_path / f"{stem}.wav")
    (voice,) = scan(tmp_path).values()
    assert (voice.id, recordings.speaker_of(voice), voice.language) == (stem, speaker, language)


def test_everything_but_ordinary_recordings_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = write_wav(tmp_path / "secret.bin")
    folder = tmp_path / "voices"
    folder.mkdir()
    write_wav(folder / "good.wav")
    (folder / "link.wav").symlink_to(secret)
    (folder / "passwd.wav").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.wav").mkdir()
    (folder / "empty.wav").touch()
    with (folder / "huge.wav").open("wb") as file:
        file.truncate(2 << 30)
    write_wav(folder / "back\\slash.wav")
    write_wav(folder / "new\nline.wav")
    (folder / ".hidden.wav").touch()
    (folder / "README.md").touch()
    with caplog.at_level(logging.WARNING):
        assert list(scan(folder)) == ["good"]
    assert len(caplog.records) == 8


def test_what_is_no_audio_is_left_out_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_wav(tmp_path / "good.wav")
    for name, junk in {
        "a": b"this is no audio",
        "b": b"RIFF\0\0\0\0AVI ",
        "c": bytes(99),
        "d": b"\xff\xd8\xff",
    }.items():
        (tmp_path / f"{name}.wav").write_bytes(junk)
    folder = Recordings(tmp_path)
    for _ in range(3):
        assert list(folder.voices()) == ["good"]
    assert [record.message for record in caplog.records if "no audio" in record.message] == caplog.messages
    assert len(caplog.records) == 4
    write_wav(tmp_path / "a.wav")
    assert list(folder.voices()) == ["a", "good"]


KINDS = [
    *[("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW")],
    *[("WAVEX", "PCM_24"), ("WAVEX", "FLOAT"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("NIST", "PCM_16")],
    *[("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")],
    *[("MP3", "MPEG_LAYER_III"), ("VOC", "PCM_16"), ("SVX", "PCM_16")],
]


@pytest.mark.parametrize(
    ("kind", "subtype", "endian"),
    [*[(*kind, "FILE") for kind in KINDS], ("WAV", "PCM_16", "BIG"), ("AU", "PCM_16", "LITTLE")],
)
def test_whatever_is_called_wav_and_is_audio_is_a_voice(tmp_path: Path, kind: str, subtype: str, endian: str) -> None:
    soundfile.write(tmp_path / "anna.wav", np.zeros(4800), 24_000, subtype, endian, kind)
    assert list(scan(tmp_path)) == ["anna"]


def test_a_transcript_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    write_wav(tmp_path / "anna.wav")
    (tmp_path / "anna.txt").symlink_to("/etc/passwd")
    write_wav(tmp_path / "ben.wav")
    os.mkfifo(tmp_path / "ben.txt")
    write_wav(tmp_path / "cora.wav")
    (tmp_path / "cora.txt").write_bytes(b"x" * (recordings.MAX_TRANSCRIPT_BYTES + 1))
    assert [voice.transcript for voice in scan(tmp_path).values()] == [None, None, None]


def test_no_folder_means_no_voices(tmp_path: Path) -> None:
    assert scan(tmp_path / "nowhere") == {}
    assert Recordings(write_wav(tmp_path / "file.wav")).voices() == {}


def test_changes_are_seen_without_a_restart(tmp_path: Path) -> None:
    folder = Recordings(tmp_path)
    assert folder.voices() == {}
    (tmp_path / "anna.wav").touch()
    assert folder.voices() == {}, "still empty: being copied"
    write_wav(tmp_path / "anna.wav")
    assert list(folder.voices()) == ["anna"]
    (tmp_path / "anna.txt").write_text("Hello.", encoding="utf-8")
    assert folder.voices()["anna"].transcript == "Hello."
    (tmp_path / "anna.wav").rename(tmp_path / "ben.wav")
    assert list(folder.voices()) == ["ben"]
    (tmp_path / "ben.wav").unlink()
    assert folder.voices() == {}


def test_an_unchanged_folder_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "empty.wav").touch()
    folder = Recordings(tmp_path)
    for _ in range(3):
        folder.voices()
    assert len(caplog.records) == 1


def test_whoever_shares_the_folder_shares_what_is_known_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "link.wav").symlink_to("/etc/passwd")
    write_wav(tmp_path / "voice_0123456789abcdef01234567.wav")
    (tmp_path / "voice_0123456789abcdef01234567.json").write_text("{")
    folder = Recordings(tmp_path)
    library, book = Library(folder), VoiceBook(folder)
    for _ in range(3):
        assert len(library.voices()) == len(book.voices([], clones=True)) == 1
        with pytest.raises(NotFound):
            library.find("nobody")
    assert len(caplog.records) == 2


def test_only_a_look_sees_changes(tmp_path: Path) -> None:
    write_wav(tmp_path / "anna.wav")
    folder = Recordings(tmp_path)
    assert list(folder.known()) == ["anna"], "nobody looked before"
    write_wav(tmp_path / "ben.wav")
    assert list(folder.known()) == ["anna"]
    assert list(folder.voices()) == list(folder.known()) == ["anna", "ben"]


def test_many_threads_see_what_was_there_when_they_asked(tmp_path: Path) -> None:
    folder = Recordings(tmp_path)

    def ask(number: int) -> bool:
        write_wav(tmp_path / f"voice{number}.wav")
        return f"voice{number}" in folder.voices()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(64)))


def test_a_voice_made_by_request_has_what_its_sidecar_says(tmp_path: Path) -> None:
    stem = "voice_0123456789abcdef01234567"
    write_wav(tmp_path / f"{stem}.wav")
    sidecar = tmp_path / f"{stem}.json"
    sidecar.write_text('{"name": "anna", "language": "pt", "reference_text": "Olá.", "created_at": 7, "more": 1}')
    folder = Recordings(tmp_path)
    voice = folder.voices()[stem]
    assert (voice.name, voice.language, voice.transcript, voice.created_at) == ("anna", "pt", "Olá.", 7)
    sidecar.write_text('{"name": "ben"}')
    assert folder.voices()[stem].name == "ben"
    for unusable in ("{", "[]", '{"name": 1}', " " * (1 << 17)):
        sidecar.write_text(unusable)
        assert folder.voices()[stem].name == stem


def test_a_sidecar_beside_any_other_recording_means_nothing(tmp_path: Path) -> None:
    write_wav(tmp_path / "anna_pt.wav")
    (tmp_path / "anna_pt.json").write_text('{"name": "ben", "language": "en"}')
    voice = scan(tmp_path)["anna_pt"]
    assert (voice.name, voice.language) == ("anna_pt", "pt")
